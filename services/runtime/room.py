"""Who may be inside a server at a time, so that no tenant's flood takes the place of another's calls."""

from __future__ import annotations

import math


class Room:
    """Places for calls, by tenant.

    One tenant holds at most a share of them, so that there is always place for another; and once that much is held by several together,
    each holds at most an equal part. Who holds less than its part is let in as long as there is a place at all.
    """

    def __init__(self, places: int, share: float) -> None:
        """Hold so many calls, a tenant at most ``share`` of them, from 0 to 1."""
        self.inside = 0
        self._places = places
        self._most = math.ceil(places * share)
        self._held: dict[str, int] = {}

    def has_place(self, tenant: str, limited: bool = True) -> bool:
        """Tell whether one more call of a tenant may come in; ``limited``: the tenant's part counts, and not only the room."""
        if self.inside >= self._places:
            return False
        held = self._held.get(tenant, 0)
        if not limited or not held:
            return True
        if held >= self._most:
            return False
        return self.inside < self._most or held < max(1, self._places // len(self._held))

    def enter(self, tenant: str) -> None:
        """Let a call in."""
        self.inside += 1
        self._held[tenant] = self._held.get(tenant, 0) + 1

    def leave(self, tenant: str) -> None:
        """Let it out."""
        self.inside -= 1
        left = self._held[tenant] - 1
        if left:
            self._held[tenant] = left
        else:
            del self._held[tenant]
