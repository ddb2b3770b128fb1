"""Names of groups: what a file system can hold is held out, drawn and compared as plain text."""

import io
import unicodedata
import warnings

import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.identity import identify
from pyro_mlvae.evaluation.known import in_known_groups, labelled_like
from pyro_mlvae.plotting.maps import latent_map

NFC, NFD = (
    unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}") for form in ("NFC", "NFD")
)
# Bytes that are no UTF-8, spaces, a line end, a tab, right to left, emoji of several code points,
# markup.
ODD = [
    *("caf\udce9", " ", "   ", "two\nlines", "\t", "\u05e9\u05dc\u05d5\u05dd", "\u202egnp.exe"),
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "a" * 255),
    *("$x_1", "_b", "<b>&amp;</b>", "%s", "-", "--"),
]


def dataset(names, parent=None):
    groups = [name for name in names for _ in range(2)]
    x = torch.arange(2.0 * len(groups)).reshape(-1, 2)
    return GroupedDataset.from_arrays(x, groups, parent=parent)


def held_out(data, *names):
    test = data.split_groups(list(names))[1]
    return {data.group_names[i] for i in test.group.tolist()}


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_group_of_any_name_can_be_held_out(name):
    assert held_out(dataset([*ODD, "other"]), name) == {name}


@pytest.mark.parametrize("typed", [NFC, NFD], ids=ascii)
def test_both_normal_forms_of_a_name_are_that_name(typed):
    assert NFC != NFD
    for there in (NFC, NFD):
        assert held_out(dataset([there, "b"]), typed) == {there}
        assert held_out(dataset(["a", "b"], parent={"a": there, "b": "B"}), typed) == {"a"}
        assert in_known_groups(dataset([there, "b"]), [typed]).tolist() == [True] * 2 + [False] * 2
        known = labelled_like(dataset([there, "b"]), dataset([typed, "c"]))
        assert len(known) == 2
        assert identify(dataset([there])).digest == identify(dataset([typed])).digest
    # Nobody can tell them apart, so neither is trained on.
    assert held_out(dataset([NFC, NFD, "b"]), typed) == {NFC, NFD}


def test_names_that_are_alike_as_text_are_all_held_out():
    assert held_out(dataset([1, "1", "b"]), "1") == {1, "1"}


def test_a_name_that_is_not_there_is_refused_in_a_sentence_that_can_be_printed():
    with pytest.raises(InputError, match="no group or super-group is called 'cafe': near are"):
        dataset([NFC, "caf\udce9"]).split_groups(["cafe"])


@pytest.mark.parametrize("names", [ODD[:8], ODD[8:]], ids=["first", "second"])
def test_names_are_drawn_as_plain_text(names):
    data = dataset(names)
    with warnings.catch_warnings():
        # Of scripts that the typeface has not.
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing|Matplotlib currently does not support"
        )
        figure = latent_map(data.x, data.x, data.label, data.label_names)
        figure.savefig(io.BytesIO(), format="png", dpi=40)
    drawn = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(drawn) == len(names)
    for name, text in zip(sorted(names), drawn, strict=True):
        assert (
            text == (name if name.isprintable() else repr(name)[1:-1])
            or text == "a" * 39 + "\N{HORIZONTAL ELLIPSIS}"
        )
    assert all(axes.get_position().width > 0.2 for axes in figure.axes)
