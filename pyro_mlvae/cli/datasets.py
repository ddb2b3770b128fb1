"""``pyro-mlvae datasets``: what can be loaded, whether it is there, and how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Datasets:
    """List the data sets that --data takes: size, licence, whether and how they can be had."""

    data_root: Path = Path("data")
    """Where the files of named data sets are looked for."""

    def run(self) -> int:
        """Print the table; returns the exit status."""
        from pyro_mlvae.cli.tables import table
        from pyro_mlvae.data.catalogue import OWN
        from pyro_mlvae.data.named import NAMED
        from pyro_mlvae.files import find_path

        root, glyphs = find_path(self.data_root), "free; drawn from the typefaces of matplotlib"
        missing = [info for info in NAMED.values() if not info.present(root)]
        rows = [
            ("digits", 1797, 10, (1, 8, 8), "yes", "CC BY 4.0 (comes with scikit-learn)"),
            ("glyphs", 9880, 494, (1, 28, 28), "yes", glyphs),
            ("linear-gaussian", 2201, 200, (16,), "yes", "drawn from the solved model"),
        ]
        for info in NAMED.values():
            here = "no" if info in missing else "yes"
            size = (info.observations, info.groups, info.event_shape)
            rows.append((info.name, *size, here, info.licence))
        cells = [
            (name, f"{observations:,}", f"{groups:,}", "x".join(map(str, shape)), here, licence)
            for name, observations, groups, shape, here, licence in rows
        ]
        headings = ("--data", "observations", "groups", "shape", "here", "licence")
        print(table(headings, cells, text=(0, 4, 5)))
        print(f"\nHow to get those that are not under {self.data_root} (--data-root):")
        ways = [(info.name, f"{info.get} ({info.download_mb:,} MB)") for info in missing]
        print(table(("--data", "how"), ways, text=(0, 1)))
        print("\nYour own data:")
        print(table(("--data", "what"), [*OWN.items()], text=(0, 1)))
        return 0
