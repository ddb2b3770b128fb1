"""What is known of a named data set, and what is said where its files are not right."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.errors import InputError
from pyro_mlvae.files import find_path

FETCH = "fetch it with --download"
# What torchvision, and the readers under it, raise for files that are not what they should be.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
    RuntimeError,
    zlib.error,
)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before its files are there.

    Attributes:
        name: what ``--data`` calls it.
        title: what its authors call it.
        observations: how many it has.
        groups: how many it has.
        event_shape: of one observation as it is loaded, ``(C, H, W)``.
        download_mb: megabytes to download.
        licence: under which it may be used.
        get: how to get it, a clause for the end of a sentence.
        load: ``load(root, download=False)`` gives the data set.
        missing: which of its files are not below a root; their content is not looked at.
        ink: whether it is ink on paper, of which 0 is the paper: figures draw it dark on light.
    """

    name: str
    title: str
    observations: int
    groups: int
    event_shape: tuple[int, ...]
    download_mb: int
    licence: str
    get: str
    load: Callable[..., GroupedDataset]
    missing: Callable[[Path], list[Path]]
    ink: bool = False

    def present(self, root: str | Path) -> bool:
        """Whether its files are below ``root``; they are verified only when it is loaded."""
        return not self.missing(find_path(root))


def fetch_files(info: DatasetInfo, root: Path, fetch: Callable[[], object]) -> None:
    """Run ``fetch``; what goes wrong in it becomes one sentence."""
    try:
        fetch()
    except Exception as error:  # torchvision, gdown and the network raise errors of every kind
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"{info.title} could not be downloaded to {root} ({why}): check the connection and the "
            f"space on the disk ({info.download_mb} MB), and try again"
        ) from error


def require_files(info: DatasetInfo, root: Path) -> None:
    """Raise unless every file is there; the sentence says where to put it and how to get it."""
    missing = info.missing(root)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{info.title} was not found under {root} (missing: {missing[0]}{more}): give the "
            f"right --data-root, or {info.get} ({info.download_mb} MB, licence: {info.licence})"
        )


def open_files(info: DatasetInfo, checksums: Mapping[Path, str], make: Callable[[], Any]) -> Any:
    """A data set of torchvision's, whose files are there but need not be sound."""
    from torchvision.datasets.utils import check_integrity

    try:
        return make()
    except DAMAGED as error:
        wrong = [str(file) for file, md5 in checksums.items() if not check_integrity(file, md5)]
        why = " ".join(str(error).split())
        if wrong:
            why = f"the MD5 of {wrong[0]} is not the published one"
        raise InputError(
            f"{info.title} is damaged ({why}): remove that file, and {info.get}"
        ) from None


def damaged(info: DatasetInfo, file: Path, why: str) -> str:
    """The sentence for a file that is not what it should be."""
    return f"{info.title} is damaged in {file} ({why}): remove that file, and {info.get}"
