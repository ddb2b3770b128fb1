"""Maps of codes: labels told apart however many, and named where they gather."""

import pytest
import torch

from pyro_mlvae.plotting import latent_map, maps


def clusters(groups, each=20, spread=0.02):
    """Groups on a ring, and as many points that mix all of them."""
    label = torch.arange(groups).repeat_interleave(each)
    angle = 2 * torch.pi * label / groups
    ring = torch.stack([angle.cos(), angle.sin()], 1) + spread * torch.randn(len(label), 2)
    return ring, torch.randn(len(label), 2), label


def named(axes):
    return [text.get_text() for text in axes.texts]


def looks(axes):
    """Colour and marker of each label."""
    drawn = axes.collections
    return [
        (tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in drawn
    ]


@pytest.mark.parametrize("groups", [13, 60, 80])
def test_many_labels_are_told_apart_and_some_are_named_where_they_gather(groups):
    ring, mixed, label = clusters(groups)
    names = [f"person {number}" for number in range(groups)]
    figure = latent_map(ring, mixed, label, names)
    content, style = figure.axes
    assert len(set(looks(content))) == groups
    assert looks(style) == looks(content)
    assert figure.legends == []
    assert set(named(content)) <= set(names)
    assert 8 <= len(named(content)) <= min(groups, 45)
    assert named(style) == []
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in content.texts]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_a_name_on_a_map_is_short_and_no_formula():
    ring, mixed, label = clusters(13)
    content = latent_map(ring, mixed, label, ["$x_1$" * 9] * 13).axes[0]
    assert named(content)[0] == "\N{HORIZONTAL ELLIPSIS}" + ("$x_1$" * 9)[-15:]
    assert not content.texts[0].get_parse_math()


def test_few_labels_have_a_legend_and_letters_are_their_own_markers():
    ring, mixed, label = clusters(12)
    (legend,) = latent_map(ring, mixed, label, [f"n{i}" for i in range(12)]).legends
    assert len(legend.get_texts()) == 12
    assert latent_map(ring, mixed, label, "abcdefghijkl").legends == []


def test_the_untrained_encoder_has_the_same_maps_below():
    ring, mixed, label = clusters(4)
    figure = latent_map(ring, mixed, label, "abcd", untrained=(mixed, ring))
    assert [axes.get_title() for axes in figure.axes] == [
        "Content",
        "Style",
        "Content, untrained encoder",
        "Style, untrained encoder",
    ]
    first, last = (torch.as_tensor(axes.collections[0].get_offsets()) for axes in figure.axes[::3])
    assert torch.equal(first, last)


def test_codes_of_many_dimensions_keep_their_neighbours_on_a_map():
    label = torch.arange(60) % 3
    codes = 9.0 * torch.eye(3)[label].repeat(1, 2) + torch.randn(60, 6)
    content = latent_map(codes, codes, label, "abc").axes[0]
    places = torch.cat([torch.as_tensor(dots.get_offsets()) for dots in content.collections])
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(1)
    assert (nearest // 20 == torch.arange(60) // 20).all()


def test_of_many_observations_the_same_are_chosen_for_every_map(monkeypatch):
    seen = []
    monkeypatch.setattr(
        maps, "_two_dimensions", lambda codes: seen.append(codes) or codes[:, :2].numpy()
    )
    _, _, label = clusters(4, each=100)
    number = torch.arange(400.0).unsqueeze(1).expand(400, 2)
    latent_map(number, number, label, "abcd", untrained=(number, number), most=50)
    assert [len(codes) for codes in seen] == [50] * 4
    assert all(torch.equal(codes, seen[0]) for codes in seen)
