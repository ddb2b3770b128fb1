"""Files that are damaged or malicious, read through the library's public functions."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from damage import DAMAGE
from PIL import Image
from pyro.optim import Adam  # type: ignore[attr-defined]
from trial import Broken, Guard, Parts

from pyro_mlvae import GroupSampler, InputError, fit, load_dataset, runs
from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.idx import IDX_FILES
from pyro_mlvae.evaluation import evaluate
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.explorer import save_explorer
from pyro_mlvae.runs.folder import CHECKPOINT
from pyro_mlvae.runs.report import write_report
from pyro_mlvae.training import Checkpoint
from pyro_mlvae.training.ranks import Ranks

SHAPE = (1, 8, 8)
CONFIG = RunConfig(hidden=(4,), content_dim=2, style_dim=2, epochs=3)


class Resumed(Checkpoint):
    """A checkpoint that is only ever read."""

    def save(self, *_: object) -> None:
        pass


def small_data() -> GroupedDataset:
    """Eight observations of two groups."""
    x = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    return GroupedDataset.from_arrays(x, torch.arange(8) % 2)


def restore(path: Path) -> None:
    """Read a checkpoint that may have been made to deceive, down to its digest."""
    pair = dict(zip(("model", "guide"), CONFIG.build(SHAPE), strict=True))
    progress = Checkpoint(path).restore(pair, Adam({"lr": 1e-3}), Ranks())
    assert progress is not None
    progress.history.rows()


def resume(path: Path) -> None:
    """Go on with training from a checkpoint that was damaged by accident."""
    checkpoint = Resumed(path, every=1e9)
    fit(*CONFIG.build(SHAPE), GroupSampler(small_data(), 2), epochs=CONFIG.epochs, checkpoint=checkpoint)


def open_run(folder: Path) -> None:
    """Open a run, and the plain VAE in it."""
    runs.load_run(folder)
    runs.load_vae(folder)


# Of every kind: the file that is damaged, the ways in which it is, and what reads it.
READERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "npz": ("data.npz", "npz", lambda at: load_dataset(f"npz:{at}/data.npz").batch()),
    "npy x": ("arrays/x.npy", "npy", lambda at: load_dataset(f"npy:{at}/arrays").batch()),
    "npy group": ("arrays/group.npy", "npy", lambda at: load_dataset(f"npy:{at}/arrays").batch()),
    "config": ("run/config.json", "json", lambda at: open_run(at / "run")),
    "config of the vae": ("run/vae/config.json", "json", lambda at: open_run(at / "run")),
    "weights": ("run/model.safetensors", "safetensors", lambda at: open_run(at / "run")),
    "checkpoint": (
        "run/checkpoint.safetensors",
        "safetensors",
        lambda at: restore(at / "run" / CHECKPOINT),
    ),
    "resumed": ("run/checkpoint.safetensors", "bytes", lambda at: resume(at / "run" / CHECKPOINT)),
    "idx": (f"MNIST/raw/{IDX_FILES[0]}", "bytes", lambda at: load_dataset("mnist", at)),
    "idx labels": (f"MNIST/raw/{IDX_FILES[3]}", "bytes", lambda at: load_dataset("mnist", at)),
    "idx gz": (f"FashionMNIST/raw/{IDX_FILES[0]}.gz", "gz", lambda at: load_dataset("fashion-mnist", at)),
    "image": ("images/a/0.png", "bytes", lambda at: load_dataset(f"folder:{at}/images", image_size=8)),
    "photo": ("images/a/1.jpg", "bytes", lambda at: load_dataset(f"folder:{at}/images", image_size=8)),
    "metrics": ("run/metrics.json", "json", lambda at: write_report(at / "run")),
    "explorer": ("run/explorer.safetensors", "safetensors", lambda at: write_report(at / "run")),
}
# As often as the others together: those of one's own making, that others send.
OFTEN = ("npz", "npy x", "npy group", "config", "weights", "checkpoint")
NAMES = (*READERS, *OFTEN * 3)


def make_files(folder: Path) -> None:
    """The files as they should be."""
    for name in ("arrays", "MNIST/raw", "FashionMNIST/raw", "images/a", "images/b", "run/vae"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    x, group = generator.random((8, *SHAPE), dtype=np.float32), np.array([*"ab"] * 4)
    np.savez(folder / "data.npz", x=x, group=group, label=np.arange(8))
    np.save(folder / "arrays/x.npy", x)
    np.save(folder / "arrays/group.npy", group)
    for i, pixels in enumerate((x[:4] * 255).astype(np.uint8)):
        kind = ("png", "jpg")[i // 2]
        Image.fromarray(pixels[0]).save(folder / f"images/{'ab'[i % 2]}/{i // 2}.{kind}")
    sides = b"".join(side.to_bytes(4, "big") for side in (3, 28, 28))
    pixels_and_labels = {
        "images-idx3-ubyte": b"\0\0\x08\x03" + sides + bytes(3 * 28 * 28),
        "labels-idx1-ubyte": b"\0\0\x08\x01" + (3).to_bytes(4, "big") + bytes((1, 2, 1)),
    }
    for part in ("train", "t10k"):
        for name, content in pixels_and_labels.items():
            (folder / f"MNIST/raw/{part}-{name}").write_bytes(content)
            (folder / f"FashionMNIST/raw/{part}-{name}.gz").write_bytes(gzip.compress(content))
    for run, config in ((folder / "run", CONFIG), (folder / "run/vae", CONFIG.plain_vae())):
        runs.save_config(run, config, SHAPE)
        runs.save_weights(run, *config.build(SHAPE))
    pair, data = CONFIG.build(SHAPE), small_data()
    fit(*pair, GroupSampler(data, 1), epochs=2, checkpoint=Checkpoint(folder / "run" / CHECKPOINT))
    metrics = evaluate(*pair, pair[1], data, data, data_name="digits", ks=(1,))
    runs.write_json(folder / "run" / runs.METRICS, metrics)
    save_explorer(folder / "run", *pair, data)


class Files:
    """Thousands of damaged files, in one process.

    Args:
        folder: an empty one, in which everything happens.
    """

    name, fixed, seconds = "files", 1, 10.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_files(folder / "whole")

    def prepare(self) -> None:
        self.guard = Guard()
        self.box = self.folder / "box"
        shutil.rmtree(self.box, ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.box)
        os.chdir(self.box)

    def parts(self, seed: int, index: int) -> Parts:
        chance = random.Random(f"{seed} files {index}")
        reader = chance.choice(NAMES)
        ways = DAMAGE[READERS[reader][1]]
        count = chance.choice((1, 1, 1, 2, 3))
        return (reader, *(f"{chance.randrange(len(ways))} {chance.randrange(10**9)}" for _ in range(count)))

    def attempt(self, parts: Parts) -> str:
        name, kind, read = READERS[parts[0]]
        content = (self.folder / "whole" / name).read_bytes()
        for part in parts[1:]:
            way, seed = part.split()
            content = DAMAGE[kind][int(way)](content, random.Random(seed))
        (self.box / name).write_bytes(content)
        self.guard.start(self._may_write)
        try:
            with torch.random.fork_rng([]):
                read(self.box)
            outcome = "read"
        except InputError as error:
            outcome = "refused"
            said = str(error)
        finally:
            self.guard.watching = False
            shutil.copyfile(self.folder / "whole" / name, self.box / name)
        self.guard.stop()
        if outcome == "refused" and (not said.isprintable() or len(said) < 20):
            raise Broken(f"it is refused with {said[:300]!r}")
        return f"{parts[0]}: {outcome}"

    def _may_write(self, path: Path) -> bool:
        """A report is written where it belongs; what is unpacked, where temporary files do."""
        if path.is_relative_to(self.folder):
            return path.parent == self.box / "run" and path.name.startswith((".report.", "report.html"))
        return path.is_relative_to(tempfile.gettempdir())
