"""``pyro-mlvae embed``: content and style of every observation, for whatever comes next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pyro_mlvae.cli.operate import OfRun
from pyro_mlvae.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Embed(OfRun):
    """Write the content and style of every observation, and the content of every group, as npz."""

    out: Path
    """The file to write, .npz; numpy.load opens it."""

    def run(self) -> int:
        """Encode and write; returns the exit status."""
        import numpy as np

        from pyro_mlvae import runs
        from pyro_mlvae.cli.source import load_for
        from pyro_mlvae.devices import find_device
        from pyro_mlvae.files import write_atomically
        from pyro_mlvae.latents.embedding import embed

        device = find_device(self.device)
        if self.out.suffix != ".npz":
            raise InputError(
                f"--out {self.out} must end in .npz, which is what is written: rename it"
            )
        run = runs.load_run(self.folder)
        source = load_for(run, self.data, self.data_root)
        started = time.perf_counter()
        arrays = embed(run.guide.to(device), source.data)
        seconds = time.perf_counter() - started
        with write_atomically(self.out) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        count = len(source.data)
        print(
            f"{count:,} observations of {len(arrays['group_names']):,} groups encoded in "
            f"{seconds:.2f} s ({count / seconds:,.0f} a second); written to {self.out}:"
        )
        for name, array in arrays.items():
            print(f"  {name:20} {array.dtype.name:8} {list(array.shape)}")
        return 0
