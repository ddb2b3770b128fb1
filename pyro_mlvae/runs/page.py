"""Pages from ``templates/``: what is not known is left out, and all text is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup

# Stands for a number that is not known; text that is escaped never holds it.
MISSING = Markup("&ndash;")
# A gap of fewer standard errors may be chance.
_ERRORS = 2.0


def render(template: str, **known: Any) -> Markup:
    """The HTML of a template."""
    return Markup(_environment().get_template(template).render(known))


def source(name: str) -> str:
    """The text of a file among the templates, as it is."""
    return (resources.files("pyro_mlvae.runs") / "templates" / name).read_text("utf-8")


def number(value: Any, form: str) -> Markup:
    """A number, or the accuracy of a score, as it is read, with all its digits for machines.

    >>> number(0.12345, ".1%")
    Markup('<data value="0.12345">12.3%</data>')
    """
    value = value.get("accuracy") if isinstance(value, Mapping) else value
    if not _is_known(value):
        return MISSING
    return Markup('<data value="{}">{}</data>').format(
        repr(value), format(value, form).replace("-", "\u2212")
    )


def score(value: Any, form: str) -> Markup:
    """:func:`number`, with the standard error where a score has one."""
    error = value.get("standard_error") if isinstance(value, Mapping) else None
    shown = number(value, form)
    if error is None or shown == MISSING:
        return shown
    return Markup('{} <span class="error">± {}</span>').format(shown, number(error, form))


def with_error(value: Any, error: Any) -> dict[str, Any] | None:
    """A score of a number and its standard error."""
    return (
        {"accuracy": value, "standard_error": error if _is_known(error) else None}
        if _is_known(value)
        else None
    )


def above(value: Any, control: Any) -> bool:
    """Whether a number or score is above another by two standard errors, where these are known.

    >>> above({"accuracy": 0.5, "standard_error": 0.1}, 0.4), above(None, 0.4)
    (False, False)
    """
    if not (_is_known(value) and _is_known(control)):
        return False
    (first, first_error), (second, second_error) = (
        (of["accuracy"], of.get("standard_error") or 0.0) if isinstance(of, Mapping) else (of, 0.0)
        for of in (value, control)
    )
    return bool(first - second > _ERRORS * (first_error**2 + second_error**2) ** 0.5)


def known(rows: Sequence[list[Any]], heads: Sequence[Any]) -> tuple[list[Any], list[list[Any]]]:
    """Heads and rows, without rows whose first number, and columns of which none, is known.

    >>> known([["a", 0.5, None], ["b", None, None]], ["one", "two"])
    (['one'], [['a', 0.5]])
    """
    rows = [row for row in rows if _is_known(row[1])]
    there = [i for i in range(len(heads)) if any(_is_known(row[i + 1]) for row in rows)]
    return [heads[i] for i in there], [[row[0], *(row[i + 1] for i in there)] for row in rows]


def said(sentence: Markup) -> Markup:
    """A paragraph, or nothing where a number in it is not known."""
    return Markup() if MISSING in sentence else Markup("<p>{}</p>").format(sentence)


def observations(count: Any) -> str:
    """``1 observation``, ``5 observations``."""
    return f"{count} observation{'' if str(count) == '1' else 's'}"


def site(text: str) -> str:
    """Which of content and style a row is of, for its colour."""
    found = re.search(r"\b(content|style)\b", text)
    return found[0] if found else "neither"


def _is_known(value: Any) -> bool:
    return value is not None and not isinstance(value, ChainableUndefined)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pyro_mlvae.runs"),
        autoescape=True,
        undefined=ChainableUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, score, with_error, above, known, said, observations, site)
    environment.filters |= {each.__name__: each for each in filters}
    return environment
