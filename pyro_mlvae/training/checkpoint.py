"""The file from which a run goes on after an interruption: there whole, or not at all.

It holds the weights, the optimiser's state, that of the generator of draws, and how far the run had
come; minibatches follow from the sampler's seed. All is tensors and JSON: nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pyro.optim import PyroOptim
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.files import write_atomically
from pyro_mlvae.training.progress import Progress
from pyro_mlvae.training.ranks import Ranks

FORMAT_VERSION = "2"
_BEST = "best/"


class Checkpoint:
    """A file that :func:`~pyro_mlvae.fit` writes, and goes on from if it is there.

    Args:
        path: the file.
        every: seconds from one writing to the next; it is written at the end in any case.

    >>> import tempfile
    >>> from pyro_mlvae import GroupSampler, MLPDecoder, MLPEncoder, MLVAE, NormalLikelihood
    >>> from pyro_mlvae import ProductOfNormals, fit, load_dataset
    >>> data = load_dataset("digits")
    >>> def train(epochs, checkpoint=None):
    ...     torch.manual_seed(0)
    ...     model = MLVAE(MLPDecoder(data.event_shape, 2, 2, hidden=(8,)), NormalLikelihood(), 2, 2)
    ...     guide = ProductOfNormals(MLPEncoder(data.event_shape, 2, 2, hidden=(8,)))
    ...     fit(model, guide, GroupSampler(data, 10, 20), epochs=epochs, checkpoint=checkpoint)
    ...     return guide.encoder.layers[0].weight
    >>> path = Path(tempfile.mkdtemp()) / "checkpoint.safetensors"
    >>> _ = train(2, Checkpoint(path))
    >>> torch.equal(train(4, Checkpoint(path)), train(4))
    True
    """

    def __init__(self, path: str | Path, *, every: float = 10.0) -> None:
        self.path = Path(path)
        self._every = every
        self._written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write it again."""
        return time.monotonic() - self._written >= self._every

    def save(
        self,
        modules: Mapping[str, nn.Module],
        optimizer: PyroOptim,
        progress: Progress,
        ranks: Ranks,
    ) -> None:
        """Write the file; inside the scope of the parameter store in which the optimiser works.

        Of several processes, the first writes, and all of them call this.
        """
        objective, terms = ranks.total(progress.objective, progress.terms)
        if ranks.rank:
            return
        progress = replace(progress, objective=objective, terms=terms)
        tensors = {
            f"{kind}.{name}": value
            for kind, module in modules.items()
            for name, value in module.state_dict().items()
        }
        if progress.best is not None:
            tensors |= {_BEST + name: tensor for name, tensor in progress.best.weights.items()}
        settings: dict[str, Any] = {}
        for parameter, state in optimizer.get_state().items():
            settings[parameter] = _take_tensors(state, f"optimizer/{parameter}", tensors)
        tensors["rng"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        metadata = {
            "format_version": FORMAT_VERSION,
            "progress": json.dumps(progress.as_json()),
            "optimizer": json.dumps(settings),
        }
        whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        content = save(whole, {**metadata, "sha256": digest(whole, metadata)})
        with write_atomically(self.path) as temporary:
            temporary.write_bytes(content)
        self._written = time.monotonic()

    def restore(
        self, modules: Mapping[str, nn.Module], optimizer: PyroOptim, ranks: Ranks
    ) -> Progress | None:
        """Take weights, optimiser and random state from the file, if there is one.

        Raises:
            InputError: the file is damaged, or is not of these modules.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata.get("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{self.path} has format_version {metadata.get('format_version')!r}, expected "
                    f"{FORMAT_VERSION!r}: resume it with the version of pyro_mlvae that wrote it"
                )
            # Before anything is taken over: nothing else would tell of a bit that flipped.
            if metadata.pop("sha256") != digest(tensors, metadata):
                raise ValueError("its content is not what was written")
            progress = Progress.from_json(json.loads(metadata["progress"]), _below(_BEST, tensors))
            for kind, module in modules.items():
                module.load_state_dict(_below(f"{kind}.", tensors))
            states = {
                parameter: _put_tensors(state, tensors)
                for parameter, state in json.loads(metadata["optimizer"]).items()
            }
            torch.set_rng_state(tensors["rng"])
            if torch.cuda.is_available() and "rng.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["rng.cuda"])
        except InputError:
            raise
        except (
            SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError,
            AttributeError, OverflowError,
        ) as error:  # fmt: skip
            reason = printable(" ".join(str(error).split())[:500])
            raise InputError(
                f"{self.path} is damaged, or of another run ({reason}): remove it to train from "
                f"the start"
            ) from None
        optimizer.set_state(states)
        self._written = time.monotonic()
        if ranks.rank:
            # The sums are those of all the processes: the first goes on with them.
            progress.objective, progress.terms = 0.0, ElboTerms()
        return progress


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of what a checkpoint holds."""
    found = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _take_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` for JSON, its tensors moved into ``tensors`` and named in their places."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        # Keys of JSON are text, those of an optimiser's state the numbers of its parameters.
        return {"items": [[k, _take_tensors(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`_take_tensors`."""
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _put_tensors(v, tensors) for k, v in value["items"]}
    if isinstance(value, list):
        return [_put_tensors(v, tensors) for v in value]
    return value
