"""A question to a server's own administration on this machine, over plain HTTP."""

from __future__ import annotations

import aiohttp

from services.standalone.ports import HOST

_TRY = aiohttp.ClientTimeout(total=1.0)


async def ask(port: int, path: str) -> bytes | None:
    """Get a path; None where there is no answer within a second, or none with status 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_TRY) as session,
            session.get(f"http://{HOST}:{port}{path}") as answer,
        ):
            return await answer.read() if answer.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
