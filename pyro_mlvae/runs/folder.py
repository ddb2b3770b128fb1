"""The run folder: what a training run leaves behind, and how it is opened again.

Nothing is ever unpickled: weights are safetensors, everything else is JSON or CSV, and every file
appears whole or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pyro_mlvae.data.scaling import NONE, Scaling
from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import find_path, is_leftover, remove_leftovers, write_atomically
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.models import MLVAE
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.config_file import CODE, CONFIG, WEIGHTS, read_config, required
from pyro_mlvae.runs.split_file import SPLIT, RecordedSplit, load_split

HISTORY, METRICS = "history.csv", "metrics.json"
# From which an interrupted run goes on.
CHECKPOINT = "checkpoint.safetensors"
REPORT = "report.html"
# What the report's explorer decodes from, and the explorer as a page of its own.
EXPLORER, EXPLORER_PAGE = "explorer.safetensors", "explorer.html"
FIGURES = "figures"
# A run folder inside the run folder: the plain VAE that the run is compared with.
VAE = "vae"


@dataclass(frozen=True)
class Run:
    """A trained pair with what it was made from.

    Attributes:
        config: what the run was made from.
        event_shape: the shape of one observation.
        model: the trained model.
        guide: its trained guide.
        trained_groups: the names of the groups that training saw, as text; empty in runs of format
            version 1, which do not say.
        value_range: the smallest and the largest value of x in training, or None where it is not
            known.
        data_digest: what the data is known by, or None where it is not known.
        scaling: how x is scaled for the networks.
        uint8: whether x was uint8 in training, as far as is known.
        recorded: which observations it was trained on; None in runs of before that was recorded.
    """

    config: RunConfig
    event_shape: tuple[int, ...]
    model: MLVAE
    guide: GroupedGuide
    trained_groups: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    data_digest: str | None = None
    recorded: RecordedSplit | None = None
    scaling: Scaling = field(default_factory=Scaling.identity)
    uint8: bool = False

    def untrained(self) -> GroupedGuide:
        """The guide with its initial weights: the control of what training does."""
        return self.config.build(self.event_shape, self.scaling)[1]


def prepare_run_folder(path: str | Path, *, overwrite: bool = False) -> Path:
    """Make the folder of a new run, or refuse.

    Args:
        path: the folder.
        overwrite: whether an existing run there may be replaced; its files are removed.

    Raises:
        InputError: it is not an empty folder, cannot be written, or holds a run and ``overwrite``
            is not set.
    """
    own = [REPORT, EXPLORER, EXPLORER_PAGE, METRICS, HISTORY, WEIGHTS, CHECKPOINT, SPLIT]
    # The config last: while it is there, the folder is known for that of a run.
    own += [f"{CODE}/model.py", f"{CODE}/guide.py", CONFIG]
    others = [file.name for file in find_path(path).glob("metrics-*.json")]
    files = [*(f"{VAE}/{name}" for name in own), *others, *own]
    return prepare_folder(path, CONFIG, files, what="run", overwrite=overwrite)


def prepare_folder(
    path: str | Path, marker: str, files: Sequence[str], *, what: str, overwrite: bool = False
) -> Path:
    """Make the folder that a command writes its results to, or refuse.

    Args:
        path: the folder.
        marker: the file by which a folder of this kind is known.
        files: what such a folder holds beside its figures; with ``overwrite`` it is removed.
        what: what such a folder holds, as a word.
        overwrite: whether the one that is there may be replaced.

    Raises:
        InputError: as for :func:`prepare_run_folder`.
    """
    path = find_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not all(is_leftover(file) for file in path.iterdir()):
            if not (path / marker).is_file():
                raise InputError(
                    f"--out {path} exists and is not a {what} folder (it has no {marker}): name a "
                    f"new or empty folder"
                )
            if not overwrite:
                resume = f", go on with it with --resume {path}" if marker == CONFIG else ""
                raise InputError(
                    f"--out {path} already holds a {what}: name another folder{resume}, or replace "
                    f"that {what} with --overwrite"
                )
            for old in [*(path / name for name in files), *(path / FIGURES).glob("*.png")]:
                old.unlink(missing_ok=True)
        # Only now is it known for one's own, in which something may be removed.
        remove_leftovers(path)
        # Leaves nothing behind, whenever the process ends.
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise InputError(f"--out {path} is a file: name a folder") from None
    except OSError as error:
        raise InputError(
            f"--out {path} cannot be written ({error.strerror}): choose another"
        ) from None
    return path


def save_weights(path: Path, model: torch.nn.Module, guide: torch.nn.Module) -> None:
    """Write model.safetensors: the weights of the pair."""
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().contiguous()
        for kind, module in (("model", model), ("guide", guide))
        for name, tensor in module.state_dict().items()
    }
    with write_atomically(path / WEIGHTS) as temporary:
        temporary.write_bytes(save(tensors))


def load_run(path: str | Path) -> Run:
    """Open a run folder: the pair with its trained weights, on the CPU.

    Raises:
        InputError: the folder lacks a file, or one of them is not what this version writes.
    """
    path = find_path(path)
    config, data = read_config(path)
    file = required(path, WEIGHTS)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise InputError(f"{file} is damaged ({reason}): train the run again") from None
    strange = [name for name, t in tensors.items() if t.is_complex() or not t.isfinite().all()]
    if strange:
        raise InputError(f"{file} is damaged ({strange[0]!r} is not finite): train the run again")
    data["scaling"] = _scaling(path, data["scaling"], data["event_shape"], config, tensors)
    # The config may ask for no more weights than the file can hold, in a byte each at the least.
    size = file.stat().st_size
    model, guide = config.build(data["event_shape"], data["scaling"], most_parameters=size)
    for kind, module in (("model", model), ("guide", guide)):
        prefix = f"{kind}."
        weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            reason = printable(" ".join(str(error).split())[:500])
            raise InputError(
                f"the {kind}'s weights in {path / WEIGHTS} do not fit {CONFIG} ({reason}): both "
                f"must come from the same run"
            ) from None
    return Run(config, model=model, guide=guide, recorded=load_split(path), **data)


def _scaling(
    path: Path,
    kind: str,
    event_shape: tuple[int, ...],
    config: RunConfig,
    tensors: dict[str, Tensor],
) -> Scaling:
    """The scaling of that kind, whose numbers are among the guide's weights."""
    names = ["shift", "unit"] if kind != NONE or config.missing == "mask" else []
    names += ["mean"] if config.missing == "mask" else []
    found: dict[str, Tensor] = {}
    for name in names:
        tensor = tensors.get(f"guide.encoder.{name}")
        if tensor is None or tensor.shape not in ((), event_shape):
            raise InputError(
                f"the weights in {path / WEIGHTS} lack the {name} of x, which {CONFIG} (scaling "
                f"{kind!r}, missing {config.missing!r}) asks for: both must come from the same run"
            )
        found[name] = tensor
    try:
        return replace(Scaling.identity(), kind=kind, **found)
    except InputError as error:
        raise InputError(f"{path / WEIGHTS} is damaged ({error}): train the run again") from None


def load_vae(path: str | Path) -> tuple[Any, Any] | None:
    """The plain VAE, and its guide, that a run is compared with, if it was trained."""
    if not (Path(path) / VAE / WEIGHTS).is_file():
        return None
    run = load_run(Path(path) / VAE)
    return run.model, run.guide
