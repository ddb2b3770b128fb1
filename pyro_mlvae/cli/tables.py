"""Tables for the terminal, laid out by rich: plain text, at most 100 columns wide."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

MOST_COLUMNS = 100


def width() -> int:
    """How many columns there are: those of the terminal, and at most 100."""
    return min(MOST_COLUMNS, shutil.get_terminal_size((MOST_COLUMNS, 24)).columns)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
    gap: int = 2,
) -> str:
    """Rows in columns under their headings; ``text`` are the columns of text, others of numbers.

    >>> print(table(["--data", "groups"], [["digits", "10"], ["mnist", "10"]]))
    --data  groups
    digits      10
    mnist       10
    """
    grid = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="")
    for number, heading in enumerate(headings):
        is_text = number in text
        grid.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        grid.add_row(*row)
    written = io.StringIO()
    # No markup, emoji or highlights: names are other people's.
    console = Console(file=written, width=width(), color_system=None, markup=False, emoji=False)
    console.print(grid, highlight=False)
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip("\n").split("\n"))
