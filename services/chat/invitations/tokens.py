"""What opens a conversation: a token made of the client's secret, of which only a digest is kept.

The client makes the secret, so that a repeated request answers the same token though the server never keeps one. What invitation and tenant
it is of goes into the token, so that one secret used twice makes two tokens.
"""

from __future__ import annotations

import base64
import hashlib

_PURPOSE = b"tradewind invitation 1"


def token_of(tenant: str, conversation_id: str, invitation_id: str, secret: bytes) -> str:
    """Make the token of an invitation: 43 characters of base64url."""
    digest = hashlib.sha256(_PURPOSE)
    for part in (tenant.encode(), conversation_id.encode(), invitation_id.encode(), secret):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def digest_of(token: str) -> str:
    """Give what is kept of a token: its SHA-256, as hexadecimal text.

    Tokens are looked up by it, so how long that takes tells nothing of them.
    """
    return hashlib.sha256(token.encode()).hexdigest()
