"""Taking a mail: from what was asked for to the command that queues it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.ledger.ids import AggregateId
from services.mail.clock import now_us
from services.mail.config import SECOND_US, MailSettings
from services.mail.domain import Labels, Lane, Mailbox, QueueMail, Refused, domain_of
from services.mail.rendering import Content, Templates
from services.mail.smtp.message import BadAddress, check_address
from services.mail.tracking import Links


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mail somebody wants sent. Either ``content``, or ``template`` with its variables."""

    recipient: Mailbox
    content: Content | None = None
    template: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    sender: Mailbox | None = None
    lane: Lane = Lane.TRANSACTIONAL
    campaign: str = ""
    tracked: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


class Desk:
    """Makes commands of wishes. Pure but for the clock."""

    def __init__(self, settings: MailSettings, templates: Templates, links: Links | None) -> None:
        """Write from the domains the settings allow; without ``links`` nothing is tracked."""
        self._sender = Mailbox(settings.sender, settings.sender_name)
        self._domains = settings.allowed_domains
        self._expire_us = round(settings.expire_after * SECOND_US)
        self._templates = templates
        self._links = links

    def command(self, aggregate: AggregateId, wanted: Wanted, traceparent: str | None) -> QueueMail:
        """Make the command that queues a mail.

        Raises:
            Refused: UNKNOWN_TEMPLATE, TEMPLATE_FAILED, SENDER_NOT_ALLOWED, INVALID_FIELD (an address).
        """
        sender = self._checked_sender(wanted.sender)
        _check(wanted.recipient, "to.address")
        content = wanted.content or self._templates.render(wanted.template, wanted.variables)
        html = content.html
        if wanted.tracked and html and self._links is not None:
            html = self._links.add_picture(html, aggregate.tenant, aggregate.id)
        now = now_us()
        return QueueMail(
            now_us=now,
            labels=Labels(wanted.lane, wanted.campaign, wanted.template, domain_of(wanted.recipient.address)),
            sender=sender,
            recipient=wanted.recipient,
            subject=content.subject,
            text=content.text,
            html=html,
            expire_us=now + self._expire_us,
            attributes=wanted.attributes,
            traceparent=traceparent or "",
        )

    def _checked_sender(self, sender: Mailbox | None) -> Mailbox:
        if sender is None:
            return self._sender
        if domain_of(sender.address) not in self._domains:
            raise Refused(
                "SENDER_NOT_ALLOWED", "this deployment does not write from the sender's domain", field="from.address"
            )
        _check(sender, "from.address")
        return sender


def _check(mailbox: Mailbox, field_name: str) -> None:
    try:
        check_address(mailbox)
    except BadAddress as error:
        raise Refused("INVALID_FIELD", str(error), field=field_name) from None
