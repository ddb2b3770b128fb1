"""Glyphs: what is drawn, what is known of it, and true swaps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyro_mlvae import InputError
from pyro_mlvae.data import Glyphs, load_dataset, load_glyphs
from pyro_mlvae.data import glyphs as module
from pyro_mlvae.data.typefaces import (
    COMPUTER_MODERN,
    DEJAVU,
    MOST_EM,
    SCRIPTS,
    STIX,
    characters_of,
    draw_character,
)
from pyro_mlvae.evaluation import Renders


@pytest.fixture(scope="module")
def georgian():
    return load_glyphs(scripts=["Georgian"], per_character=4)


def drawn(character, typeface="DejaVuSans", image_size=56, *, size=0.6, turn=0.0, place=(0.0, 0.0)):
    return draw_character(
        character, typeface, image_size, size=size, turn=turn, place=place
    ).astype(float)


def middle(coverage):
    """Row and column of the middle of the ink."""
    weight = coverage / coverage.sum()
    places = np.arange(len(coverage)) + 0.5
    return np.array([weight.sum(1) @ places, weight.sum(0) @ places])


def box(coverage):
    """Height and width of the ink."""
    rows, columns = (np.flatnonzero(coverage.any(axis) > 0) for axis in (1, 0))
    return np.array([rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1])


def test_by_name_every_character_of_every_script_is_drawn_and_none_is_cut_off_or_blank():
    data = load_dataset("glyphs")
    assert data.parent_names == tuple(SCRIPTS)
    sizes = data.parent.bincount().tolist()
    assert dict(zip(data.parent_names, sizes, strict=True)) == {
        **{"Armenian": 76, "Cyrillic": 136, "Digits": 10, "Georgian": 43, "Greek": 69, "Latin": 160}
    }
    assert data.x.shape == (9880, 1, 28, 28)
    assert data.sizes.tolist() == [20] * 494
    inside = data.x[..., 1:-1, 1:-1]
    assert data.x.sum(dtype=torch.int64) == inside.sum(dtype=torch.int64)
    assert inside.flatten(1).amax(1).min() > 150
    # Antialiased: much of the ink is on edges, which cover their pixels in part.
    assert 0.3 < float(((data.x > 0) & (data.x < 255)).sum() / (data.x > 0).sum()) < 0.9


def test_ranges_leave_every_character_inside_the_picture():
    turn = math.radians(module.TURN)
    widest = MOST_EM * (math.cos(turn) + math.sin(turn))
    assert widest * module.SIZE[1] / 2 + module.PLACE < 0.5
    # The widest and the tallest are drawn as much smaller as makes them fit.
    for character, typeface in (("Җ", "DejaVuSerif-BoldItalic"), ("წ", "DejaVuSerif-Bold")):
        assert box(drawn(character, typeface, 100, size=1.0)).max() == pytest.approx(95, abs=3)
    assert box(drawn("H", "DejaVuSans", 100, size=1.0))[0] == pytest.approx(73, abs=2)


def test_size_turn_and_place_are_what_they_say():
    straight = drawn("H")
    assert np.allclose(middle(straight), 28.0, atol=0.2)
    assert box(drawn("H", size=0.9))[0] == pytest.approx(1.5 * box(straight)[0], abs=2)
    right_and_down = middle(drawn("H", place=(0.1, 0.2))) - middle(straight)
    assert right_and_down == pytest.approx([0.2 * 56, 0.1 * 56], abs=0.15)
    # Turned anticlockwise a stroke leans to the left: its upper half is left of its lower half.
    turned = drawn("l", turn=20.0, size=0.9)
    upper, lower = (middle(np.where(half, turned, 0.0))[1] for half in _halves(56))
    height = box(drawn("l", size=0.9))[0]
    assert lower - upper == pytest.approx(math.sin(math.radians(20.0)) * height / 2, rel=0.1)
    # In pictures of another size it is the same drawing.
    smaller = drawn("H", image_size=28)
    assert np.abs(straight.reshape(28, 2, 28, 2).mean((1, 3)) - smaller).mean() < 2.0


def _halves(side):
    row = np.arange(side)[:, None]
    return row < side // 2, row >= side // 2


def test_typefaces_hold_the_characters_that_they_hold_as_themselves():
    assert all(characters_of(script, DEJAVU) for script in SCRIPTS)
    assert "Ж" in characters_of("Cyrillic", STIX)
    assert characters_of("Georgian", STIX) == characters_of("Greek", COMPUTER_MODERN) == []
    assert len(characters_of("Latin", [*DEJAVU, *STIX, *COMPUTER_MODERN])) == 52
    # In cmr10 something else stands at the code point of the inverted exclamation mark.
    with pytest.raises(InputError, match=r"cmr10 has no '¡'"):
        drawn("¡", "cmr10")


def test_the_same_arguments_give_the_same_drawings_and_another_seed_others(georgian):
    again, other = (
        load_glyphs(scripts=["Georgian"], per_character=4, seed=seed) for seed in (0, 1)
    )
    assert torch.equal(again.x, georgian.x)
    assert not torch.equal(other.x, georgian.x)


def test_factors_are_known_in_their_ranges_and_reach_every_batch(georgian):
    known = georgian.of_observations
    assert (
        set(known) == set(georgian.style_factors) == {"typeface", "bold", "turn", "size", "place"}
    )
    assert known["typeface"].unique().tolist() == list(range(12))
    bold = torch.tensor(["Bold" in name for name in georgian.typefaces])
    assert torch.equal(known["bold"], bold[known["typeface"]].float())
    for name, low, high in (("turn", -20.0, 20.0), ("size", 0.48, 0.72), ("place", -0.06, 0.06)):
        assert low <= known[name].min() < low + 0.1 * (high - low)
        assert high >= known[name].max() > high - 0.1 * (high - low)
    assert georgian.batch(torch.tensor([3, 9])).of_observations["place"].shape == (2, 2)


def test_a_swap_is_the_character_of_one_in_the_style_of_the_other(georgian):
    assert isinstance(georgian, Renders)
    assert georgian.observations().dtype == torch.get_default_dtype()
    index = torch.arange(len(georgian))
    assert torch.equal(georgian.render(index, index), georgian.observations())
    content_of, style_of = torch.tensor([0, 100]), torch.tensor([50, 3])
    swapped = georgian.render(content_of, style_of)
    for i, (one, other) in enumerate(zip(content_of, style_of, strict=True)):
        known = {name: value[other] for name, value in georgian.of_observations.items()}
        expected = draw_character(
            georgian.group_names[georgian.group[one]][-1],
            DEJAVU[known["typeface"]],
            28,
            size=float(known["size"]),
            turn=float(known["turn"]),
            place=known["place"].tolist(),
        )
        assert torch.equal(
            (255.0 * swapped[i, 0]).round(), torch.from_numpy(expected.copy()).float()
        )


def test_a_part_of_the_data_renders_as_the_whole_does(georgian):
    train, test = georgian.split(0.25, seed=1)
    parts = [train, test, georgian.sample(30, seed=2), georgian.split_groups(0.2, seed=3)[1]]
    parts.append(parts[0].subset(torch.tensor([5, 2, 2])))
    for part in parts:
        assert isinstance(part, Glyphs)
        index = torch.arange(len(part))
        assert torch.equal(part.render(index, index), part.observations())


def test_coloured_drawings_know_their_ink_and_ground():
    data = load_glyphs(scripts=["Digits"], per_character=30, image_size=64, colour=True)
    assert data.event_shape == (3, 64, 64)
    ink, ground = data.style_factors["ink"], data.style_factors["ground"]
    corner = data.observations()[:, :, 0, 0]
    assert torch.allclose(corner, ground, atol=0.003)
    luminance = torch.tensor([0.299, 0.587, 0.114])
    assert ((ink - ground) @ luminance).abs().min() >= 0.35
    # A bold stroke is as wide as several pixels, so the middle of one is all ink.
    nearest = (data.observations() - ink[..., None, None]).abs().amax(1).flatten(1).amin(1)
    assert nearest[data.of_observations["bold"] == 1].max() < 0.003
    index = torch.arange(len(data))
    assert torch.equal(data.render(index, index), data.observations())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scripts": ["Hangul"]}, "unknown script 'Hangul': Known are Armenian, Cyrillic, Digits"),
        ({"scripts": ["georgian"]}, "did you mean 'Georgian'"),
        ({"typefaces": ["DejaVuSnas"]}, "did you mean 'DejaVuSans'"),
        ({"typefaces": []}, "typefaces must name at least one"),
        (
            {"scripts": ["Latin", "Georgian"], "typefaces": ["DejaVuSans", "STIXGeneral"]},
            "no character of Georgian is in all of the typefaces DejaVuSans, STIXGeneral: leave "
            "out",
        ),
        ({"image_size": 4}, "image_size must be from 8 to 256 pixels, got 4"),
        ({"image_size": 5000}, "image_size must be from 8 to 256 pixels, got 5000"),
        ({"image_size": 0}, "image_size must be a positive whole number, got 0"),
        ({"per_character": 0}, "per_character must be a positive whole number, got 0"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        load_glyphs(**options)


def test_a_typeface_that_lacks_a_character_is_named(georgian):
    with pytest.raises(InputError, match="STIXGeneral has no 'ა'"):
        replace(georgian, typefaces=("STIXGeneral",) * 12).render(
            torch.tensor([0]), torch.tensor([0])
        )


def test_by_default_scripts_are_those_that_the_typefaces_hold():
    data = load_glyphs(typefaces=["cmr10", "STIXGeneralItalic"], per_character=1)
    assert data.parent_names == ("Digits", "Latin")
    assert len(data) == 62
