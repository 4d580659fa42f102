"""Pages of listings, and their tokens: where to go on, bound by a digest to the listing they were made for.

A token grants nothing: whoever turns a page is checked like whoever opens the listing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from services.order.domain.refusal import Refused

_ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MARK: Final = 9


_PAGE_BYTES: Final = 2 << 20
"""Clients take messages of 4 MiB unless told otherwise."""


def fitting(rows: Sequence[bytes]) -> Sequence[bytes]:
    """Give as many of the rows as fit into one page, at least one: an order may have a thousand lines."""
    size = 0
    for index, row in enumerate(rows):
        size += len(row)
        if index and size > _PAGE_BYTES:
            return rows[:index]
    return rows


def token_after(order_id: str, partition: str) -> str:
    """Make the token of the page after this order."""
    return base64.urlsafe_b64encode(_mark(partition, order_id) + order_id.encode()).decode().rstrip("=")


def order_id_in(token: str, partition: str) -> str:
    """Read the order after which a page begins. Raises Refused (INVALID_PAGE_TOKEN)."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        order_id = raw[_MARK:].decode("ascii")
    except ValueError:
        raise _refused() from None
    if _ORDER_ID.fullmatch(order_id) is None or raw[:_MARK] != _mark(partition, order_id):
        raise _refused()
    return order_id


def _mark(partition: str, order_id: str) -> bytes:
    # An order's id holds no slash, so no two places of two listings are written the same.
    return hashlib.blake2b(f"{partition}/{order_id}".encode(), digest_size=_MARK, person=b"orders-page").digest()


def _refused() -> Refused:
    return Refused("INVALID_PAGE_TOKEN", "the page token is not of this listing", field="page_token")
