"""Messages that do not last: their timers, and who watches them."""

from services.chat.expiry.timers import timers

__all__ = ["timers"]
