"""Inference: one observation, many, or a stream of them say the same, in constant memory."""

import weakref

import numpy as np
import pytest
import torch
from fitting import make_pair
from normals import posterior_of
from pyro.distributions import Normal

from pyro_mlvae import GroupedDataset, InputError, ProductOfNormals
from pyro_mlvae.latents import embed, encode, gather_evidence, group_content
from pyro_mlvae.ops import Evidence
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide


@pytest.fixture(params=[False, True], ids=["paper", "prior expert"])
def guide(request):
    return ProductOfNormals(make_pair()[1].encoder, prior_expert=request.param)


def close(one, other, tolerance=1e-6):
    torch.testing.assert_close(one.mean.double(), other.mean.double(), atol=tolerance, rtol=0)
    torch.testing.assert_close(one.stddev.double(), other.stddev.double(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 7, 1000, 4096])
def test_a_large_group_in_chunks_of_any_size_is_the_group_in_one_pass(guide, batch_size):
    x = torch.randn(600 if batch_size == 1 else 6000, 5)
    once = guide.content_from(gather_evidence(guide, x, batch_size=6000))
    close(guide.content_from(gather_evidence(guide, x, batch_size=batch_size)), once)
    # And what the guide itself says of the group, in float32, is the same to its own accuracy.
    index, group = torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64)
    close(group_content(guide, encode(guide, x), index, group), once, 1e-4)


def test_evidence_adds_one_observation_a_batch_and_other_evidence(guide):
    x = torch.randn(30, 5)
    known = gather_evidence(guide, x[:1]) + gather_evidence(guide, x[1:20])
    elsewhere = gather_evidence(guide, x[20:])
    assert (known + elsewhere).count.tolist() == [30]
    close(
        guide.content_from(known + elsewhere), guide.content_from(gather_evidence(guide, x)), 1e-7
    )


def test_evidence_of_many_groups_is_each_groups_own(guide):
    x, group = torch.randn(30, 5), torch.arange(30) % 3
    together = guide.content_from(gather_evidence(guide, x, group))
    for number in range(3):
        alone = guide.content_from(gather_evidence(guide, x[group == number]))
        close(
            Normal(together.mean[number : number + 1], together.stddev[number : number + 1]),
            alone,
            1e-7,
        )


def test_streamed_evidence_gives_the_exact_posterior_of_the_solved_model():
    solved = LinearGaussian.correlated()
    batch = solved.sample(torch.tensor([50, 3]))
    guide = LinearGaussianGuide.exact(solved)
    streamed = gather_evidence(guide, batch.x, batch.group, batch_size=9)
    close(guide.content_from(streamed), posterior_of(guide, batch), 1e-12)


def test_memory_does_not_grow_with_the_number_of_chunks(guide):
    made, alive = [], []

    def remember(module, inputs, outputs):
        alive.append(sum(code() is not None for code in made))
        made.append(weakref.ref(outputs))

    with guide.encoder.register_forward_hook(remember):
        evidence = gather_evidence(guide, torch.zeros(1000, 5), batch_size=10)
    assert len(alive) == 100
    # The codes of the chunk before may still be there, those of all the others are gone.
    assert max(alive) <= 2
    assert evidence.precision.untyped_storage().nbytes() == 2 * 8


def test_groups_of_a_data_set_without_evidence_yet_may_come_later(guide):
    data = GroupedDataset.from_arrays(torch.randn(10, 5), [0] * 5 + [1] * 5)
    first = gather_evidence(guide, data.subset(torch.arange(5)))
    assert first.count.tolist() == [5, 0]
    close(
        guide.content_from(first + gather_evidence(guide, data.subset(torch.arange(5, 10)))),
        posterior_of(guide, data.batch()),
        1e-6,
    )


@pytest.mark.parametrize(
    ("group", "num_groups", "sentence"),
    [
        (torch.zeros(3, dtype=torch.int64), None, "for each of the 4 observations, got 3"),
        (torch.tensor([0, 1, 2, 3]), 3, r"0\.\.num_groups - 1 = 0\.\.2 .* from 0 to 3"),
        (torch.tensor([0, -1, 2, 3]), None, "from -1 to 3"),
    ],
)
def test_groups_that_do_not_fit_are_refused(guide, group, num_groups, sentence):
    with pytest.raises(InputError, match=sentence):
        gather_evidence(guide, torch.zeros(4, 5), group, num_groups)


def test_nothing_is_refused(guide):
    with pytest.raises(InputError, match="at least one observation"):
        gather_evidence(guide, torch.zeros(0, 5))
    with pytest.raises(InputError, match="at least one observation"):
        encode(guide, torch.zeros(0, 5))


def test_observations_in_another_dtype_are_taken_in_the_guides(guide):
    close(
        encode(guide, torch.ones(2, 5, dtype=torch.float64)).content,
        encode(guide, torch.ones(2, 5)).content,
    )


def test_embed_gives_every_array_of_the_contract_and_none_is_pickled(guide, tmp_path):
    data = GroupedDataset.from_arrays(torch.randn(9, 5), list("abcabcabc"), [0, 1, 0] * 3)
    arrays = embed(guide, data)
    np.savez(tmp_path / "codes.npz", **arrays)
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as file:
        read = dict(file)
    assert set(read) == {
        "content_loc", "content_scale", "style_loc", "style_scale", "group", "group_names",
        "group_content_loc", "group_content_scale", "label",
    }  # fmt: skip
    codes = encode(guide, data)
    np.testing.assert_array_equal(read["content_loc"], codes.content.mean)
    np.testing.assert_array_equal(read["style_scale"], codes.style.stddev)
    posterior = posterior_of(guide, data.batch())
    np.testing.assert_allclose(read["group_content_loc"], posterior.loc.detach(), atol=1e-6)
    np.testing.assert_allclose(read["group_content_scale"], posterior.scale.detach(), atol=1e-6)
    assert [str(read["group_names"][i]) for i in read["group"]] == list("abcabcabc")
    assert read["label"].tolist() == [0, 1, 0] * 3


def test_embed_numbers_the_groups_that_occur(guide):
    data = GroupedDataset.from_arrays(torch.randn(6, 5), list("aabbcc")).subset(
        torch.tensor([2, 3, 4])
    )
    arrays = embed(guide, data)
    assert arrays["group_names"].tolist() == ["b", "c"]
    assert arrays["group"].tolist() == [0, 0, 1]
    assert len(arrays["group_content_loc"]) == 2


def test_none_plus_evidence_is_evidence(guide):
    found = gather_evidence(guide, torch.randn(4, 5))
    close(guide.content_from(Evidence.none(1, 2) + found), guide.content_from(found), 0.0)
