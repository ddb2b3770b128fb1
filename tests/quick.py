"""Commands with quick measurements and figures, for tests of what stands around them."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image


def words(text):
    return text.split()


# Of a small run on the digits.
SMALL = words("--epochs 2 --hidden 20 --device cpu")


def write_noise(path):
    """A small picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def write_arrays(path, count=40, groups=4):
    """Noise of 8x8 pixels as npz; gives what ``--data`` takes."""
    x = np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)
    np.savez(path, x=x, group=np.arange(count) % groups)
    return f"npz:{path}"


@contextmanager
def quickly(*, draw=False, save=False):
    """One kind of probe, few draws, and noise for figures, which are drawn if ``draw`` says so.

    With ``save`` too, files have what is drawn.
    """
    from matplotlib.figure import Figure

    from pyro_mlvae.evaluation import classifiers, diagnostics, reader, unseen
    from pyro_mlvae.plotting import maps, run_figures

    def save_each(folder, figures):
        folder.mkdir(exist_ok=True)
        for name in figures:
            write_noise(folder / f"{name}.png")
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "KINDS", (classifiers.LINEAR,))
        patch.setattr(classifiers, "_accuracy", lambda *_: 1.0)  # there is nothing to choose from
        patch.setattr(reader, "_MOST_VISITS", 20_000)
        patch.setattr(diagnostics, "WEIGHTS", 50)
        patch.setattr(diagnostics, "RANKS", 60)
        patch.setattr(unseen, "WAYS", (5,))
        if not save:
            patch.setattr(Figure, "savefig", lambda figure, path, **_: write_noise(path))
        patch.setattr(maps, "_two_dimensions", lambda codes: codes[:, :2].cpu().numpy())
        if not draw:
            patch.setattr(run_figures, "save_each", save_each)
        yield


if __name__ == "__main__":
    from pyro_mlvae.cli.main import run
    from pyro_mlvae.training import Checkpoint

    # A checkpoint every second, for tests that wait for one.
    Checkpoint.__init__.__kwdefaults__["every"] = 1.0
    with quickly():
        sys.exit(run(sys.argv[1:]))
