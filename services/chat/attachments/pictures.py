"""Measures pictures and makes their thumbnails, each in a process of its own with bounds on points, memory and time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from services.chat.attachments.content import PICTURES

SIZES: Final = (160, 640)
"""The longer side of a thumbnail has at most so many points."""
MOST_ANSWER: Final = 4 * 1024 * 1024
_PROGRAM: Final = Path(__file__).with_name("drawing.py")
_log = structlog.get_logger(__name__)


class TooManyPoints(Exception):
    """The picture has more points than are taken."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture's measures as it is to be shown, and its thumbnails by size."""

    width: int
    height: int
    thumbnails: dict[int, bytes]


class Drawer:
    """Runs the drawing program: at most ``at_once`` at a time.

    Args:
        pixels: points that a picture may have.
        memory: bytes that one process may use.
        seconds: how long it may take.
    """

    def __init__(self, *, pixels: int, memory: int, seconds: float, at_once: int) -> None:
        """Draw within these bounds."""
        self._pixels, self._memory, self._seconds = pixels, memory, seconds
        self._room = asyncio.Semaphore(at_once)

    async def draw(self, media_type: str, chunks: AsyncIterator[bytes]) -> Drawn | None:
        """Draw a picture; None where it cannot be: it is damaged, or takes too much. Raises TooManyPoints."""
        async with self._room:
            return await self._draw(PICTURES[media_type], chunks)

    async def _draw(self, kind: str, chunks: AsyncIterator[bytes]) -> Drawn | None:
        arguments = [kind, str(self._pixels), str(self._memory), *map(str, SIZES)]
        process = await asyncio.create_subprocess_exec(
            # Nothing of this process's environment: there are secrets in it, and the decoder is not to be trusted.
            sys.executable, "-I", str(_PROGRAM), *arguments, env={},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._seconds):
                feeding = asyncio.create_task(_feed(process.stdin, chunks), name="picture-feed")
                try:
                    answer = b""
                    while len(answer) <= MOST_ANSWER and (piece := await process.stdout.read(65_536)):
                        answer += piece
                    await feeding
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
                if len(answer) <= MOST_ANSWER:
                    await process.wait()
        except TimeoutError:
            _log.warning("picture_too_slow", kind=kind)
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _read(answer, kind, process.returncode)


async def _feed(stdin: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
    try:
        async for chunk in chunks:
            stdin.write(chunk)
            await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return  # it has seen enough, or died; its answer tells


def _read(answer: bytes, kind: str, code: int | None) -> Drawn | None:
    head, _, body = answer.partition(b"\n")
    try:
        told = json.loads(head)
    except ValueError:
        _log.warning("picture_not_drawn", kind=kind, code=code)
        return None
    if told.get("refused") == "pixels":
        raise TooManyPoints
    if "refused" in told:
        return None
    thumbnails, at = {}, 0
    for size, length in told["thumbnails"]:
        thumbnails[int(size)] = body[at : at + length]
        at += length
    return Drawn(int(told["width"]), int(told["height"]), thumbnails) if at == len(body) else None
