"""swap, interpolate, generate and traverse: what is chosen, drawn and refused."""

import re

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedBatch, load_dataset, plotting, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.latents import decoding as operations
from pyro_mlvae.latents import encode
from pyro_mlvae.runs.config import RunConfig

COMMANDS = ("swap", "interpolate", "generate", "traverse")


def write_run(folder, config, event_shape):
    """The folder that training leaves, but for the training."""
    runs.prepare_run_folder(folder)
    runs.save_config(folder, config, event_shape)
    runs.save_weights(folder, *config.build(event_shape))
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the digits, with the weights that training starts from."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = RunConfig(hidden=(12,), content_dim=4, style_dim=2)
    return write_run(folder, config, (1, 8, 8))


@pytest.fixture(scope="module", params=["uint8", "float32"])
def colour(request, tmp_path_factory):
    """A run on random colour pictures, as pixels or on a scale of their own."""
    folder = tmp_path_factory.mktemp("colour")
    x = np.random.default_rng(0).random((40, 3, 8, 8))
    x = (255 * x).astype("uint8") if request.param == "uint8" else (4 * x - 2).astype("float32")
    np.savez(folder / "data.npz", x=x, group=np.arange(40) % 4)
    config = RunConfig(data=f"npz:{folder / 'data.npz'}", hidden=(12,), content_dim=4, style_dim=2)
    return write_run(folder / "run", config, (3, 8, 8))


@pytest.fixture
def others(tmp_path):
    """Digits of another source: groups of 1, 2 and 3 observations."""
    x = load_dataset("digits").observations(torch.arange(100, 106)).numpy()
    np.savez(tmp_path / "others.npz", x=x, group=["one", "two", "two", "three", "three", "three"])
    return f"npz:{tmp_path / 'others.npz'}"


@pytest.fixture
def draw(monkeypatch, tmp_path, capsys):
    """Runs a command that writes no file, and gives its figure and the line that it says of it."""
    figures = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: figures.append(figure))

    def draw(command, folder, options=""):
        out = ["--out", str(tmp_path / "figure.png")]
        assert run([command, str(folder), *out, *options.split()]) == 0
        path, said = capsys.readouterr().out.splitlines()
        assert path == str(tmp_path / "figure.png")
        return figures[-1], said

    return draw


def pictures(figure):
    """Every picture of a figure, ``[cells, ...]``, in the order of drawing."""
    return torch.stack(
        [torch.as_tensor(image.get_array().filled()) for image in figure.axes[0].images]
    )


def positions(said):
    """The positions of observations in a line such as "content of 3 14, ... style of 15 9"."""
    return [
        [int(i) for i in found.split()] for found in re.findall(r"(?:of|between)((?: \d+)+)", said)
    ]


def codes_of(folder, index):
    opened = runs.load_run(folder)
    data = opened.config.load()
    return opened, data, encode(opened.guide, data.observations(torch.tensor(index)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_a_picture_and_says_what_is_on_it(command, digits, tmp_path, capsys):
    out = tmp_path / "new" / "figure.png"
    few = {"swap": ["--content", "1", "--style", "2", "3"], "interpolate": ["--steps", "3"]}
    assert run([command, str(digits), "--out", str(out), *few.get(command, [])]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    path, said = capsys.readouterr().out.splitlines()
    assert path == str(out)
    assert "content" in said
    assert [file.name for file in out.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_draws_colour(command, colour, draw):
    few = {"interpolate": "--steps 3", "generate": "--rows 2 --columns 2"}
    figure, _ = draw(command, colour, few.get(command, ""))
    shown = pictures(figure)
    assert shown.shape[1:] == (8, 8, 3)
    assert 0.0 <= shown.min() < shown.max() <= 1.0


def test_what_is_drawn_is_held_out_and_contents_are_of_groups_apart(digits, draw):
    _, said = draw("swap", digits)
    contents, styles = positions(said)
    config, data = runs.load_run(digits).config, load_dataset("digits")
    train = {x.numpy().tobytes() for x in data.x[config.split(data)[1].train]}
    drawn = torch.tensor(contents + styles)
    assert not train & {x.numpy().tobytes() for x in data.x[drawn]}
    assert data.group[contents].tolist() == list(range(10))
    assert len(set(contents + styles)) == 20


def test_the_seed_decides_all_that_is_drawn(digits, draw):
    (first, said), (again, repeated) = draw("interpolate", digits), draw("interpolate", digits)
    assert said == repeated
    assert torch.equal(pictures(first), pictures(again))
    assert positions(draw("interpolate", digits, "--seed 1")[1]) != positions(said)
    first, again = (pictures(draw("generate", digits)[0]) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, pictures(draw("generate", digits, "--seed 1")[0]))


def test_naming_contents_leaves_the_drawn_styles_as_they_are(digits, draw):
    few, more = (positions(draw("swap", digits, f"--content {i}")[1])[1] for i in ("3", "5 3"))
    assert few == more


def test_swap_shows_the_named_with_the_contents_and_styles_of_each_alone(digits, draw):
    figure, said = draw("swap", digits, "--content 7 1796 --style 0 5 7")
    assert positions(said) == [[7, 1796], [0, 5, 7]]
    opened, data, content = codes_of(digits, [7, 1796])
    _, _, style = codes_of(digits, [0, 5, 7])
    grid = operations.swap(opened.model, content.content.mean, style.style.mean).clamp(0.0, 1.0)
    rows = [data.x[[0, 5, 7]], data.x[7:8], grid[0], data.x[1796:], grid[1]]
    expected = torch.cat(rows).squeeze(1)
    found = pictures(figure)
    assert len(found) == 3 + 2 + 6
    for picture in expected:
        assert any(torch.allclose(picture, other, atol=1e-6) for other in found)


def test_evidence_is_of_the_whole_group_where_that_is_as_large(digits, others, draw):
    figure, said = draw("swap", digits, f"--data {others} --content 3 --style 0 --evidence 3")
    assert "each from 3 observations of its group" in said
    opened, data = runs.load_run(digits), load_dataset(others)
    whole = GroupedBatch(data.x[3:], torch.zeros(3, dtype=torch.int64), 1)
    with torch.no_grad():
        features = opened.guide.encode(whole.x)
        content = opened.guide.content_posterior(features, whole.groups).mean
    style = encode(opened.guide, data.x[:1]).style.mean
    expected = operations.decode(opened.model, content, style)[0, 0].clamp(0.0, 1.0)
    torch.testing.assert_close(pictures(figure)[-1], expected)
    alone = draw("swap", digits, f"--data {others} --content 3 --style 0")[0]
    assert not torch.allclose(pictures(alone)[-1], expected, atol=1e-3)


def test_every_row_has_the_evidence_of_its_own_group(digits, others, draw):
    options = f"--data {others} --style 0 --evidence 2 --content"
    pair = pictures(draw("swap", digits, f"{options} 1 3")[0])
    assert len(pair) == 1 + 2 + 2
    alone = pictures(draw("swap", digits, f"{options} 1")[0])[-1]
    torch.testing.assert_close(pair[-2], alone)
    assert not torch.allclose(pair[-1], alone, atol=1e-3)


def test_drawn_styles_are_of_others_than_the_contents(digits, others, draw):
    contents, styles = positions(draw("swap", digits, f"--data {others}")[1])
    assert len(contents) == len(styles) == 3
    assert sorted(contents + styles) == list(range(6))


def test_evidence_of_drawn_contents_comes_from_the_groups_that_have_it(digits, others, draw):
    _, said = draw("swap", digits, f"--data {others} --evidence 2")
    contents, _ = positions(said)
    assert [load_dataset(others).group_names[load_dataset(others).group[i]] for i in contents] == [
        *("three", "two")
    ]


def test_interpolation_is_between_two_observations_unless_styles_are_named(digits, draw):
    figure, said = draw("interpolate", digits, "--content 3 9 --vary both --steps 5")
    assert positions(said) == [[3, 9], [3, 9]]
    opened, _, codes = codes_of(digits, [3, 9])
    line = operations.interpolate(
        opened.model, codes.content.mean, codes.style.mean, 5, vary="both"
    ).squeeze(1)
    torch.testing.assert_close(pictures(figure)[-5:], line.clamp(0.0, 1.0))
    assert positions(draw("interpolate", digits, "--style 3 9")[1]) == [[3, 9], [3, 9]]
    _, said = draw("interpolate", digits, "--content 3 9 --style 5 6 --vary style")
    assert positions(said) == [[3, 9], [5, 6]]


def test_interpolation_of_one_group_draws_two_of_it(digits, draw, tmp_path):
    np.savez(tmp_path / "one.npz", x=np.random.default_rng(0).random((3, 1, 8, 8)), group=[0, 0, 0])
    contents, styles = positions(
        draw("interpolate", digits, f"--data npz:{tmp_path / 'one.npz'}")[1]
    )
    assert len(set(contents)) == 2
    assert styles == contents


def test_generate_fixes_what_is_named_and_draws_the_rest(digits, draw):
    opened, _, codes = codes_of(digits, [4, 8])
    content, style = codes.content.mean, codes.style.mean
    figure, said = draw("generate", digits, "--content 4 8 --columns 3 --seed 5")
    assert said == "content of 4 8 of digits with styles from the prior"
    expected = operations.generate(opened.model, content=content, styles=3, seed=5).flatten(0, 2)
    torch.testing.assert_close(pictures(figure)[2:], expected.clamp(0.0, 1.0))
    figure, said = draw("generate", digits, "--style 4 8 --rows 3 --seed 5")
    assert said == "contents from the prior with style of 4 8 of digits"
    expected = operations.generate(opened.model, style=style, contents=3, seed=5).flatten(0, 2)
    torch.testing.assert_close(pictures(figure)[2:], expected.clamp(0.0, 1.0))


def test_drawing_from_the_prior_needs_no_data(digits, draw):
    figure, said = draw("generate", digits, "--data npz:nowhere.npz --rows 2 --columns 3")
    assert len(pictures(figure)) == 6
    assert said == "contents from the prior with styles from the prior"


def test_traversal_starts_from_one_observation_unless_another_style_is_named(digits, draw):
    figure, said = draw("traverse", digits, "--content 3 --style 8 --which style")
    assert positions(said) == [[3], [8]]
    opened, data, codes = codes_of(digits, [3, 8])
    rows = operations.traverse(opened.model, codes.content.mean[0], codes.style.mean[1], "style")
    found = pictures(figure)
    assert torch.equal(found[:2], data.x[[3, 8]].squeeze(1))
    for row in rows.clamp(0.0, 1.0).squeeze(2):
        assert any(
            torch.allclose(row, found[i : i + 9], atol=1e-6) for i in range(2, len(found), 9)
        )
    assert positions(draw("traverse", digits, "--content 3")[1]) == [[3], [3]]
    assert positions(draw("traverse", digits, "--style 3")[1]) == [[3], [3]]


# The figure goes to OUT, unless it is said.
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("swap RUN --content 99999", "--content 99999: expected 0..1796"),
        ("swap RUN --style -1", "--style -1: expected 0..1796"),
        ("swap RUN --content one", "one"),
        (f"swap RUN --content {' 1' * 51}", "--content names 51, expected from 0 to 50"),
        ("swap RUN --evidence 0", "evidence must be a positive whole number, got 0"),
        ("swap RUN --evidence 99", "--evidence 99: expected at most 37, the number of held-out"),
        (
            "swap RUN --evidence 40 --content 1",
            "expected at most 37 for observation 1, whose group",
        ),
        ("swap RUN --data OTHERS --evidence 4", "at most 3, the number of observations of the la"),
        ("swap RUN --data OTHERS --evidence 2 --content 3 0", "'one' has 0 other observations"),
        ("swap RUN --data linear-gaussian", "shape [16], but the run was trained on [1, 8, 8]"),
        ("swap RUN --data digit", "did you mean 'digits'"),
        ("swap RUN --seed -1", "seed must be a whole number of at least 0, got -1"),
        ("swap RUN --device cuda:77", "is not here"),
        ("swap NOWHERE", "config.json is missing"),
        ("swap RUN --out a.gif", "must end in .png, .pdf or .svg, got"),
        ("generate RUN --out TAKEN", "cannot be written"),
        ("generate RUN --out /proc/a.png", "/proc/a.png cannot be written"),
        ("interpolate RUN --content 1", "--content takes 2 positions, the ends of a line, got 1"),
        ("interpolate RUN --style 1 2 3", "--style takes 2 positions, the ends of a line, got 3"),
        ("interpolate RUN --steps 1", "--steps 1, expected from 2 to 50"),
        ("interpolate RUN --steps 51", "--steps 51, expected from 2 to 50"),
        ("interpolate RUN --vary grids", "'grids'"),
        ("interpolate RUN --data SINGLE", "must have at least 2 observations to draw from, got 1"),
        ("generate RUN --content 1 --style 2", "leave nothing to generate: use swap"),
        ("generate RUN --content 1 --rows 2", "--rows says how many to draw, but --content names"),
        ("generate RUN --style 1 --columns 2", "--columns says how many to draw, but --style"),
        ("generate RUN --rows 0", "--rows 0, expected from 1 to 50"),
        ("generate RUN --columns 51", "--columns 51, expected from 1 to 50"),
        ("traverse RUN --content 1 2", "--content takes 1 position, from which to start, got 2"),
        ("traverse RUN --style 1 2", "--style takes 1 position, from which to start, got 2"),
        ("traverse RUN --which both", "'both'"),
    ],
)
def test_what_the_user_can_correct_ends_with_one_sentence_and_status_2(
    arguments, sentence, digits, others, tmp_path, refusal
):
    np.savez(tmp_path / "single.npz", x=np.zeros((1, 1, 8, 8)), group=[0])
    (tmp_path / "taken.png").mkdir()
    before = sorted(tmp_path.iterdir())
    places = {"RUN": digits, "OTHERS": others, "SINGLE": f"npz:{tmp_path / 'single.npz'}"}
    places |= {"NOWHERE": tmp_path / "nowhere", "TAKEN": tmp_path / "taken.png"}
    words = [places.get(word, word) for word in arguments.split()]
    out = [] if "--out" in words else ["--out", tmp_path / "figure.png"]
    assert sentence in refusal(*words, *out)
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_that_lacks_its_weights_is_refused(tmp_path, refusal):
    folder = write_run(tmp_path / "run", RunConfig(hidden=(12,)), (1, 8, 8))
    (folder / runs.WEIGHTS).unlink()
    said = refusal("generate", folder, "--out", tmp_path / "figure.png")
    assert "model.safetensors is missing" in said
