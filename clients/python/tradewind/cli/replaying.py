"""Replays a transcript into one group conversation, each nick as a user of its own; doing it again changes nothing.

Everything is named by the content: the conversation's request id by the file's digest, a message's by digest and line. A message's id
leads with the line's own time plus its number in milliseconds, so ids rise along the file and the server need not look them up.
Only the answer tells a line's version, and a line that answers others names them by version: so such a line waits for those answers,
and for nothing else. All lines take one stream, which keeps their order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise
from typing import TypeVar

from tradewind.chat.v1 import chat_pb2, chat_service_pb2
from tradewind.cli.chat_line import FORMS, Form, Line, fields_of
from tradewind.cli.naming import milliseconds, user_id_of
from tradewind.cli.source import Source
from tradewind.cli.transcript import Transcript
from tradewind.cli.verdicts import Note, Refusal
from tradewind.sdk import Client, PermissionDenied, Session, SessionClosed, TradewindError, Transient, derive_request_id

SOURCE = "chat-transcript"
_WINDOW = 512
_BATCH = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first reading tells of a file: enough to open its conversation."""

    digest: str
    lines: int
    members: tuple[str, ...]
    first_at: str
    last_at: str
    form: Form


def survey(source: Source) -> Survey:
    """Read the whole file once. Raises BrokenFile, OSError."""
    transcript = Transcript()
    taken, first_at, last_at = 0, "", ""
    forms = list(FORMS)
    for item in transcript.read(source.lines()):
        if not isinstance(item, Line):
            continue
        taken += 1
        first_at = first_at or item.at
        last_at = item.at
        if len(forms) > 1:
            text = item.raw.decode().rstrip("\r\n")
            forms = [form for form in forms if form.write(fields_of(item)) == text] or [forms[0]]
    return Survey(source.digest.hexdigest(), taken, tuple(transcript.members), first_at, last_at, forms[0])


async def refusals(source: Source) -> AsyncIterator[Refusal | Note]:
    """Iterate over what is wrong with a file of which nothing can be taken."""
    async for item in in_batches(Transcript().read(source.lines())):
        if not isinstance(item, Line):
            yield item


class Report:
    """What a replay has come to; counts are of lines."""

    def __init__(self, tell: Callable[[Refusal | Note], None]) -> None:
        self.conversation: str | None = None
        self.sent = 0
        self.replayed = 0
        self.refused = 0
        self._tell = tell
        self._began = time.monotonic()

    @property
    def rate(self) -> float:
        """Lines a second since the beginning."""
        return (self.sent + self.replayed) / max(time.monotonic() - self._began, 1e-6)

    def tell(self, item: Refusal | Note) -> None:
        """Say a refusal or a note, and count it."""
        if isinstance(item, Refusal):
            self.refused += 1
        self._tell(item)

    def summary(self) -> dict[str, object]:
        """The one object at the end."""
        return {
            "conversation": self.conversation,
            "sent": self.sent,
            "replayed": self.replayed,
            "refused": self.refused,
        }


class Replay:
    """One run over one file."""

    def __init__(self, client: Client, source: Source, found: Survey, report: Report) -> None:
        self._client = client
        self._source = source
        self._found = found
        self._report = report
        self._clock_ms = 0
        self._stood_at = 0
        self._forbidden: TradewindError | None = None
        self._versions: dict[int, int] = {}
        self._answers: dict[int, asyncio.Future[chat_service_pb2.SendResult]] = {}

    async def run(self, progress: Callable[[int], None]) -> None:
        """Send every line; tells refusals as they come. Raises TradewindError where the whole cannot go on."""
        conversation = await self._open()
        self._report.conversation = conversation
        transcript = Transcript()
        async with self._client.chat.converse(window=_WINDOW, timeout=120.0) as session:
            async for item in in_batches(transcript.read(self._source.lines())):
                if self._forbidden is not None:
                    raise self._forbidden
                if isinstance(item, Line):
                    await self._send(session, conversation, item)
                else:
                    self._report.tell(item)
                progress(item.number)
            await session.flush()
            # Answers are counted in the loop's next turn.
            await asyncio.sleep(0)
            failure = session.error or self._forbidden
            if failure is not None:
                raise failure
        self._tell_of_order()

    async def _open(self) -> str:
        found = self._found
        conversation = await self._client.chat.create_group(
            tuple(map(user_id_of, found.members)),
            title=f"{found.first_at} to {found.last_at}",
            attributes={"source": SOURCE, "sha256": found.digest, "form": found.form.name},
            request_id=derive_request_id(_milliseconds(found.first_at), "replay", found.digest),
        )
        now = await self._client.chat.get_conversation(conversation.conversation_id)
        self._stood_at = now.version
        return conversation.conversation_id

    async def _send(self, session: Session, conversation: str, line: Line) -> None:
        versions = await self._versions_of(line)
        lost = len(versions) < len(line.reply_to)
        content = chat_pb2.MessageContent(text=line.text, reply_to=versions, attributes=attributes_of(line, lost=lost))
        # Rises along the file even where its clock goes back.
        self._clock_ms = max(_milliseconds(line.at) + line.number, self._clock_ms + 1)
        request = chat_service_pb2.SendMessageRequest(
            request_id=derive_request_id(self._clock_ms, "replay", self._found.digest, str(line.line)),
            conversation_id=conversation,
            content=content,
            sender_id=user_id_of(line.sender),
        )
        try:
            answer = await session.post(request)
        except TradewindError as error:
            if not error.field_violations:
                raise
            self._refuse(line, error)
            return
        self._answers[line.line] = answer
        answer.add_done_callback(lambda done: self._answered(line, done))

    async def _versions_of(self, line: Line) -> list[int]:
        versions = []
        for answered in line.reply_to:
            waiting = self._answers.get(answered)
            if waiting is not None:
                await asyncio.wait([waiting])
                # Its callback, which notes the version, runs in the loop's next turn.
                await asyncio.sleep(0)
            if answered in self._versions:
                versions.append(self._versions[answered])
            elif answered not in line.lost:
                self._report.tell(
                    Note(
                        line.number,
                        "reply_to_refused",
                        f"it answers line {answered}, refused; the link is an attribute only",
                    )
                )
        return versions

    def _answered(self, line: Line, done: asyncio.Future[chat_service_pb2.SendResult]) -> None:
        del self._answers[line.line]
        error = done.exception()
        if isinstance(error, Transient | SessionClosed):
            return  # nobody's fault: the whole stops here, and the next run settles the line
        if isinstance(error, PermissionDenied) and error.reason == "FORBIDDEN":
            self._forbidden = error  # whoever runs this may not speak for others at all
            return
        if isinstance(error, TradewindError):
            self._refuse(line, error)
            return
        version = done.result().version
        self._versions[line.line] = version
        if version <= self._stood_at:
            self._report.replayed += 1
        else:
            self._report.sent += 1

    def _tell_of_order(self) -> None:
        """Say so where a server that failed for a moment took lines in another order."""
        versions = [self._versions[line] for line in sorted(self._versions)]
        overtaken = sum(later < earlier for earlier, later in pairwise(versions))
        if overtaken:
            self._report.tell(
                Note(0, "order", f"{overtaken} lines were overtaken by later ones; export puts them right")
            )

    def _refuse(self, line: Line, error: TradewindError) -> None:
        rule = (error.reason or type(error).__name__).lower()
        self._report.tell(Refusal(line.number, rule, error.message))


def attributes_of(line: Line, *, lost: bool) -> dict[str, str]:
    """What travels beside the text so that the line can be written again; `lost`: `reply_to` cannot tell all links."""
    attributes = {
        "at": line.at,
        "line": str(line.line),
        "kind": line.kind,
        "annotated": "true" if line.annotated else "false",
    }
    if user_id_of(line.sender) != line.sender:
        attributes["from"] = line.sender
    if lost:
        attributes["reply_to"] = ",".join(map(str, line.reply_to))
    if line.extra:
        attributes["extra"] = line.extra
    return attributes


async def in_batches(items: Iterator[T]) -> AsyncIterator[T]:
    """Iterate over what is read from a file, without keeping the loop from its work meanwhile."""
    while batch := await asyncio.to_thread(lambda: list(islice(items, _BATCH))):
        for item in batch:
            yield item


def _milliseconds(at: str) -> int:
    return milliseconds(datetime.fromisoformat(at))
