"""Free words that a command is given: options KEY=VALUE."""

from __future__ import annotations

from typing import Annotated

import typer

Attributes = Annotated[
    list[str] | None, typer.Option("--attribute", metavar="KEY=VALUE", help="A free word; repeatable.")
]
"""Options that name attributes; read them with `pairs`."""


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Read KEY=VALUE options. Raises typer.BadParameter."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text} is not KEY=VALUE", param_hint="--attribute")
        found[key] = value
    return found
