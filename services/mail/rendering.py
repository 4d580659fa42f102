"""Templates of this deployment: a folder each, with ``subject.j2``, ``text.j2`` and ``html.j2``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateError

from services.mail.domain import Refused
from services.mail.smtp.message import one_line

TEMPLATES: Final = Path(__file__).parent / "templates"
MOST_SUBJECT: Final = 255
MOST_TEXT: Final = 262_144
MOST_HTML: Final = 524_288
"""A rendered mail is not longer than one written out may be; characters of the subject, bytes of the others."""
_FIELD: Final = "template.variables_json"


@dataclass(frozen=True, slots=True)
class Content:
    """A mail written out."""

    subject: str
    text: str
    html: str


class Templates:
    """All templates, compiled when made, so that a broken one shows at the start and rendering reads no file."""

    def __init__(self, folder: Path = TEMPLATES) -> None:
        """Read every template of a folder. Raises jinja2.TemplateError."""
        loader = FileSystemLoader(folder)
        plain = _environment(loader, autoescape=False)
        escaping = _environment(loader, autoescape=True)
        self._compiled: dict[str, tuple[Template, Template, Template]] = {}
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                name = path.name
                self._compiled[name] = (
                    plain.get_template(f"{name}/subject.j2"),
                    plain.get_template(f"{name}/text.j2"),
                    escaping.get_template(f"{name}/html.j2"),
                )

    @property
    def names(self) -> frozenset[str]:
        """The templates there are."""
        return frozenset(self._compiled)

    def render(self, name: str, variables: Mapping[str, Any]) -> Content:
        """Write a mail out.

        Raises:
            Refused: UNKNOWN_TEMPLATE, or TEMPLATE_FAILED where a variable is missing or of the wrong kind, or the result too long.
        """
        compiled = self._compiled.get(name)
        if compiled is None:
            raise Refused("UNKNOWN_TEMPLATE", "no template of this name", metadata={"template": name})
        try:
            subject, text, html = (template.render(variables) for template in compiled)
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            # Its text may hold a variable's value, which is the recipient's affair.
            raise _failed(name, f"the template fails on its variables: {type(error).__name__}") from None
        if len(text.encode("utf-8", "replace")) > MOST_TEXT or len(html.encode("utf-8", "replace")) > MOST_HTML:
            raise _failed(name, "the mail would be too long")
        return Content(one_line(subject)[:MOST_SUBJECT], text, html)


def variables_of(name: str, text: str) -> dict[str, Any]:
    """Read a template's variables. Raises Refused (TEMPLATE_FAILED) where they are no JSON object."""
    try:
        variables = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise _failed(name, "the variables are no JSON") from None
    if not isinstance(variables, dict):
        raise _failed(name, "the variables are no JSON object")
    return variables


def greeting(name: object) -> str:
    """Write a salutation."""
    return f"Hello {name}," if name else "Hello,"


def _failed(name: str, message: str) -> Refused:
    return Refused("TEMPLATE_FAILED", message, field=_FIELD, metadata={"template": name})


def _environment(loader: FileSystemLoader, *, autoescape: bool) -> Environment:
    environment = Environment(
        # Plain text is not escaped, HTML is.
        loader=loader,
        autoescape=autoescape,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.globals["greeting"] = greeting
    return environment
