"""How observations look: pictures, lines or maps, all on the scale of their data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedDataset, load_dataset
from pyro_mlvae.data.catalogue import EMBEDDED, is_ink
from pyro_mlvae.data.named import NAMED
from pyro_mlvae.plotting import look_of, reconstructions, run_figures, save_figure, swap_grid
from pyro_mlvae.plotting.cells import BESIDE, LINE, WIDEST
from pyro_mlvae.plotting.looks import MOST_IN_LINE, look_of_shown, look_of_values


def grid(x, **options):
    return swap_grid(x, x, x.unsqueeze(0).expand(len(x), *x.shape), title="swaps", **options)


def maps_of(figure):
    return {image.get_cmap().name for image in figure.axes[0].images}


def data_of(x):
    return GroupedDataset.from_arrays(x, torch.arange(len(x)) % 3)


def test_only_what_is_named_as_ink_is_drawn_dark_on_light():
    digits = load_dataset("digits")
    train, test = digits.split(0.2)
    for part in (digits, train, test.sample(9)):
        assert part.ink
        assert look_of(part).colours == "gray_r"
    assert not replace(test, ink=False).ink
    photographs = data_of(digits.x)
    assert not photographs.ink
    assert look_of(photographs).colours == "gray"
    named = [name for name in (*EMBEDDED, *NAMED) if is_ink(name)]
    assert named == ["digits", "glyphs", "mnist"]


def test_every_figure_of_a_run_has_the_polarity_of_its_data(monkeypatch):
    from fitting import make_pair

    from pyro_mlvae.latents import encode

    data = load_dataset("digits").sample(40)
    for ink, colours in ((True, "gray_r"), (False, "gray")):
        data = replace(data, ink=ink)
        pair = make_pair((1, 8, 8))
        walks = run_figures._walks(pair[0], encode(pair[1], data), data, look_of(data))
        figures = [draw() for draw in walks.values()]
        figures += [
            run_figures.swap_figure(*pair, data),
            run_figures.reconstruction_figure(*pair, data),
        ]
        assert [maps_of(figure) for figure in figures] == [{colours}] * 5


def test_nothing_is_known_of_pictures_that_come_without_their_data():
    x = torch.rand(2, 1, 4, 4)
    assert maps_of(grid(x)) == {"gray"}
    assert maps_of(grid(x, look=look_of_values(x, ink=True))) == {"gray_r"}


@pytest.mark.parametrize(
    ("shape", "kind", "array"),
    [
        ((7,), "profile", (7,)),
        ((1, 7), "profile", (7,)),
        ((1, 1, MOST_IN_LINE), "profile", (MOST_IN_LINE,)),
        ((1,), "profile", (1,)),
        ((2000,), "heat map", (45, 45)),
        ((4, 6), "picture", (4, 6)),
        ((1, 4, 6), "picture", (4, 6)),
        ((3, 4, 6), "picture", (4, 6, 3)),
        ((2, 4, 6), "picture", (4, 13)),
        ((4, 4, 6), "picture", (9, 13)),
        ((5, 4, 6), "picture", (9, 20)),
        ((3, 2, 4, 6), "picture", (9, 20)),
    ],
)
@pytest.mark.parametrize("low", [0.0, -3.0])
def test_every_shape_has_a_look_and_is_drawn(shape, kind, array, low, tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_mlvae.plotting.style.DOTS", 20)
    x = torch.rand(6, *shape) + low
    look = look_of(data_of(x))
    assert look.kind == kind
    assert look.array(x[0]).shape == array
    figure = grid(x[:2], look=look)
    save_figure(figure, tmp_path / "figure.png")
    assert len(figure.axes[0].get_lines()) == (8 if kind == "profile" else 0)
    assert len(figure.axes[0].images) == (0 if kind == "profile" else 8)
    assert maps_of(figure) == {"picture": {"gray"}, "profile": set(), "heat map": {"viridis"}}[kind]
    assert bool(look.note) == (kind != "picture")


def test_channels_stand_side_by_side_and_features_row_by_row():
    x = torch.arange(8.0).reshape(2, 2, 2)
    shown = look_of_values(x.unsqueeze(0)).array(x)
    nan = float("nan")
    np.testing.assert_allclose(shown * 7.0, [[0, 1, nan, 4, 5], [2, 3, nan, 6, 7]], rtol=1e-5)
    x = torch.arange(900.0)
    shown = look_of_values(x.unsqueeze(0)).array(x)
    np.testing.assert_allclose(shown[1] * 899.0, np.arange(30, 60), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[[0.2, 0.4], [0.0, 0.9]]], (0.0, 1.0)),
        ([[[-1.0, 1.0], [0.0, 0.5]]], (-1.0, 1.0)),
        ([[[0.0, 16.0], [3.0, 5.0]]], (0.0, 16.0)),
        ([[[5.0, 5.0], [5.0, 5.0]]], (5.0, 6.0)),
        ([[[float("nan"), 2.0], [4.0, 3.0]]], (2.0, 4.0)),
        ([[[float("nan")] * 2] * 2], (0.0, 1.0)),
        ([[0.2, 0.4]], (0.0, 1.0)),
        ([[-1.0, 0.5]], (-1.0, 0.5)),
    ],
)
def test_pixels_keep_their_scale_and_other_data_has_its_own(values, expected):
    look = look_of_values(torch.tensor(values))
    assert (float(look.low), float(look.high)) == expected


def test_one_value_far_out_of_many_is_not_what_the_others_are_drawn_by():
    x = torch.rand(1000, 3) + 1.0
    x[7] = 1000.0
    assert float(look_of_values(x).high) < 3.0
    assert float(look_of_values(x[:50]).high) == 1000.0


def test_features_in_other_units_have_their_own_scale_and_the_note_says_so():
    x = torch.randn(200, 6)
    assert "from -" in look_of_values(x).note
    look = look_of_values(x * torch.tensor([1e-3, 0.1, 0.1, 1.0, 1.0, 1e4]))
    assert look.note == "6 features, each on its own scale"
    assert look.low.shape == (6,)


@pytest.mark.parametrize(
    ("originals", "decoded", "expected"),
    [
        ([torch.tensor([[[-1.0, 1.0], [0.0, 0.0]]])], [[[[-9.0, 9.0], [0.0, 0.0]]]], (-1.0, 1.0)),
        ([torch.tensor([[-1.0, 0.0]])], [[[3.0, -2.0]]], (-2.0, 3.0)),
        ([torch.tensor([[0.2, 0.4]])], [[[-0.5, 1.5]]], (0.0, 1.0)),
        ([], [[[-0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 9.0]]], (0.0, 1.0)),
        ([], [[[-2.0, 0.0, 2.0]]], (-2.0, 2.0)),
    ],
)
def test_without_the_data_what_is_shown_says_the_scale(originals, decoded, expected):
    look = look_of_shown(originals, torch.tensor(decoded))
    assert (float(look.low), float(look.high)) == expected


def sizes(shape):
    width, height = look_of_values(torch.rand(1, *shape)).size
    return width, height


def test_cells_are_as_large_and_as_wide_as_their_pictures_ask():
    assert sizes((1, 8, 8)) == sizes((1, 28, 28)) == (0.62, 0.62)
    assert sizes((3, 64, 64))[0] > 1.0
    assert sizes((1, 500, 500)) == (1.3, 1.3)
    width, height = sizes((3, 32, 96))
    assert width / height == pytest.approx(3.0)
    width, height = sizes((2, 500))
    assert width / height == pytest.approx(4.0)
    x = torch.rand(10, 3, 32, 128)
    figure = grid(x, look=look_of_values(x))
    assert figure.get_figwidth() < WIDEST + 1.0


def test_names_stay_on_the_figures_of_large_small_and_wide_pictures():
    few = (6, 1, 8, 8), (3, 1, 8, 16)
    for shape in ((10, 3, 64, 64), (10, 1, 16, 160), (10, 300), (10, 900), *few):
        x = torch.rand(shape)
        for figure in (grid(x), reconstructions(x, x, x, vae=x)):
            figure.draw_without_rendering()
            for text in figure.axes[0].texts:
                box = text.get_window_extent()
                assert box.x0 >= 0
                assert box.y0 >= 0
                assert box.x1 <= figure.bbox.width
                assert box.y1 <= figure.bbox.height


def test_what_is_decoded_is_drawn_over_the_original_in_profiles_alone():
    x = torch.rand(3, 5)
    lines = reconstructions(x, x / 2, x / 3, vae=x / 4).axes[0].get_lines()
    assert [line.get_color() for line in lines] == [LINE, *[BESIDE, LINE] * 3] * 3
    original, behind, over = (line.get_ydata() for line in lines[:3])
    np.testing.assert_allclose(behind - 1.0, original, rtol=1e-5)
    assert (over > behind).all()  # half of it is nearer to the bottom
    pictures = torch.rand(3, 1, 4, 4)
    figure = reconstructions(pictures, pictures, pictures)
    assert len(figure.axes[0].images) == 9
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["original", "content from itself", "content from its group"]
    with_vae = reconstructions(pictures, pictures, pictures, vae=pictures / 2)
    assert [text.get_text() for text in with_vae.axes[0].texts][-1] == "a plain VAE"
    np.testing.assert_allclose(with_vae.axes[0].images[3].get_array(), pictures[0, 0] / 2)


def test_a_missing_value_is_a_gap():
    x = torch.tensor([[0.1, float("nan"), 0.3]])
    assert np.isnan(look_of_values(x).array(x[0])).tolist() == [False, True, False]
    picture = torch.rand(1, 1, 4, 4)
    picture[0, 0, 1, 2] = float("nan")
    shown = grid(picture, look=look_of_values(picture)).axes[0].images[0].get_array()
    assert shown.mask.sum() == 1
    assert shown.mask[1, 2]
