"""Who may call what: one table of rpc and roles. What is not in it is denied, and a server with a gap does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from services.runtime.errors import Refused

Policy = Mapping[str, frozenset[str]]
"""Full method (``/package.Service/Method``) to the roles that may call it."""

ROLES: Final = frozenset({"customer", "shop", "courier", "service", "admin", "operator"})
"""The roles there are; ``admin`` is a tenant's administrator, ``operator`` runs the deployment."""

PUBLIC: Final = frozenset({"*"})
"""In place of roles: served to anyone, without a token."""


class PolicyGap(Exception):
    """The table does not fit what is served: a method is missing in it, or a role in it does not exist."""


def check(policy: Policy, served: Iterable[str]) -> None:
    """Raise PolicyGap unless every served method is in the table and every role in the table exists."""
    missing = sorted(method for method in served if method not in policy)
    if missing:
        raise PolicyGap(f"no roles are named for {', '.join(missing)}")
    for method, roles in policy.items():
        unknown = roles - ROLES if roles != PUBLIC else frozenset()
        if unknown or not roles:
            raise PolicyGap(f"{method} names no role or an unknown one: {', '.join(sorted(unknown)) or 'none'}")


def authorise(allowed: frozenset[str], roles: frozenset[str]) -> None:
    """Raise Refused (FORBIDDEN) unless one of the caller's roles is allowed."""
    if allowed.isdisjoint(roles):
        raise Refused("FORBIDDEN", "the caller's roles do not allow this call")
