"""Snapshots in the CQL archive: cut into pieces that any server takes, written over in place."""

from __future__ import annotations

import asyncio
from typing import Final

from services.ledger.archive import Snapshot
from services.runtime.cql import CqlSession

PIECE_BYTES: Final = 512 << 10


class Snapshots:
    """Keeps the newest snapshot of each aggregate."""

    def __init__(self, session: CqlSession) -> None:
        self._session = session

    async def put(self, key: str, snapshot: Snapshot) -> None:
        """See `Archive.put_snapshot`. While pieces are being written, or where a writer died, there is none: only a shortcut is lost."""
        data = snapshot.data
        pieces = max(1, -(-len(data) // PIECE_BYTES))
        execute, statement = self._session.execute, self._session["put_snapshot"]
        version, seq = snapshot.version, snapshot.seq
        cut = [data[n * PIECE_BYTES : (n + 1) * PIECE_BYTES] for n in range(pieces)]
        await asyncio.gather(
            *(execute(statement, (key, n, pieces, version, seq, piece, seq)) for n, piece in enumerate(cut))
        )

    async def get(self, key: str) -> Snapshot | None:
        """The newest snapshot, if it is whole; whether it counts is the history's to say."""
        found = await self._session.execute(self._session["snapshot"], (key,))
        if not found:
            return None
        _, pieces, version, seq, _ = found[0]
        same = [data for _, count, *of, data in found if (count, *of) == (pieces, version, seq)]
        return Snapshot(version, seq, b"".join(same)) if len(same) == pieces else None
