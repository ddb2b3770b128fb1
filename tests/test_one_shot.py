"""The one-shot test: folders of the official form, the controls, and a guide's scores."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pyro_mlvae import MLVAE, InputError, MLPDecoder, MLPEncoder, NormalLikelihood, ProductOfNormals
from pyro_mlvae.data import load_one_shot
from pyro_mlvae.data.images import read_image, square
from pyro_mlvae.data.one_shot import LABELS
from pyro_mlvae.evaluation import one_shot_error, one_shot_metrics
from pyro_mlvae.evaluation.few_shot import distance_score
from pyro_mlvae.evaluation.one_shot import hausdorff_score, modified_hausdorff

WAYS = 3


def draw(file, at, ink=0):
    """A bar of ink, two pixels thick: ``at`` says where its corner is, and how long it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((20, 20), 255 - ink, dtype=np.uint8)
    (row, column), length = at
    pixels[row : row + 2, column : column + length] = ink
    Image.fromarray(pixels).convert("1").save(file)


@pytest.fixture
def folder(tmp_path):
    """Two runs of three bars of different lengths; test images are the same ones, moved."""
    for run in ("run01", "run02"):
        lines = []
        for way in range(WAYS):
            draw(tmp_path / run / "training" / f"class{way}.png", ((2, 2), 3 + 4 * way))
            right = (way + 1) % WAYS
            draw(tmp_path / run / "test" / f"item{way}.png", ((12, 5), 3 + 4 * right))
            lines.append(f"{run}/test/item{way}.png {run}/training/class{right}.png\n")
        (tmp_path / run / LABELS).write_text("".join(lines))
    return tmp_path


def test_the_official_form_is_read_as_trials(folder):
    trials = load_one_shot(folder)
    assert trials.data.event_shape == (1, 20, 20)
    assert trials.data.x.dtype == torch.uint8
    assert trials.answer.tolist() == [[1, 2, 0], [1, 2, 0]]
    assert (trials.query.shape, trials.given.shape) == ((2, WAYS), (2, WAYS, 1))
    # The answer is what the groups of the data say too.
    chosen = trials.given[..., 0].gather(1, trials.answer)
    assert torch.equal(trials.data.group[chosen], trials.data.group[trials.query])
    assert trials.data.num_groups == 2 * WAYS
    assert trials.data.parent_names == ("run01", "run02")
    file = folder / "run02" / "test" / "item1.png"
    assert np.array_equal(trials.data.x[trials.query[1, 1]].numpy(), read_image(file, "L"))


def test_lines_may_come_in_any_order(folder):
    labels = folder / "run01" / LABELS
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(reversed(lines)) + "\n\n")
    before = load_one_shot(folder)
    labels.write_text("\n".join(lines))
    after = load_one_shot(folder)
    assert torch.equal(before.answer[0].flip(0), after.answer[0])
    assert torch.equal(before.data.x[before.query[0]].flip(0), after.data.x[after.query[0]])


def test_drawings_are_prepared_as_those_of_omniglot(folder):
    file = folder / "run01" / "training" / "class1.png"
    resized = load_one_shot(folder, 14)
    expected = read_image(file, "L", square(14))
    assert np.array_equal(resized.data.x[1].numpy(), expected)
    bright = load_one_shot(folder, 14, invert=True)
    assert torch.equal(bright.data.x, 255 - resized.data.x)
    # The ink is that of the files, whatever is made of the pixels.
    assert all(torch.equal(a, b) for a, b in zip(resized.ink, bright.ink, strict=True))
    assert [len(points) for points in bright.ink[:WAYS]] == [6, 14, 22]


def test_ink_is_centred_and_may_be_bright(folder):
    dark = load_one_shot(folder)
    for file in (folder / "run01").glob("*/*.png"):
        with Image.open(file) as image:
            pixels = 255 - np.asarray(image.convert("L"))
        Image.fromarray(pixels).save(file)
    bright = load_one_shot(folder)
    for one, other in zip(dark.ink, bright.ink, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one.mean(0), torch.zeros(2), rtol=0.0, atol=1e-6)


def brute_hausdorff(one, other):
    def directed(a, b):
        return sum(min(math.dist(p, q) for q in b) for p in a) / len(a)

    return max(directed(one, other), directed(other, one))


def test_the_modified_hausdorff_distance_is_its_definition():
    one, other = torch.randn(7, 2).double(), torch.randn(4, 2).double() + 1.0
    expected = brute_hausdorff(one.tolist(), other.tolist())
    assert float(modified_hausdorff(one, other)) == pytest.approx(expected, abs=1e-9)
    assert float(modified_hausdorff(other, one)) == pytest.approx(expected, abs=1e-9)
    assert float(modified_hausdorff(one, one)) == pytest.approx(0.0, abs=1e-6)
    # Half of the points are far from the single one, and it is near one of them: the mean, not the
    # most.
    line = torch.tensor([[0.0, 0.0], [0.0, 4.0]]).double()
    assert float(modified_hausdorff(line, line[:1])) == 2.0


def test_shapes_are_told_apart_where_they_were_moved(folder):
    trials = load_one_shot(folder)
    error = one_shot_error(hausdorff_score(trials.ink), trials)
    assert error == {"error": 0.0, "standard_error": 0.0}
    # To the pixels, which are not centred, everything in the lower half is far from everything
    # above.
    moved = one_shot_error(distance_score(trials.data.observations()), trials)
    assert moved["error"] > 0.5


def test_the_error_is_that_of_all_trials_and_its_own_that_of_runs(folder):
    trials = load_one_shot(folder)
    # One wrong in the first run, all wrong in the second.
    wrong = trials.answer.clone()
    wrong[0, 0] = (wrong[0, 0] + 1) % WAYS
    wrong[1] = (wrong[1] + 1) % WAYS
    result = one_shot_error(hausdorff_score(trials.ink), replace(trials, answer=wrong))
    assert result["error"] == pytest.approx(4 / 6)
    # Rates 1/3 and 1, of which the standard deviation is 1/3 * sqrt(2).
    assert result["standard_error"] == pytest.approx(1 / 3)
    first = replace(
        trials, query=trials.query[:1], given=trials.given[:1], answer=trials.answer[:1]
    )
    assert math.isnan(one_shot_error(hausdorff_score(trials.ink), first)["standard_error"])


class InkReader(nn.Module):
    """Content is the amount of ink, known well; style is nothing."""

    content_dim = style_dim = 1

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def forward(self, x):
        amount = (1.0 - x).flatten(1).sum(1, keepdim=True) / 10.0
        own = torch.zeros_like(amount)
        return torch.cat([amount, own + self.log_scale, own, own], -1)


def test_a_guide_that_reads_the_character_makes_no_error(folder):
    trials = load_one_shot(folder)
    metrics = one_shot_metrics(ProductOfNormals(InkReader()), trials)
    assert metrics["trials"] == 2 * WAYS
    assert metrics["ways"] == WAYS
    assert metrics["chance"] == pytest.approx(2 / 3)
    assert metrics["posterior"]["error"] == metrics["hausdorff"]["error"] == 0.0
    assert metrics["pixels"]["error"] > 0.5
    assert metrics["decoder"] is None


def test_with_the_model_the_decoder_scores_too(folder):
    trials = load_one_shot(folder, 8)
    torch.manual_seed(0)
    shape = trials.data.event_shape
    model = MLVAE(MLPDecoder(shape, 2, 1), NormalLikelihood(0.5), 2, 1)
    metrics = one_shot_metrics(
        ProductOfNormals(MLPEncoder(shape, 2, 1)), trials, model=model, samples=2, seed=1
    )
    assert 0.0 <= metrics["decoder"]["error"] <= 1.0
    assert set(metrics["decoder"]) == {"error", "standard_error"}


def test_drawings_of_another_shape_than_the_guides_are_refused(folder):
    guide = ProductOfNormals(MLPEncoder((1, 28, 28), 2, 1))
    with pytest.raises(
        InputError, match=r"\[1, 28, 28\].*\[1, 20, 20\]|\[1, 20, 20\].*\[1, 28, 28\]"
    ):
        one_shot_metrics(guide, load_one_shot(folder))


def remove(*parts):
    def change(folder):
        folder.joinpath(*parts).unlink()

    return change


def write(text):
    def change(folder):
        (folder / "run01" / LABELS).write_bytes(text)

    return change


def rename_runs(folder):
    for i in (1, 2):
        (folder / f"run0{i}").rename(folder / f"part{i}")


def lose(part):
    def change(folder):
        (folder / "run02" / part).rename(folder / "elsewhere")

    return change


def empty(folder):
    for file in (folder / "run02" / "test").iterdir():
        file.unlink()


def spoil(folder):
    (folder / "run02" / "test" / "item1.png").write_bytes(b"not an image")


def blank(folder):
    Image.new("L", (20, 20), "white").save(folder / "run02" / "test" / "item1.png")


def lose_a_class(folder):
    """One training image of the second run, with the lines that name it and their test images."""
    (folder / "run02" / "training" / "class2.png").unlink()
    (folder / "run02" / "test" / "item1.png").unlink()
    labels = folder / "run02" / LABELS
    lines = [line for line in labels.read_text().splitlines() if "class2" not in line]
    labels.write_text("\n".join(lines))


LINE = b"run01/test/item0.png run01/training/class1.png\n"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename_runs, "holds no folder whose name begins with run"),
        (lose("training"), "run02/training is missing: give a folder that holds run01/training"),
        (lose("test"), "run02/test is missing"),
        (lose(LABELS), "run02/class_labels.txt is missing"),
        (remove("run01", "training", "class1.png"), "line 1 .* names 'run01/training/class1.png'"),
        (
            remove("run01", "test", "item1.png"),
            "line 2 .* 'run01/test/item1.png', which is no image",
        ),
        (lose_a_class, "run02 has 2 in training and 2 in test, and .*run01 has 3 and 3"),
        (empty, "run02/test holds no image"),
        (write(b""), "class_labels.txt does not name run01/test/item0.png"),
        (write(LINE), "class_labels.txt does not name run01/test/item1.png"),
        (write(2 * LINE), "names run01/test/item0.png twice"),
        (write(b"run01/test/item0.png\n"), "line 1 .* must name a test image and a training image"),
        (
            write(b"run01/test/item0.png run02/training/class1.png"),
            "'run02/training/class1.png', which",
        ),
        (write(b"\xff\xfe\x00"), "class_labels.txt cannot be read"),
        (spoil, r"1 of the 12 images in .* cannot be read, run02/test/item1.png \(not an image"),
        (blank, r"run02/test/item1.png \(it is blank\)"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_official_form_is_refused_in_one_sentence(folder, change, sentence):
    change(folder)
    with pytest.raises(InputError, match=sentence) as caught:
        load_one_shot(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_and_a_size_that_is_none_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="holds no folder whose name begins with run"):
        load_one_shot(tmp_path / "nowhere")
    with pytest.raises(InputError, match="image_size must be a positive whole number, got 0"):
        load_one_shot(folder, 0)
