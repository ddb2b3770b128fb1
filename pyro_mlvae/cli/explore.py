"""``pyro-mlvae explore``: the explorer of a run as a page of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Explore:
    """Write the explorer of a run as one page, and open it: swap, add evidence, move dimensions."""

    folder: tyro.conf.Positional[Path]
    """The run folder."""
    out: Path | None = None
    """The page to write; by default explorer.html in the run folder."""

    def run(self) -> int:
        """Write, and open where a person is at the terminal; returns the exit status."""
        import os
        import sys
        import webbrowser

        from pyro_mlvae.runs.folder import EXPLORER_PAGE
        from pyro_mlvae.runs.report import write_explorer

        out = write_explorer(self.folder, self.out or self.folder / EXPLORER_PAGE)
        print(out)
        # Without a display, a browser of text would take the terminal.
        display = {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ) or sys.platform in (
            "darwin",
            "win32",
        )
        if sys.stdout.isatty() and display:
            webbrowser.open(out.resolve().as_uri())
        return 0
