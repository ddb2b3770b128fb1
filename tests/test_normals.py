"""The product of Normals against densities that are multiplied and normalised on a grid."""

import inspect

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from pyro_mlvae.ops.normals import product_of_normals, sum_by_group

RAGGED = (1, 2, 300, 7)
PRIOR = (
    torch.tensor([0.3, -0.2], dtype=torch.float64),
    torch.tensor([0.7, 1.1], dtype=torch.float64),
)


def members(sizes, dim=2, *, permuted=True):
    """``(loc, scale, group)`` of groups of those sizes, in float64, their members in no order."""
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    if permuted:
        group = group[torch.randperm(len(group))]
    loc = torch.randn(len(group), dim, dtype=torch.float64)
    return loc, 0.5 + 1.5 * torch.rand_like(loc), group


def product_on_a_grid(loc: Tensor, scale: Tensor) -> Tensor:
    """Mean and standard deviation of the normalised product of one-dimensional Normals.

    The grid reaches 20 standard deviations of any one member beyond 0, in steps well below the
    scale of the product of 1,000 of them (0.03): there the sum is the integral, to machine
    accuracy.
    """
    c = torch.linspace(-40.0, 40.0, 16_001, dtype=torch.float64)
    log_density = Normal(loc, scale).log_prob(c.unsqueeze(-1)).sum(-1)
    density = (log_density - log_density.max()).exp()
    mean = (c * density).sum() / density.sum()
    return torch.stack([mean, ((c - mean).square() * density).sum().div(density.sum()).sqrt()])


def relative_error(value: Tensor, reference: Tensor) -> float:
    value, reference = value.detach(), reference.detach()
    error = (value.double() - reference).abs() / reference.abs().clamp(min=1e-300)
    return error.max().item()


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["no prior", "prior"])
@pytest.mark.parametrize("sizes", [(1,), (2,), (1000,), RAGGED], ids=str)
def test_the_product_is_the_product_of_the_densities(sizes, prior):
    loc, scale, group = members(sizes)
    product = torch.stack(product_of_normals(loc, scale, group, len(sizes), prior=prior))
    for g in range(len(sizes)):
        for d in range(2):
            experts = torch.stack([loc[group == g, d], scale[group == g, d]])
            if prior is not None:
                experts = torch.cat([experts, torch.stack(prior)[:, d : d + 1]], -1)
            torch.testing.assert_close(
                product[:, g, d], product_on_a_grid(*experts), rtol=1e-8, atol=1e-8
            )


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_equal_members_shrink_the_scale_by_the_root_of_their_number(n):
    # Exact, so that no constant factor (twice the variance, a tenth of the scale) can pass.
    loc, group = torch.full((n, 1), 0.25, dtype=torch.float64), torch.zeros(n, dtype=torch.int64)
    product_loc, product_scale = product_of_normals(loc, torch.full_like(loc, 3.0), group, 1)
    assert float(product_loc) == pytest.approx(0.25, rel=1e-13)
    assert float(product_scale) == pytest.approx(3.0 / n**0.5, rel=1e-13)


def test_the_log_densities_of_members_differ_from_the_products_by_a_constant():
    loc, scale, group = members((1, 2, 50))
    product = Normal(*product_of_normals(loc, scale, group, 3))
    c = torch.linspace(-3.0, 3.0, 41, dtype=torch.float64)[:, None, None].expand(41, 3, 2)
    of_members = sum_by_group(Normal(loc, scale).log_prob(c[:, group]), group, 3)
    difference = of_members - product.log_prob(c)
    torch.testing.assert_close(
        difference, difference[:1].expand_as(difference), rtol=1e-10, atol=1e-10
    )


def test_a_group_without_members_is_its_prior():
    loc, scale, group = members((0, 3))
    product_loc, product_scale = product_of_normals(loc, scale, group, 2, prior=PRIOR)
    torch.testing.assert_close(torch.stack([product_loc[0], product_scale[0]]), torch.stack(PRIOR))


@pytest.mark.parametrize("with_prior", [False, True], ids=["no prior", "prior"])
def test_gradients_of_loc_and_scale_are_right(with_prior):
    loc, scale, group = members((1, 2, 5))
    inputs = [loc, scale, *(PRIOR if with_prior else ())]
    inputs = [t.clone().requires_grad_() for t in inputs]

    def product(loc, scale, *prior):
        return product_of_normals(loc, scale, group, 3, prior=prior or None)

    assert torch.autograd.gradcheck(product, inputs, atol=1e-8, rtol=1e-6)
    assert torch.autograd.gradgradcheck(product, inputs, atol=1e-7, rtol=1e-5)


def test_locs_and_scales_of_other_shape_or_dtype_are_brought_together():
    loc, scale, group = members((1, 3))
    untyped = inspect.unwrap(product_of_normals)
    wide = scale[:, :1].expand_as(scale)
    expected = product_of_normals(loc, wide, group, 2)
    torch.testing.assert_close(untyped(loc, scale[:, :1], group, 2), expected)
    torch.testing.assert_close(
        untyped(loc, wide.float(), group, 2),
        product_of_normals(loc, wide.float().double(), group, 2),
    )
    many = torch.stack([loc, 2.0 * loc])
    torch.testing.assert_close(untyped(many, wide, group, 2)[0][0], expected[0])


# PyTorch has some of its forward derivatives from scripts, of which it warns itself.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_it_takes_transforms_of_functions():
    loc, scale, group = members((1, 2, 5))

    def product(loc, scale):
        return torch.stack(product_of_normals(loc, scale, group, 3))

    expected = torch.autograd.functional.jacobian(product, (loc, scale))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(product, (0, 1))(loc, scale), expected)


EXTREME_SCALES = [(1e-6, 1e-3, 1.0, 1e3, 1e6), (1e6, 1e6, 1e-6), (1.0, 2.0, 1e6), (1e-6, 2e-6, 1e6)]


def product_and_gradients(scales, dtype):
    """``(loc, scale)`` of one group, and the gradients of each to its members' locs and scales."""
    # The same numbers in either precision: rounded to float32 first.
    scale = torch.tensor(scales, dtype=torch.float32).unsqueeze(-1).to(dtype).requires_grad_()
    loc = torch.linspace(1.0, 3.0, len(scales)).unsqueeze(-1).to(dtype).requires_grad_()
    values = product_of_normals(loc, scale, torch.zeros(len(scales), dtype=torch.int64), 1)
    loc_gradients = torch.autograd.grad(values[0], (loc, scale), retain_graph=True)
    return values, loc_gradients, torch.autograd.grad(values[1], scale), scale.detach()


@pytest.mark.parametrize("scales", EXTREME_SCALES, ids=str)
def test_scales_from_1e_6_to_1e6_side_by_side_keep_float32_accuracy(scales):
    values, (by_loc, by_scale), (scale_by_scale,), scale = product_and_gradients(
        scales, torch.float32
    )
    expected, (e_by_loc, e_by_scale), (e_scale_by_scale,), _ = product_and_gradients(
        scales, torch.float64
    )
    for tensor in (*values, by_loc, by_scale, scale_by_scale):
        assert tensor.isfinite().all()
    for value, reference in zip(values, expected, strict=True):
        assert relative_error(value, reference) < 1e-6
    assert relative_error(by_loc, e_by_loc) < 3e-6
    assert relative_error(scale_by_scale, e_scale_by_scale) < 3e-6
    # Per unit of log scale, which is what networks give; the locs are of size 1 to 3.
    assert float(((by_scale - e_by_scale) * scale).abs().max()) < 3e-6


@pytest.mark.parametrize("scales", EXTREME_SCALES, ids=str)
def test_the_gradient_of_loc_to_each_scale_keeps_full_float32_accuracy(scales):
    # Each component relative to itself, also that of the most precise member, which is a difference
    # of nearly equal numbers where locs are not centred on that member before they are weighted.
    _, (_, by_scale), _, _ = product_and_gradients(scales, torch.float32)
    _, (_, expected), _, _ = product_and_gradients(scales, torch.float64)
    torch.testing.assert_close(by_scale.double(), expected, rtol=1e-5, atol=1e-35)


def test_precisions_beyond_float32_are_never_formed():
    # 1e-25 alone is a precision of 1e50, which as a number of its own would be infinite.
    scale = torch.tensor([[1e-25], [1e-25], [1e25], [1e25]], requires_grad=True)
    loc = torch.tensor([[1.0], [3.0], [1.0], [3.0]], requires_grad=True)
    product = product_of_normals(loc, scale, torch.tensor([0, 0, 1, 1]), 2)
    torch.testing.assert_close(product[0], torch.full((2, 1), 2.0))
    torch.testing.assert_close(
        product[1], torch.tensor([[1e-25], [1e25]]) / 2**0.5, rtol=1e-5, atol=0.0
    )
    # The scale's own, relative to it: the gradient to a log scale.
    gradients = torch.autograd.grad(product[1].log().sum() + product[0].sum(), (loc, scale))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_leading_particle_dimensions_are_independent_products():
    _, _, group = members((1, 3, 4))
    loc = torch.randn(5, 2, 8, 3, dtype=torch.float64)
    scale = torch.rand_like(loc) + 0.1
    together = torch.stack(product_of_normals(loc, scale, group, 3))
    assert together.shape == (2, 5, 2, 3, 3)
    for i in range(5):
        for j in range(2):
            alone = torch.stack(product_of_normals(loc[i, j], scale[i, j], group, 3))
            torch.testing.assert_close(together[:, i, j], alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["no prior", "prior"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_has_the_dtype_of_the_members(dtype, prior):
    loc, scale, group = members((1, 3))
    prior = prior and tuple(t.to(dtype) for t in prior)
    product = product_of_normals(loc.to(dtype), scale.to(dtype), group, 2, prior=prior)
    assert [t.dtype for t in product] == [dtype, dtype]


def test_sums_by_group_are_sums_over_a_mask():
    values, _, group = members((1, 5, 2))
    expected = torch.stack([values[group == g].sum(0) for g in range(3)])
    torch.testing.assert_close(sum_by_group(values, group, 3), expected)


def test_a_group_without_members_sums_to_zero():
    total = sum_by_group(torch.ones(2, 3), torch.tensor([1, 1]), 4)
    assert total.tolist() == [[0.0] * 3, [2.0] * 3, [0.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3)], ids=str)
def test_no_members_at_all_sum_to_zero(shape):
    total = sum_by_group(torch.ones(shape), torch.zeros(0, dtype=torch.int64), 2)
    assert total.shape == (*shape[:-2], 2, 3)
    assert not total.any()


def test_sums_by_group_keep_leading_dimensions_and_dtype_and_leave_their_input_alone():
    values = torch.randn(4, 1, 6, 2, dtype=torch.float64)
    before, group = values.clone(), torch.tensor([0, 2, 0, 1, 2, 2])
    total = sum_by_group(values, group, 3)
    assert total.dtype == torch.float64
    torch.testing.assert_close(total[3, 0, 2], before[3, 0, [1, 4, 5]].sum(0))
    assert torch.equal(values, before)


def test_the_gradient_of_a_sum_by_group_reaches_every_member():
    values = torch.zeros(3, 2, requires_grad=True)
    (
        sum_by_group(values, torch.tensor([1, 0, 1]), 2) * torch.tensor([[1.0], [10.0]])
    ).sum().backward()
    assert values.grad.tolist() == [[10.0, 10.0], [1.0, 1.0], [10.0, 10.0]]
