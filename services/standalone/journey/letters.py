"""The customer's letters, as the local SMTP inbox got them."""

from __future__ import annotations

import asyncio
import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

from services.standalone.journey.expect import STEP_SECONDS, Unmet

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Letter:
    """One mail that arrived."""

    raw: bytes
    message: EmailMessage

    @property
    def subject(self) -> str:
        """Its subject."""
        return str(self.message["Subject"] or "")

    def text(self) -> str:
        """Its plain text part; empty where there is none."""
        return self._part("plain")

    def picture(self) -> str | None:
        """The address of the picture that tells of its opening; None where there is none."""
        finder = _Pictures()
        finder.feed(self._part("html"))
        return finder.sources[-1] if finder.sources else None

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""


class _Pictures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src")
        if tag == "img" and source:
            self.sources.append(source)


class Inbox:
    """The letters to one recipient domain in a Maildir."""

    def __init__(self, maildir: Path, domain: str) -> None:
        """Look into ``maildir`` for letters to anyone at ``domain``."""
        self._maildir = maildir
        self._domain = domain
        self._read: dict[str, Letter | None] = {}

    async def letters(self) -> list[Letter]:
        """All letters so far, oldest first. Raises OSError."""
        return await asyncio.to_thread(self._look)

    async def find(self, what: str, *words: str) -> Letter:
        """Wait for the letter whose subject or text holds all ``words``. Raises Unmet."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STEP_SECONDS
        while True:
            letters = await self.letters()
            for letter in letters:
                said = f"{letter.subject}\n{letter.text()}".lower()
                if all(word.lower() in said for word in words):
                    return letter
            if loop.time() > until:
                raise Unmet(what, "in the inbox", [letter.subject for letter in letters] or "an empty inbox")
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self) -> list[Letter]:
        for folder in ("new", "cur"):
            for path in sorted((self._maildir / folder).glob("*")):
                # Its name stays, but for flags behind the colon.
                name = path.name.partition(":")[0]
                if name not in self._read:
                    self._read[name] = self._ours(path.read_bytes())
        return [letter for letter in self._read.values() if letter is not None]

    def _ours(self, raw: bytes) -> Letter | None:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        return Letter(raw, message) if f"@{self._domain}" in str(message["To"]) else None
