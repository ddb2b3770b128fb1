"""Operations on the latent space: what is decoded, cell by cell, and how it is drawn."""

import pytest
import torch

from pyro_mlvae import MLVAE, ConvDecoder, InputError, MLPDecoder, NormalLikelihood, make_likelihood
from pyro_mlvae.latents import decode, generate, interpolate, swap, traverse
from pyro_mlvae.plotting import (
    generation_figure,
    interpolation_figure,
    save_figure,
    traversal_figure,
)
from pyro_mlvae.plotting.looks import SMALLEST
from pyro_mlvae.plotting.style import CONTENT, STYLE
from pyro_mlvae.solved import LinearGaussian, LinearGaussianModel

EVENT, CONTENT_DIM, STYLE_DIM = (1, 4, 4), 3, 2


def make_model(event_shape=EVENT, likelihood="normal"):
    torch.manual_seed(2)
    likelihood = make_likelihood(likelihood)
    decoder = MLPDecoder(event_shape, CONTENT_DIM, STYLE_DIM, likelihood.outputs, hidden=(8,))
    return MLVAE(decoder, likelihood, CONTENT_DIM, STYLE_DIM)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def solved():
    """A model whose decoder is known: x is linear in content and in style, in float64."""
    return LinearGaussian.orthogonal(dim=6, content_dim=CONTENT_DIM, style_dim=STYLE_DIM)


@pytest.fixture
def ends():
    return torch.randn(2, CONTENT_DIM), torch.randn(2, STYLE_DIM)


def linear(solved, content, style):
    return solved.offset + content @ solved.content_loading.mT + style @ solved.style_loading.mT


def test_the_ends_of_the_grid_are_what_the_ends_decode_to(model, ends):
    grid = interpolate(model, *ends, steps=5)
    assert grid.shape == (5, 5, *EVENT)
    torch.testing.assert_close(grid[:: 5 - 1, :: 5 - 1], swap(model, *ends))
    assert torch.equal(interpolate(model, *ends, steps=2), swap(model, *ends))


def test_lines_are_straight(solved):
    content, style = torch.randn(2, CONTENT_DIM).double(), torch.randn(2, STYLE_DIM).double()
    grid = interpolate(LinearGaussianModel(solved), content, style, steps=5)
    for row in range(5):
        for column in range(5):
            c = content[0] + row / 4 * (content[1] - content[0])
            s = style[0] + column / 4 * (style[1] - style[0])
            torch.testing.assert_close(grid[row, column], linear(solved, c, s))


def test_the_other_ways_to_vary_are_lines_of_the_grid(model, ends):
    grid = interpolate(model, *ends, steps=4)
    both = interpolate(model, *ends, steps=4, vary="both")
    torch.testing.assert_close(both, torch.stack([grid[i, i] for i in range(4)]))
    torch.testing.assert_close(interpolate(model, *ends, steps=4, vary="content"), grid[:, 0])
    torch.testing.assert_close(interpolate(model, *ends, steps=4, vary="style"), grid[0])


def test_generate_with_what_is_given_is_a_swap(model, ends):
    assert torch.equal(generate(model, content=ends[0], style=ends[1]), swap(model, *ends))


def test_draws_are_seeded_and_those_of_content_and_style_are_apart(model, ends):
    grid = generate(model, contents=3, styles=4, seed=1)
    assert grid.shape == (3, 4, *EVENT)
    assert torch.equal(grid, generate(model, contents=3, styles=4, seed=1))
    assert not torch.allclose(grid, generate(model, contents=3, styles=4, seed=2))
    assert not torch.allclose(grid[0], grid[1])
    assert not torch.allclose(grid[:, 0], grid[:, 1])
    # The styles drawn are the same, whether contents are given, and however many are drawn.
    content = torch.zeros(2, CONTENT_DIM)
    drawn = generate(model, content=content, styles=4, seed=1)
    assert torch.equal(drawn, generate(model, content=content, contents=5, styles=4, seed=1))


def test_draws_come_from_the_priors(solved):
    model = LinearGaussianModel(solved)
    nothing = torch.zeros(1, STYLE_DIM).double()
    x = generate(model, style=nothing, contents=4000, seed=3)[:, 0]
    # Loadings are orthogonal, so each of them picks out its own dimension of content.
    loading = solved.content_loading
    content = (x - solved.offset) @ loading / loading.square().sum(0)
    torch.testing.assert_close(
        content.mean(0), torch.zeros(CONTENT_DIM).double(), atol=0.06, rtol=0.0
    )
    torch.testing.assert_close(
        content.std(0), torch.ones(CONTENT_DIM).double(), atol=0.05, rtol=0.0
    )


def test_contents_and_styles_are_not_the_same_draws(solved):
    x = generate(LinearGaussianModel(solved), contents=1, styles=1, seed=3)[0, 0] - solved.offset
    content = x @ solved.content_loading / solved.content_loading.square().sum(0)
    style = x @ solved.style_loading / solved.style_loading.square().sum(0)
    assert not torch.allclose(content[:STYLE_DIM], style, atol=1e-3)


def test_generate_leaves_the_random_state_of_the_caller(model):
    before = torch.get_rng_state()
    generate(model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("which", ["content", "style"])
def test_a_traversal_changes_one_dimension_and_leaves_the_others(which, solved):
    own = {"content": torch.randn(CONTENT_DIM).double(), "style": torch.randn(STYLE_DIM).double()}
    values = [-2.0, 0.5, 1.0, 7.0]
    rows = traverse(LinearGaussianModel(solved), own["content"], own["style"], which, values)
    assert rows.shape == (len(own[which]), 4, 6)
    for dimension in range(len(own[which])):
        for column, value in enumerate(values):
            moved = own[which].clone()
            moved[dimension] = value
            torch.testing.assert_close(
                rows[dimension, column], linear(solved, **own | {which: moved})
            )


def test_a_traversal_reaches_three_scales_of_the_prior_by_default(model):
    content, style = torch.zeros(CONTENT_DIM), torch.zeros(STYLE_DIM)
    rows = traverse(model, content, style)
    assert rows.shape == (CONTENT_DIM, 9, *EVENT)
    torch.testing.assert_close(rows[1, 0], decode(model, torch.tensor([0.0, -3.0, 0.0]), style))
    torch.testing.assert_close(rows[1, -1], decode(model, torch.tensor([0.0, 3.0, 0.0]), style))


@pytest.mark.parametrize("likelihood", ["normal-learned", "bernoulli", "continuous-bernoulli"])
def test_what_is_decoded_is_a_mean(likelihood):
    model = make_model((3, 4, 4), likelihood)
    grid = generate(model, contents=2, styles=3)
    assert grid.shape == (2, 3, 3, 4, 4)
    assert not grid.requires_grad
    if likelihood != "normal-learned":
        assert grid.min() > 0.0
        assert grid.max() < 1.0


def test_convolutional_decoders_take_every_shape_of_latents(ends):
    model = MLVAE(
        ConvDecoder((3, 16, 16), CONTENT_DIM, STYLE_DIM, 1, hidden=(8,)),
        NormalLikelihood(),
        CONTENT_DIM,
        STYLE_DIM,
    )
    grid = interpolate(model, *ends, steps=3)
    torch.testing.assert_close(interpolate(model, *ends, steps=3, vary="style"), grid[0])
    assert traverse(model, ends[0][0], ends[1][0], "style").shape == (STYLE_DIM, 9, 3, 16, 16)


C, S = torch.zeros(2, CONTENT_DIM), torch.zeros(2, STYLE_DIM)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda m: decode(m, S, S),
            r"content must have a last dimension of 3.* content_dim, got .*\[2, 2\]",
        ),
        (
            lambda m: decode(m, C, C),
            r"style must have a last dimension of 2.* style_dim, got shape \[2, 3\]",
        ),
        (lambda m: swap(m, C, C), r"style must have a last dimension of 2"),
        (
            lambda m: interpolate(m, C, S, vary="grids"),
            "unknown way to vary 'grids': did you mean 'grid'",
        ),
        (lambda m: interpolate(m, C, S, 1), "steps must be a whole number of at least 2.* got 1"),
        (
            lambda m: interpolate(m, C[:1], S),
            r"content must be of shape \[2, 3\], its two ends, got \[1, 3\]",
        ),
        (
            lambda m: interpolate(m, C, S[0]),
            r"style must be of shape \[2, 2\], its two ends, got \[2\]",
        ),
        (lambda m: generate(m, contents=0), "contents must be a positive whole number, got 0"),
        (lambda m: generate(m, styles=-1), "styles must be a positive whole number, got -1"),
        (lambda m: generate(m, seed=-1), "seed must be"),
        (lambda m: generate(m, content=C[0]), r"content must be of shape \[n, 3\].* got \[3\]"),
        (lambda m: generate(m, style=S[:0]), r"style must be of shape \[n, 2\].* got \[0, 2\]"),
        (lambda m: generate(m, style=C), "style must have a last dimension of 2"),
        (
            lambda m: traverse(m, C[0], S[0], "styles"),
            "unknown latent to traverse 'styles': did you mean",
        ),
        (
            lambda m: traverse(m, C, S[0]),
            r"content must be of shape \[3\], a single one, got \[2, 3\]",
        ),
        (
            lambda m: traverse(m, C[0], C[0]),
            r"style must be of shape \[2\], a single one, got \[3\]",
        ),
        (
            lambda m: traverse(m, C[0], S[0], "style", []),
            r"values must be .* at least one number, got .*\[0\]",
        ),
        (lambda m: interpolation_figure(C, C, C, vary="all"), "unknown way to vary 'all'"),
        (
            lambda m: traversal_figure(C[0], C[0], C.expand(4, 2, 3), [1.0]),
            "values must be the 2 numbers",
        ),
        (
            lambda m: traversal_figure(C[0], C[0], C.expand(4, 2, 3), [1, 2], which="x"),
            "unknown latent",
        ),
    ],
)
def test_what_the_caller_can_correct_is_said_in_a_sentence(call, sentence, model):
    with pytest.raises(InputError, match=sentence):
        call(model)


def pictures(figure):
    """Every picture of a figure by its cell, (row, column)."""
    found = {}
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        found[round((top + bottom) / 2 - 0.5, 2), round((left + right) / 2 - 0.5, 2)] = (
            image.get_array()
        )
    return found


def frames(figure):
    """The colour of every framed cell, (row, column)."""
    return {
        (round(p.get_center()[1] - 0.5, 2), round(p.get_center()[0] - 0.5, 2)): tuple(
            p.get_edgecolor()[:3]
        )
        for p in figure.axes[0].patches
    }


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def texts(figure):
    """What is written on a figure but for its title; an arrow is a text that says nothing."""
    return [text.get_text().replace("\n", " ") for text in figure.axes[0].texts if text.get_text()]


def same(picture, x):
    """Whether a picture shows ``x``, ``[1, H, W]`` or ``[3, H, W]`` in [0, 1]."""
    expected = x[0] if len(x) == 1 else x.permute(1, 2, 0)
    return torch.equal(torch.as_tensor(picture.filled()), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_of_an_interpolation_has_its_ends_at_the_margins(channels):
    content_x, style_x = torch.rand(2, channels, 4, 4), torch.rand(2, channels, 4, 4)
    decoded = torch.rand(5, 5, channels, 4, 4)
    figure = interpolation_figure(content_x, style_x, decoded)
    shown = pictures(figure)
    assert len(shown) == 25 + 4
    for end, at in ((0, 1), (1, 5)):
        assert same(shown[at, 0], content_x[end])
        assert same(shown[0, at], style_x[end])
    assert all(same(shown[i + 1, j + 1], decoded[i, j]) for i in range(5) for j in range(5))
    blue, orange = rgb(CONTENT), rgb(STYLE)
    margins = {cell: colour for cell, colour in frames(figure).items() if cell in shown}
    assert margins == {(1, 0): blue, (5, 0): blue, (0, 1): orange, (0, 5): orange}
    assert {"content from", "style from"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("vary", "originals"),
    [
        ("content", {(0, 0): "c0", (0, 3): "c1", (1, 0): "s0"}),
        ("style", {(0, 0): "c0", (1, 0): "s0", (1, 3): "s1"}),
        ("both", {(0, 0): "c0", (0, 3): "c1", (1, 0): "s0", (1, 3): "s1"}),
    ],
)
def test_a_line_stands_under_the_ends_that_it_joins(vary, originals):
    content_x, style_x, decoded = (
        torch.rand(2, 1, 4, 4),
        torch.rand(2, 1, 4, 4),
        torch.rand(4, 1, 4, 4),
    )
    figure = interpolation_figure(content_x, style_x, decoded, vary=vary)
    shown = pictures(figure)
    assert set(shown) == {*originals, *((2, column) for column in range(4))}
    for cell, name in originals.items():
        assert same(shown[cell], (content_x if name[0] == "c" else style_x)[int(name[1])])
    assert all(same(shown[2, column], decoded[column]) for column in range(4))
    assert len(figure.axes[0].texts) - len(texts(figure)) == (2 if vary == "both" else 1)  # arrows


@pytest.mark.parametrize("given", [(), ("content_x",), ("style_x",), ("content_x", "style_x")])
def test_generated_grids_have_a_margin_for_what_was_given(given):
    originals = {"content_x": torch.rand(3, 3, 4, 4), "style_x": torch.rand(2, 3, 4, 4)}
    grid = torch.rand(3, 2, 3, 4, 4)
    figure = generation_figure(grid, **{name: originals[name] for name in given})
    top, left = int("style_x" in given), int("content_x" in given)
    shown = pictures(figure)
    assert len(shown) == 6 + 3 * left + 2 * top
    assert same(shown[top + 2, left + 1], grid[2, 1])
    if left:
        assert same(shown[top + 2, 0], originals["content_x"][2])
    if top:
        assert same(shown[0, left + 1], originals["style_x"][1])
    assert ("content from the prior" in texts(figure)) == ("content_x" not in given)
    assert ("style from the prior" in texts(figure)) == ("style_x" not in given)
    assert ("prior" in figure.get_suptitle()) == (len(given) < 2)


def test_a_traversal_draws_the_dimensions_that_change_most_under_their_own_numbers():
    x = torch.rand(2, 1, 4, 4)
    strength = torch.tensor([0.1, 0.5, 0.0, 0.3]).reshape(4, 1, 1, 1, 1)
    rows = 0.5 + strength * torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1, 1).expand(
        4, 3, 1, 4, 4
    )
    figure = traversal_figure(*x, rows, torch.tensor([-2.5, 0.0, 2.5]), which="style", most=3)
    labels = texts(figure)
    assert [label for label in labels if label[-1].isdigit()] == [
        *("-2.5", "0", "2.5"),
        *("style 1", "style 3", "style 0"),
    ]
    assert "the 3 of 4 that change x most" in figure.get_suptitle()
    shown = pictures(figure)
    places = sorted({row for row, _ in shown if row > 0})
    for row, dimension in zip(places, (1, 3, 0), strict=True):
        assert all(same(shown[row, column], rows[dimension, column]) for column in range(3))
    originals = sorted((column, cell) for (row, column), cell in shown.items() if row == 0)
    assert same(originals[0][1], x[0])
    assert same(originals[1][1], x[1])


def marks(figure):
    """Where the triangles of the donor's own values are, and which way they point."""
    found = [(line.get_marker(), *line.get_xydata()[0]) for line in figure.axes[0].get_lines()]
    return [(marker, round(float(x), 3), float(y)) for marker, x, y in found]


def test_a_traversal_marks_the_value_that_it_started_from():
    x = torch.rand(2, 1, 4, 4)
    strength = torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(4, 1, 1, 1, 1) / 8
    rows = 0.5 + strength * torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1, 1).expand(
        4, 3, 1, 4, 4
    )
    figure = traversal_figure(*x, rows, [-2.0, 0.0, 2.0], own=[0.0, 1.0, -2.5, 7.0])
    legend, *drawn = marks(figure)
    assert legend[0] == "^"
    # In cells from the left: in the middle of the second, between it and the third, and beyond the
    # ends.
    assert [mark[:2] for mark in drawn] == [("^", 1.5), ("^", 2.0), ("<", 0.0), (">", 3.0)]
    assert [mark[2] for mark in drawn] == sorted(mark[2] for mark in drawn)
    assert marks(traversal_figure(*x, rows, [-2.0, 0.0, 2.0])) == []
    with pytest.raises(InputError, match="own must be the 4 numbers that were decoded, got 2"):
        traversal_figure(*x, rows, [-2.0, 0.0, 2.0], own=[0.0, 1.0])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1)])
def test_small_grids_and_their_names_fit_on_their_figures(rows, columns):
    figure = generation_figure(torch.rand(rows, columns, 1, 4, 4))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    # Names leave the pictures most of their size, and stand along the side where it is long enough.
    assert axes.bbox.width / columns > 0.8 * SMALLEST * figure.dpi
    assert axes.texts[-1].get_rotation() == (90 if rows == 9 else 0)
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize("vary", ["grid", "content"])
def test_titles_stay_inside_narrow_figures(vary):
    x = torch.rand(2, 1, 4, 4)
    figure = interpolation_figure(
        x, x, interpolate(make_model(), C, S, steps=2, vary=vary), vary=vary
    )
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")],
)
def test_the_suffix_is_the_format_and_the_same_figure_the_same_file(suffix, start, tmp_path):
    written = []
    for folder in ("a", "b"):
        path = tmp_path / folder / f"figure{suffix}"
        save_figure(generation_figure(torch.ones(1, 2, 1, 4, 4)), path)
        written.append(path.read_bytes())
    assert written[0].startswith(start)
    assert written[0] == written[1]


def test_a_suffix_of_no_such_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png, \.pdf or \.svg, got .*figure\.gif"):
        save_figure(generation_figure(torch.rand(1, 1, 1, 4, 4)), tmp_path / "figure.gif")
    assert list(tmp_path.iterdir()) == []
