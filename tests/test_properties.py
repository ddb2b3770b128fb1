"""What holds whatever the numbers: products, evidence, batches, samplers, splits, loaders."""

import gzip
import tempfile
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import jaxtyping
import numpy as np
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.distributions import Normal

from pyro_mlvae import GroupedBatch, GroupedDataset, GroupSampler, InputError, ObservationSampler
from pyro_mlvae.data import load_dataset, regroup
from pyro_mlvae.data.grouping import random_rank, subsample_groups
from pyro_mlvae.data.idx import IDX_FILES
from pyro_mlvae.data.labels import factorise
from pyro_mlvae.ops import Evidence
from pyro_mlvae.ops.normals import product_of_normals, sum_by_group

# The same examples everywhere, however busy the machine.
property_ = settings(
    derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
seeds = st.integers(0, 2**31)
sizes = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def shuffled_groups(sizes, seed):
    """The group of each observation, of groups of those sizes, in no order."""
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return group[torch.randperm(len(group), generator=generator(seed))]


@st.composite
def experts(draw, dtype=torch.float64, exponent=3.0):
    """``(loc, scale, group, num_groups)`` of ragged groups, scales 10^-exponent to 10^exponent."""
    of, seed, dim = draw(sizes), draw(seeds), draw(st.integers(1, 3))
    group, source = shuffled_groups(of, seed), generator(seed + 1)
    loc = 10.0 * torch.randn(len(group), dim, generator=source, dtype=torch.float64)
    scale = 10.0 ** (
        exponent * (2.0 * torch.rand(loc.shape, generator=source, dtype=torch.float64) - 1.0)
    )
    return loc.to(dtype), scale.to(dtype), group, len(of)


def assert_close(got, expected, tolerance=1e-9):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@property_
@given(experts(), seeds)
def test_the_order_of_members_is_of_no_account(drawn, seed):
    loc, scale, group, count = drawn
    order = torch.randperm(len(group), generator=generator(seed))
    again = product_of_normals(loc[order], scale[order], group[order], count)
    assert_close(product_of_normals(loc, scale, group, count), again)


@property_
@given(experts(), seeds)
def test_a_product_of_products_is_the_product(drawn, seed):
    loc, scale, group, count = drawn
    half = torch.randint(2, group.shape, generator=generator(seed))
    _, part = torch.unique(2 * group + half, return_inverse=True)
    parts = int(part.max()) + 1
    whole_of_part = torch.empty(parts, dtype=torch.int64).index_put((part,), group)
    products = product_of_normals(loc, scale, part, parts)
    assert_close(
        product_of_normals(*products, whole_of_part, count),
        product_of_normals(loc, scale, group, count),
    )


@property_
@given(experts(), st.booleans())
def test_the_product_is_the_sum_of_natural_parameters(drawn, with_prior):
    loc, scale, group, count = drawn
    prior = (
        (torch.zeros(loc.shape[1]).double(), torch.ones(loc.shape[1]).double())
        if with_prior
        else None
    )
    precision = sum_by_group(scale**-2, group, count) + float(with_prior)
    expected = sum_by_group(scale**-2 * loc, group, count) / precision, precision**-0.5
    assert_close(product_of_normals(loc, scale, group, count, prior=prior), expected)


@property_
@given(experts(dtype=torch.float32, exponent=18.0))
def test_extreme_scales_give_finite_products_and_gradients(drawn):
    loc, scale, group, count = drawn
    loc, scale = loc.requires_grad_(), scale.requires_grad_()
    product = product_of_normals(loc, scale, group, count)
    assert all(part.isfinite().all() for part in product)
    assert (product[1] > 0).all()
    (product[0].sum() + product[1].log().sum()).backward()
    assert loc.grad.isfinite().all()
    # d log(scale) / d scale is at most 1 / scale, which is a float.
    assert scale.grad.isfinite().all()


@property_
@given(experts())
def test_sums_by_group_are_those_of_a_loop(drawn):
    values, _, group, count = drawn
    expected = torch.stack([values[group == g].sum(0) for g in range(count + 1)])
    torch.testing.assert_close(sum_by_group(values, group, count + 1), expected)


@property_
@given(experts(), seeds)
def test_evidence_adds_in_any_order_and_is_the_product(drawn, seed):
    loc, scale, group, count = drawn
    first = torch.rand(len(group), generator=generator(seed)) < 0.5
    one, other = (
        Evidence.from_normals(Normal(loc[m], scale[m]), group[m], count) for m in (first, ~first)
    )
    whole = Evidence.from_normals(Normal(loc, scale), group, count)
    none = Evidence.none(count, loc.shape[1])
    for total in (one + other, other + one, none + one + other, one + (none + other)):
        assert_close(
            (total.precision, total.precision_loc), (whole.precision, whole.precision_loc), 1e-12
        )
        assert torch.equal(total.count, whole.count)
    posterior = (one + other).posterior()
    assert_close((posterior.mean, posterior.stddev), product_of_normals(loc, scale, group, count))


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**70),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(-2, 5), max_size=5),
    st.builds(
        lambda values, kind: torch.tensor(values).to(kind),
        st.lists(st.integers(-2, 5), max_size=6),
        st.sampled_from([torch.int64, torch.int32, torch.float32, torch.bool, torch.complex64]),
    ),
    st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=3)),
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=4)),
)


@settings(property_, max_examples=150)
@given(
    x=st.one_of(anything, st.just(torch.ones(4, 2))),
    group=st.one_of(anything, st.just(torch.tensor([0, 1, 1, 2]))),
    num_groups=st.one_of(anything, st.just(3)),
    parent=st.one_of(anything, st.just(torch.tensor([0, 0, 1]))),
    num_parents=st.one_of(anything, st.just(2), st.just(0)),
)
def test_a_batch_is_right_or_refused_in_one_sentence(x, group, num_groups, parent, num_parents):
    said = ""
    try:
        with types_unchecked():
            batch = GroupedBatch(x, group, num_groups, parent, num_parents)
    except InputError as error:
        said = str(error)
    if said:
        assert len(said.splitlines()) == 1
    else:
        assert batch.sizes.tolist() == [int((group == g).sum()) for g in range(num_groups)]
        assert min(batch.sizes) > 0
        assert batch.x.isfinite().all()


@contextmanager
def types_unchecked():
    """What the library itself says of a type, not what the checker says that runs under pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@property_
@given(sizes, seeds)
def test_ranks_count_the_members_of_each_group(sizes, seed):
    group = shuffled_groups(sizes, seed)
    rank = random_rank(group, generator(seed))
    for g, size in enumerate(sizes):
        assert sorted(rank[group == g].tolist()) == list(range(size))


@property_
@given(sizes, st.integers(0, 9), seeds)
def test_of_every_group_as_many_are_chosen_as_there_are_up_to_the_limit(sizes, limit, seed):
    group = shuffled_groups(sizes, seed)
    each = torch.tensor([limit] * len(sizes))
    for size in (limit, each):
        chosen = subsample_groups(group, size, generator(seed))
        assert group[chosen].bincount(minlength=len(sizes)).tolist() == [
            min(n, limit) for n in sizes
        ]


@property_
@given(sizes, st.integers(1, 9), st.booleans(), seeds)
def test_regrouping_loses_nothing_and_mixes_no_groups(sizes, size, drop, seed):
    group = shuffled_groups(sizes, seed)
    index, new = regroup(group, size, generator(seed), drop_smaller=drop)
    assert len(index) == len(index.unique()) == sum(n - n % size if drop else n for n in sizes)
    counts = new.bincount().tolist()
    expected = [[size] * (n // size) + ([] if drop or not n % size else [n % size]) for n in sizes]
    assert sorted(counts) == sorted(chain.from_iterable(expected))
    for number in range(len(counts)):
        assert len(group[index[new == number]].unique()) == 1


def numbered(sizes, seed=0):
    """Data whose observations are their own positions."""
    group = shuffled_groups(sizes, seed)
    return GroupedDataset.from_arrays(torch.arange(float(len(group)))[:, None], group)


def positions(batches):
    return [batch.x.flatten().long().tolist() for batch in batches]


@property_
@given(sizes, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)), seeds, st.integers(0, 9))
def test_an_epoch_visits_every_group_once(sizes, per_batch, per_group, seed, epoch):
    data = numbered(sizes, seed)
    sampler = GroupSampler(data, per_batch, per_group, seed=seed)
    batches = list(sampler.epoch(epoch))
    assert positions(batches) == positions(sampler.epoch(epoch))
    visited = [data.group[torch.tensor(place)].unique().tolist() for place in positions(batches)]
    assert sorted(chain.from_iterable(visited)) == list(range(len(sizes)))
    assert all(batch.num_groups <= per_batch for batch in batches)
    assert [batch.num_groups for batch in batches[:-1]] == [per_batch] * (len(batches) - 1)
    seen = list(chain.from_iterable(positions(batches)))
    limit = per_group or max(sizes)
    assert len(seen) == len(set(seen)) == sum(min(n, limit) for n in sizes)


@property_
@given(sizes, st.integers(1, 50), seeds, st.integers(0, 9))
def test_an_epoch_visits_every_observation_once(sizes, per_batch, seed, epoch):
    data = numbered(sizes, seed)
    sampler = ObservationSampler(data, per_batch, seed=seed)
    batches = list(sampler.epoch(epoch))
    assert positions(batches) == positions(sampler.epoch(epoch))
    assert sorted(chain.from_iterable(positions(batches))) == list(range(len(data)))
    for batch in batches:
        # As one that is validated.
        GroupedBatch(batch.x, batch.group, batch.num_groups)


names = st.one_of(
    st.integers(), st.text(), st.booleans(), st.binary(), st.floats(allow_nan=False), st.dates(),
    st.tuples(st.integers(), st.text()), st.frozensets(st.integers(), max_size=2),
)  # fmt: skip


@settings(property_, max_examples=80)
@given(st.lists(names, min_size=1, max_size=12))
def test_groups_are_called_by_anything_that_can_be_hashed(labels):
    data = GroupedDataset.from_arrays(torch.zeros(len(labels), 1), labels)
    assert [data.group_names[i] for i in data.group.tolist()] == labels
    assert len(data.group_names) == len(set(labels))
    assert min(data.sizes) > 0


@property_
@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.int64, np.bool_]), st.integers(1, 9)))
def test_numbers_in_an_array_are_numbered_as_those_in_a_list(labels):
    number, names = factorise("group", labels, len(labels))
    again, same = factorise("group", labels.tolist(), len(labels))
    assert (names, number.tolist()) == (same, again.tolist())


@property_
@given(sizes, st.floats(0.01, 0.99), seeds)
def test_a_split_is_disjoint_and_complete_and_keeps_every_group(sizes, fraction, seed):
    data = numbered(sizes, seed)
    expected = [min(round(fraction * n), n - 1) for n in sizes]
    assume(any(expected))
    train, test = data.split(fraction, seed=seed)
    assert sorted(chain.from_iterable(positions([train.batch(), test.batch()]))) == list(
        range(len(data))
    )
    assert min(train.sizes) > 0
    # Halves are rounded in the precision of the default type.
    assert all(abs(got - n) <= 1 for got, n in zip(test.sizes.tolist(), expected, strict=True))


@property_
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.floats(0.01, 0.99), seeds)
def test_groups_are_held_out_whole_and_some_are_kept(sizes, fraction, seed):
    data = numbered(sizes, seed)
    train, test = data.split_groups(fraction, seed=seed)
    assert len(train) + len(test) == len(data)
    assert not set(train.group.tolist()) & set(test.group.tolist())
    assert len(train) > 0
    assert len(test) > 0
    again = data.split_groups([str(data.group_names[g]) for g in test.group.unique().tolist()])
    assert torch.equal(again[1].group, test.group)


arrays = hnp.arrays(
    st.sampled_from(
        [np.uint8, np.int32, np.float16, np.float32, np.float64, np.dtype(">f4"), np.bool_]
    ),
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.integers(0, 1),
)
kinds = st.sampled_from([["ann", "bob"], [b"ann", b"bob"], [7, -3], [0.5, 2.0]]).map(np.array)


@property_
@given(arrays, kinds, st.sampled_from(["savez", "savez_compressed", "save"]))
def test_arrays_are_read_as_they_were_written(x, kind, how):
    group = kind[np.arange(len(x)) % 2]
    with tempfile.TemporaryDirectory() as folder:
        if how == "save":
            np.save(Path(folder, "x.npy"), x)
            np.save(Path(folder, "group.npy"), group)
        else:
            getattr(np, how)(Path(folder, "data.npz"), x=x, group=group)
        data = load_dataset(f"npy:{folder}" if how == "save" else f"npz:{folder}/data.npz")
        expected = x.astype(np.float64) / (255.0 if x.dtype == np.uint8 else 1.0)
        np.testing.assert_allclose(data.observations().double().numpy(), expected, rtol=1e-6)
        text = [name.decode() if isinstance(name, bytes) else name for name in group.tolist()]
        assert [data.group_names[i] for i in data.group.tolist()] == text


@settings(property_, max_examples=10)
@given(st.integers(1, 5), st.booleans(), seeds)
def test_idx_files_are_read_as_they_were_written(count, packed, seed):
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 256, (2, count, 28, 28), np.uint8)
    labels = chance.integers(0, 10, (2, count), np.uint8)
    sides = np.array([count, 28, 28], ">i4").tobytes()
    contents = []
    for part in range(2):
        contents.append(b"\0\0\x08\x03" + sides + pixels[part].tobytes())
        contents.append(b"\0\0\x08\x01" + sides[:4] + labels[part].tobytes())
    with tempfile.TemporaryDirectory() as folder:
        for name, content in zip(IDX_FILES, contents, strict=True):
            file = Path(folder, f"{name}.gz" if packed else name)
            file.write_bytes(gzip.compress(content) if packed else content)
        data = load_dataset("mnist", folder)
    assert torch.equal(data.x, torch.from_numpy(pixels.reshape(-1, 1, 28, 28)))
    assert [data.group_names[i] for i in data.group.tolist()] == labels.flatten().tolist()
    assert data.held_out.tolist() == [False] * count + [True] * count


@settings(property_, max_examples=10)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), sizes, seeds)
def test_folders_of_images_are_read_as_they_were_written(height, width, colour, sizes, seed):
    assume(sum(sizes) > 1)
    chance, written = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as folder:
        for g, size in enumerate(sizes):
            Path(folder, f"g{g}").mkdir()
            for i in range(size):
                shape = (height, width, 3) if colour else (height, width)
                written.append(chance.integers(0, 256, shape, np.uint8))
                Image.fromarray(written[-1]).save(Path(folder, f"g{g}/{i}.png"))
        data = load_dataset(f"folder:{folder}")
    expected = np.stack(written).reshape(len(written), height, width, -1).transpose(0, 3, 1, 2)
    assert np.array_equal(data.x.numpy(), expected)
    assert data.sizes.tolist() == sizes
