"""Folders of the official Omniglot one-shot test, read as one data set with its trials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.folders import find_images
from pyro_mlvae.data.images import read_image, read_images, square, stack, unreadable
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.files import find_path

LABELS = "class_labels.txt"
_FORM = f"run01/training/*.png, run01/test/*.png, run01/{LABELS}, and so on"


@dataclass(frozen=True, eq=False)
class OneShotTrials:
    """Trials: which of a run's training drawings shows the same character as a test drawing?

    Attributes:
        data: all drawings. Their groups are the characters, their super-groups the runs.
        query: the test drawings of each run, as indices into ``data``, ``[runs, trials]``.
        given: its training drawings, one of each character, ``[runs, ways, 1]``.
        answer: the place in ``given`` of the right one, ``[runs, trials]``.
        ink: the coordinates of the ink of each drawing, in pixels of its file, with mean zero.
    """

    data: GroupedDataset
    query: Int64[Tensor, "runs trials"]
    given: Int64[Tensor, "runs ways 1"]
    answer: Int64[Tensor, "runs trials"]
    ink: tuple[Float[Tensor, "_ 2"], ...]


def load_one_shot(
    folder: str | Path, image_size: int | None = None, *, invert: bool = False
) -> OneShotTrials:
    """Read the official one-shot test, or folders of its form.

    The folder holds ``run01``, ``run02`` and so on; each of them holds images in ``training``, one
    of each character, images in ``test``, and ``class_labels.txt``. A line of that file names a
    test image and the training image of the same character, from the folder:
    ``run01/test/item01.png run01/training/class08.png``.

    Drawings are prepared as ``load_dataset("omniglot")`` prepares them: grey, uint8, ink as dark as
    it is in the files, and resized with antialiasing.

    Args:
        folder: what holds the runs.
        image_size: to which drawings are resized; by default they stay as they are.
        invert: make dark ink bright, for a model that was trained on such drawings.

    Raises:
        InputError: the folder is not of this form, a label names an image that is not there, an
            image is missing, blank or cannot be read, or runs differ in size.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("training/a.png", "training/b.png", "test/1.png", "test/2.png"):
    ...     (root / "run01" / name).parent.mkdir(parents=True, exist_ok=True)
    ...     drawing = Image.new("L", (20, 20), "white")
    ...     drawing.putpixel((3, 4), 0)
    ...     drawing.save(root / "run01" / name)
    >>> lines = "run01/test/1.png run01/training/b.png\\nrun01/test/2.png run01/training/a.png"
    >>> _ = (root / "run01" / "class_labels.txt").write_text(lines)
    >>> trials = load_one_shot(root, image_size=14)
    >>> trials.data.event_shape, trials.answer
    (torch.Size([1, 14, 14]), tensor([[1, 0]]))
    """
    if image_size is not None:
        require_positive(image_size=image_size)
    root = find_path(folder)
    runs = sorted(path for path in root.glob("run*") if path.is_dir())
    if not runs:
        raise InputError(
            f"{root} holds no folder whose name begins with run, so it is no one-shot test: give "
            f"the folder that holds {_FORM}"
        )
    files: list[Path] = []
    groups: list[str] = []
    query, given, answer = [], [], []
    for run in runs:
        training, test, right = _read_run(root, run)
        start = len(files)
        files += [*training, *test]
        groups += [f"{run.name}/{training[i].stem}" for i in [*range(len(training)), *right]]
        given.append(range(start, start + len(training)))
        query.append(range(start + len(training), len(files)))
        answer.append(right)
        if len(training) != len(given[0]) or len(test) != len(query[0]):
            raise InputError(
                f"every run must have as many images as the first, but {run} has {len(training)} "
                f"in training and {len(test)} in test, and {runs[0]} has {len(given[0])} and "
                f"{len(query[0])}: unpack the archive of the runs again"
            )
    x, ink = _read_images(root, files, image_size)
    return OneShotTrials(
        GroupedDataset.from_arrays(
            255 - x if invert else x,
            groups,
            parent={group: group.split("/")[0] for group in groups},
        ),
        torch.tensor(query),
        torch.tensor(given).unsqueeze(-1),
        torch.tensor(answer),
        ink,
    )


def _read_run(root: Path, run: Path) -> tuple[list[Path], list[Path], list[int]]:
    """A run's training images, its test images, and the place of each one's training image."""
    labels = run / LABELS
    missing = [
        path for path in (run / "training", run / "test", labels)
        if not (path.is_file() if path == labels else path.is_dir())
    ]  # fmt: skip
    if missing:
        raise InputError(f"{missing[0]} is missing: give a folder that holds {_FORM}")
    training, test = find_images(run / "training"), find_images(run / "test")
    for part, images in (("training", training), ("test", test)):
        if not images:
            raise InputError(f"{run / part} holds no image: give a folder that holds {_FORM}")
    place = {path.relative_to(root).as_posix(): i for i, path in enumerate(training)}
    known = {path.relative_to(root).as_posix(): path for path in test}
    found: dict[str, int] = {}
    for number, line in enumerate(_read_lines(labels), start=1):
        words = line.split()
        if len(words) != 2:
            raise InputError(
                f"line {number} of {labels} must name a test image and a training image, with a "
                f"space between them, got {line!r:.100}: correct it"
            )
        absent = [words[0]] * (words[0] not in known) + [words[1]] * (words[1] not in place)
        if absent:
            raise InputError(
                f"line {number} of {labels} names {absent[0]!r:.100}, which is no image in the "
                f"folder of this run: put it there, or correct the line"
            )
        if words[0] in found:
            raise InputError(f"{labels} names {words[0]} twice: leave one of the lines out")
        found[words[0]] = place[words[1]]
    unnamed = [name for name in known if name not in found]
    if unnamed:
        raise InputError(
            f"{labels} does not name {unnamed[0]}: give one line for every image in test"
        )
    return training, [known[name] for name in found], list(found.values())


def _read_lines(labels: Path) -> list[str]:
    try:
        text = labels.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{labels} cannot be read ({error}): give a file of plain text") from None
    return [line for line in text.splitlines() if line.strip()]


def _read_images(
    root: Path, files: list[Path], image_size: int | None
) -> tuple[np.ndarray, tuple[Tensor, ...]]:
    ink: dict[Path, Tensor] = {}

    def read(file: Path) -> np.ndarray:
        whole = read_image(file, "L")
        ink[file] = _ink(torch.from_numpy(whole[0].copy()))
        return whole if image_size is None else read_image(file, "L", square(image_size))

    images, bad = read_images(files, root, read, image_size)
    if bad:
        raise InputError(f"{unreadable(bad, len(files), root)}: replace them")
    return stack(images), tuple(ink[file] for file in files)


def _ink(pixels: Tensor) -> Tensor:
    """Coordinates, with mean zero, of dark pixels, or of bright ones if those are fewer."""
    dark = pixels < 128
    if 2 * int(dark.sum()) > dark.numel():
        dark = ~dark
    if not dark.any():
        raise InputError("it is blank")
    points = dark.nonzero().float()
    return points - points.mean(0)
