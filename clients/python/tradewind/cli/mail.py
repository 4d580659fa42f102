"""Commands for mails and their statistics."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tradewind.cli.attributes import pairs
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.mail.v1 import mail_pb2, mail_service_pb2
from tradewind.sdk import Client

app = typer.Typer(no_args_is_help=True, help="Mails.")

_COUNTS = (
    "queued",
    "attempts",
    "delivered",
    "deferred",
    "bounced",
    "expired",
    "outcome_unknown",
    "opens",
    "unique_opens",
)

_SHORT = {"outcome_unknown": "unknown", "unique_opens": "opened"}


class Dimension(StrEnum):
    """By what counts are told apart."""

    tenant = "tenant"
    stream = "stream"
    campaign = "campaign"
    template = "template"
    domain = "domain"

    @property
    def number(self) -> mail_service_pb2.StatsDimension.ValueType:
        """As the contract has it."""
        return mail_service_pb2.StatsDimension.Value(f"STATS_DIMENSION_{self.name.upper()}")


class Period(StrEnum):
    """How long a period is."""

    minute = "minute"
    hour = "hour"
    day = "day"

    @property
    def number(self) -> mail_service_pb2.StatsPeriod.ValueType:
        """As the contract has it."""
        return mail_service_pb2.StatsPeriod.Value(f"STATS_PERIOD_{self.name.upper()}")


_By = Annotated[Dimension, typer.Option("--by", help="By what to tell apart.")]
_Per = Annotated[Period, typer.Option("--per", help="By which period.")]
_Value = Annotated[str, typer.Option(help="Only this value of the dimension.")]


@app.command()
def send(
    ctx: typer.Context,
    to: Annotated[str, typer.Argument(help="The recipient's address.")],
    subject: str = "",
    text: Annotated[str, typer.Option(help="Plain text.")] = "",
    html: Annotated[str, typer.Option(help="HTML.")] = "",
    template: Annotated[str, typer.Option(help="A template instead of a text.")] = "",
    variables: Annotated[str, typer.Option(help="The template's variables, a JSON object.")] = "{}",
    campaign: Annotated[str, typer.Option(help="What it is counted under.")] = "",
    bulk: Annotated[bool, typer.Option(help="On the bulk lane.")] = False,
    track_opens: Annotated[bool, typer.Option(help="Tell of its opening.")] = False,
    attribute: Annotated[list[str] | None, typer.Option("--attribute", metavar="KEY=VALUE", help="Repeatable.")] = None,
    request_id: Annotated[str, typer.Option(help="UUIDv7 of this intent; the same again sends nothing twice.")] = "",
) -> None:
    """Send a mail."""
    request = mail_service_pb2.SendMailRequest(
        request_id=request_id,
        stream=mail_pb2.MAIL_STREAM_BULK if bulk else mail_pb2.MAIL_STREAM_TRANSACTIONAL,
        to=mail_pb2.Mailbox(address=to),
        campaign=campaign,
        track_opens=track_opens,
        attributes=pairs(attribute),
    )
    if template:
        request.template.template = template
        request.template.variables_json = variables
    else:
        request.content.subject = subject
        request.content.text = text
        request.content.html = html

    async def work(client: Client, output: Output) -> None:
        answer = await client.mail.send_mail(request)
        output.message(answer, answer.mail_id + (" sent before" if answer.replayed else ""))

    run(ctx, work)


@app.command()
def show(ctx: typer.Context, mail: str) -> None:
    """Show a mail with its attempts."""

    async def work(client: Client, output: Output) -> None:
        found = await client.mail.get_mail(mail)
        state = mail_pb2.MailState.Name(found.state).removeprefix("MAIL_STATE_").lower().replace("_", " ")
        lines = [f"mail {found.mail_id}: {state}, opened {found.opens} times"]
        lines += [
            f"  {each.number}. {each.host}: {each.outcome or 'under way'} {each.reply_code or ''}"
            for each in found.attempts
        ]
        output.message(found, "\n".join(lines))

    run(ctx, work)


@app.command()
def stats(ctx: typer.Context, by: _By = Dimension.tenant, per: _Per = Period.day, value: _Value = "") -> None:
    """Show counts of recent periods."""

    async def work(client: Client, output: Output) -> None:
        _table(output, await client.mail.get_mail_stats(by.number, per.number, value=value))

    run(ctx, work)


@app.command("watch-stats")
def watch_stats(
    ctx: typer.Context,
    by: _By = Dimension.tenant,
    per: _Per = Period.day,
    value: _Value = "",
    count: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
) -> None:
    """Watch counts as they change, until Ctrl-C: all rows of the current period first, then those that changed."""

    async def work(client: Client, output: Output) -> None:
        left = count
        async for frame in client.mail.watch_mail_stats(by.number, per.number, value=value):
            if output.as_json:
                for row in frame.stats:
                    output.line({**plain(row), "snapshot": frame.snapshot}, "")
            else:
                _table(output, frame.stats)
            if left is not None:
                left -= 1
                if not left:
                    return

    run(ctx, work)


def _table(output: Output, rows: list[mail_service_pb2.MailStats]) -> None:
    output.table(
        ("period", "value", *(_SHORT.get(name, name) for name in _COUNTS)),
        [
            (plain(row), (row.period_start.ToJsonString(), row.value, *(str(getattr(row, name)) for name in _COUNTS)))
            for row in rows
        ],
    )
