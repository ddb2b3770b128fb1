"""The comparison of estimators: its statistics by hand, and what is known on the solved model."""

import json
import math

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    make_estimator,
)
from pyro_mlvae.comparison import (
    PARTS,
    Moments,
    compare_elbos,
    gradient_parts,
    gradient_statistics,
    make_problem,
    solved_problem,
)
from pyro_mlvae.comparison.bounds import effective_sample_size, tight_bound
from pyro_mlvae.comparison.cases import Case, reference_case
from pyro_mlvae.comparison.cost import step_times
from pyro_mlvae.comparison.curves import training_curves
from pyro_mlvae.comparison.gradients import (
    Draw,
    Reference,
    draw_gradients,
    exact_reference,
    reference_from,
    rounding_of,
)
from pyro_mlvae.comparison.memory import MemoryProbe
from pyro_mlvae.comparison.problem import trainable_model
from pyro_mlvae.estimators import nested_bound
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel, exact_elbo

FEW = {"epochs": 2, "draws": 20, "reference_draws": 20, "seconds": 0, "memory": False}


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def mlp_pair():
    decoder = MLPDecoder((6,), content_dim=3, style_dim=2, hidden=(8,))
    encoder = MLPEncoder((6,), content_dim=3, style_dim=2, hidden=(8,))
    given = StyleGivenContent(content_dim=3, style_dim=2, hidden=(4,))
    guide = ProductOfNormals(encoder, style_given_content=given)
    return MLVAE(decoder, NormalLikelihood(), 3, 2), guide


def small_problem(**options):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 6, generator=generator)
    train, held_out = GroupedDataset.from_arrays(x, torch.arange(60) % 4).split(0.3)
    return make_problem("mine", *mlp_pair(), train, held_out, groups=3, observations_per_group=5, **options)


# Whose parameters.


def test_the_rows_of_the_last_layer_are_each_heads_own_and_the_trunk_is_neithers():
    model, guide = mlp_pair()
    parts = gradient_parts(model, guide)
    encoder, given = guide.encoder, guide.style_given_content
    last = encoder.layers[-1]
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.grad = torch.full_like(parameter, -1.0)
    last.weight.grad[:6], last.weight.grad[6:] = 1.0, 2.0  # 2 x 3 rows of content, then 2 x 2 of style
    last.bias.grad[:6], last.bias.grad[6:] = 1.0, 2.0
    for parameter in given.parameters():
        parameter.grad.fill_(2.0)
    for parameter in model.parameters():
        parameter.grad.fill_(3.0)
    gradients = {part: torch.cat([piece.gradient() for piece in parts[part]]) for part in PARTS}
    assert [set(gradients[part].tolist()) for part in PARTS] == [{1.0}, {2.0}, {3.0}]
    assert len(gradients["content_encoder"]) == 6 * 8 + 6
    assert len(gradients["style_encoder"]) == 4 * 8 + 4 + sum(p.numel() for p in given.parameters())
    assert len(gradients["decoder"]) == sum(p.numel() for p in model.parameters())


def test_the_linear_guide_is_parted_by_names_and_its_shift_is_styles():
    solved = LinearGaussian.correlated()
    guide = LinearGaussianGuide.exact(solved)
    parts = gradient_parts(trainable_model(solved), guide)
    assert [len(parts[part]) for part in PARTS] == [3, 4, 3]
    owners = [id(piece.parameter) for part in PARTS[:2] for piece in parts[part]]
    assert sorted(owners) == sorted(id(parameter) for parameter in guide.parameters())
    assert any(piece.parameter is guide.shift for piece in parts["style_encoder"])


def test_frozen_parameters_and_those_of_no_such_name_are_in_no_part():
    guide = torch.nn.ModuleDict({"trunk": torch.nn.Linear(2, 2), "content": torch.nn.Linear(2, 1)})
    guide["content"].bias.requires_grad_(False)
    parts = gradient_parts(LinearGaussianModel(LinearGaussian.orthogonal()), guide)
    assert {part: len(pieces) for part, pieces in parts.items()} == {
        "content_encoder": 1,
        "style_encoder": 0,
        "decoder": 0,
    }


# Statistics.


def test_moments_are_those_of_the_sample():
    draws = torch.randn(50, 7, dtype=torch.float64) + 1e6
    direction = torch.nn.functional.normalize(torch.ones(7, dtype=torch.float64), dim=0)
    moments = Moments(direction)
    for draw in draws:
        moments.add(draw)
    torch.testing.assert_close(moments.mean, draws.mean(0))
    assert moments.variance == pytest.approx(float(draws.var(0).sum()), rel=1e-9)
    assert moments.projections == pytest.approx((draws @ direction).tolist())


def test_statistics_by_hand():
    # Two draws about the mean (3, 4), one away from it along x and one along y.
    moments = Moments(vector(1.0, 0.0))
    for draw in ((5.0, 4.0), (1.0, 4.0), (3.0, 6.0), (3.0, 2.0)):
        moments.add(vector(*draw))
    found = gradient_statistics(moments, Reference(vector(1.0, 0.0), 2.0, 1.0 / 3.0), rounding=1e-9)
    assert found.variance == pytest.approx(16.0 / 3.0)
    assert found.snr == pytest.approx(math.sqrt((25.0 - 4.0 / 3.0) / (16.0 / 3.0)))
    # Projections 5, 1, 3, 3: mean 3, variance 8/3, of the mean 2/3; with the reference's own 1.
    assert found.bias_z == pytest.approx((3.0 - 2.0) / 1.0)


def test_noise_without_a_signal_has_a_ratio_of_about_zero_not_of_its_own_size():
    ratios = []
    for _ in range(50):
        moments = Moments()
        for draw in torch.randn(20, 100, dtype=torch.float64):
            moments.add(draw)
        ratios.append(gradient_statistics(moments, Reference(None), 1e-9).snr)
    # Undebiased it would be the root of 1 / 20, 0.22, every time.
    assert sum(ratios) / 50 < 0.1
    assert min(ratios) == 0.0


def test_a_gradient_that_never_varies_has_no_ratio_and_no_z():
    moments = Moments(vector(1.0))
    for _ in range(3):
        moments.add(vector(2.0))
    assert gradient_statistics(moments, Reference(vector(1.0), 2.0), 1e-9) == (
        type(gradient_statistics(moments, Reference(None), 1e-9))(0.0, None, None)
    )


def test_a_reference_from_draws_is_not_longer_than_the_truth():
    truth = torch.nn.functional.normalize(torch.ones(400, dtype=torch.float64), dim=0)
    # The noise of a mean of 100 draws is as long as the truth itself.
    noisy = [Draw(0.0, {"decoder": truth + 0.5 * torch.randn(400).double()}) for _ in range(200)]
    reference = reference_from(noisy, 200)["decoder"]
    along = float(truth @ reference.direction)
    assert reference.mean == pytest.approx(along, abs=4 * math.sqrt(reference.variance))
    assert exact_reference({"decoder": 3.0 * truth})["decoder"].mean == pytest.approx(3.0)


def test_a_wrong_gradient_is_found_out():
    problem = solved_problem(groups=4, observations_per_group=4)
    model, guide = problem.pair()
    parts = gradient_parts(model, guide)
    (-exact_elbo(model, guide, problem.batch)).backward()
    gradients = {p: torch.cat([piece.gradient() for piece in pieces]) for p, pieces in parts.items()}
    for factor, wrong in ((1.0, False), (1.2, True)):
        reference = exact_reference({part: factor * gradient for part, gradient in gradients.items()})
        moments = {part: Moments(reference[part].direction) for part in parts}
        estimator = make_estimator("stl", 10)
        for draw in draw_gradients(estimator, model, guide, problem.batch, parts, 40, seed=1):
            for part, gradient in draw.gradients.items():
                moments[part].add(gradient)
        found = [gradient_statistics(moments[part], reference[part], 1e-9).bias_z for part in PARTS]
        assert all((abs(z) > 4.5) == wrong for z in found), found


def test_the_same_seed_gives_the_same_draws_and_leaves_the_callers_state_alone():
    problem = small_problem()
    model, guide = problem.pair()
    parts, state = gradient_parts(model, guide), torch.get_rng_state()

    def losses(seed):
        draws = draw_gradients(make_estimator("trace"), model, guide, problem.batch, parts, 3, seed=seed)
        return [draw.loss for draw in draws]

    first = losses(1)
    assert len(set(first)) == 3
    assert losses(1) == first != losses(2)
    assert torch.equal(torch.get_rng_state(), state)


# References.


def test_more_particles_make_dregs_gradient_clearer_and_group_iwaes_less_clear():
    """On a guide wider than the posterior, without which squared weights have no variance."""
    problem = solved_problem(groups=10, observations_per_group=2, exact=True)
    encoder = problem.guide.encoder
    with torch.no_grad():
        for shifted in (encoder.content_log_scale, encoder.style_log_scale):
            shifted += 0.2
        encoder.content.bias += 0.1
    found = {}
    for name in ("group-iwae", "dreg"):
        for count in (5, 100):
            moments = Moments()
            parts = {"content": gradient_parts(problem.model, problem.guide)["content_encoder"]}
            pair, estimator = (problem.model, problem.guide), make_estimator(name, count)
            for draw in draw_gradients(estimator, *pair, problem.batch, parts, 60, seed=0):
                moments.add(draw.gradients["content"])
            found[name, count] = gradient_statistics(moments, Reference(None), 1e-9).snr
    assert found["dreg", 100] > 1.5 * found["dreg", 5]
    assert found["group-iwae", 100] < found["group-iwae", 5] / 1.5


def test_what_each_estimator_is_checked_against():
    assert reference_case(Case("stl", 10), exact=False) == Case("mean-field", 1)
    assert reference_case(Case("mean-field", 10), exact=False) == Case("trace", 1)
    assert reference_case(Case("dreg", 10), exact=True) == Case("group-iwae", 10)
    assert reference_case(Case("group-iwae", 10), exact=False) == Case("dreg", 10)
    assert reference_case(Case("group-renyi", 10, 0.2), exact=True) == Case("group-renyi", 10, 0.2)
    # With one particle every bound is the ELBO.
    assert reference_case(Case("dreg", 1), exact=False) == Case("mean-field", 1)
    assert reference_case(Case("renyi", 1), exact=True) is None


def test_the_exact_elbo_is_the_mean_of_its_estimates_away_from_the_posterior():
    problem = solved_problem(groups=3, observations_per_group=4)
    model, guide = problem.pair()
    torch.nn.init.normal_(guide.shift, std=0.3)
    estimator = make_estimator("trace", 2000)
    estimate = -estimator.loss(model, guide, problem.batch)
    exact = float(exact_elbo(model, guide, problem.batch).detach())
    assert estimate == pytest.approx(exact, rel=0.01)
    assert exact < problem.log_evidence(problem.batch)


@pytest.mark.parametrize("samples", [1, 7])
def test_the_tight_bound_is_the_nested_one_with_one_draw_of_style(samples):
    problem = solved_problem(groups=3, observations_per_group=4, exact=True)
    assert torch.allclose(
        tight_bound(problem.model, problem.guide, problem.batch, samples),
        nested_bound(problem.model, problem.guide, problem.batch, samples, 1),
    )


def test_effective_sample_sizes():
    exact = solved_problem(groups=3, observations_per_group=4, exact=True)
    random = solved_problem(groups=3, observations_per_group=4)
    for name in ("group-iwae", "dreg", "group-renyi", "renyi"):
        estimator = make_estimator(name, 5)
        # With the exact posterior all weights are equal.
        size = effective_sample_size(name, estimator, *exact.pair(), exact.batch)
        assert size == pytest.approx(5.0)
        assert 1.0 <= effective_sample_size(name, estimator, *random.pair(), random.batch) < 2.0
    assert effective_sample_size("stl", make_estimator("stl", 5), *exact.pair(), exact.batch) is None


# Costs and curves.


def test_timing_leaves_the_weights_where_they_were():
    problem = small_problem()
    model, guide = problem.pair()
    estimators = {name: make_estimator(name) for name in ("trace", "dreg")}
    times = step_times(estimators, model, guide, problem.batch, rounds=2)
    assert set(times) == {"trace", "dreg"}
    assert all(len(took) == 2 and min(took) > 0.0 for took in times.values())
    for moved, kept in ((model, problem.model), (guide, problem.guide)):
        for name, parameter in moved.named_parameters():
            assert torch.equal(parameter, kept.get_parameter(name)), name


def test_a_pair_that_cannot_go_to_another_process_has_no_memory_to_report():
    problem = small_problem()
    model, guide = problem.pair()
    guide.register_forward_hook(lambda *_: None)
    with MemoryProbe(model, guide, problem.batch, [("trace", 1, None)]) as probe:
        assert probe.results() == [None]


def test_an_estimator_that_diverges_ends_its_curve_and_spares_the_others():
    class Diverging(Trace_ELBO):
        def differentiable_loss(self, *arguments):
            return math.nan + super().differentiable_loss(*arguments)

    class Broken(Case):
        def make(self):
            return Diverging(max_plate_nesting=1)

    problem = small_problem()
    broken, sound = training_curves(problem, [Broken("broken", 1), Case("trace", 1)], seconds=0.05)
    assert broken["steps"] == [0]
    assert len(sound["steps"]) == 9
    assert sound["elbo"][0] == broken["elbo"][0] < sound["elbo"][-1]
    assert problem.guide.encoder.layers[0].weight.grad is None


# All of it.

KEYS = {
    *("estimator", "num_particles", "stage", "value", "standard_error", "gap", "gradient_snr"),
    *("gradient_variance", "gradient_bias_z", "effective_sample_size", "ms_per_step", "peak_mb"),
}


def test_with_the_exact_guide_trace_has_no_gap_and_sticking_the_landing_no_variance():
    problem = solved_problem(groups=4, observations_per_group=4, exact=True)
    names = ("trace", "mean-field", "stl", "dreg")
    comparison = compare_elbos(problem, names, (1, 5), **FEW)
    rows = {(r["estimator"], r["num_particles"]): r for r in comparison["rows"] if r["stage"] == "initial"}
    assert comparison["reference"] == "exact"
    for count in (1, 5):
        trace, landing = rows["trace", count], rows["stl", count]
        assert trace["gap"] == pytest.approx(0.0, abs=1e-9)
        assert trace["standard_error"] == pytest.approx(0.0, abs=1e-9)
        assert trace["gradient_variance"]["content_encoder"] > 1.0
        assert rows["mean-field", count]["standard_error"] > 1e-3  # analytic divergences cost variance here
        for row in (landing, rows["dreg", count]):
            for part in ("content_encoder", "style_encoder"):
                assert row["gradient_variance"][part] == 0.0
                assert row["gradient_snr"][part] is None
                assert row["gradient_bias_z"][part] is None
        assert landing["gradient_variance"]["decoder"] == pytest.approx(
            trace["gradient_variance"]["decoder"], rel=1e-6
        )
    json.dumps(comparison, allow_nan=False)


def test_rows_are_as_the_contract_says():
    problem = small_problem()
    before = [parameter.clone() for parameter in problem.guide.parameters()]
    said = []
    comparison = compare_elbos(
        problem,
        ("trace", "graph", "group-iwae"),
        (1, 3),
        **FEW | {"seconds": 0.05},
        importance_samples=40,
        callback=lambda *progress: said.append(progress),
    )
    assert comparison["reference"] == "group-iwae-40"
    assert (comparison["format_version"], comparison["data"]) == (1, "mine")
    assert (comparison["observations"], comparison["groups"]) == (15, 3)
    rows = comparison["rows"]
    assert len(rows) == 3 * 2 * 2
    for row in rows:
        assert set(row) == KEYS
        for column in ("gradient_snr", "gradient_variance", "gradient_bias_z"):
            assert list(row[column]) == list(PARTS)
            assert None not in row[column].values()
        assert row["ms_per_step"] > 0.0
        assert row["peak_mb"] is None
        assert (row["effective_sample_size"] is None) == (row["estimator"] != "group-iwae")
    assert [row["stage"] for row in rows] == ["initial"] * 6 + ["trained"] * 6
    assert rows[6]["value"] > rows[0]["value"]
    # The same seeds: with one particle they are one, and graph is trace everywhere.
    values = [row["value"] for row in rows]
    assert values[0] == pytest.approx(values[2], rel=1e-5)
    assert values[0] == pytest.approx(values[4], rel=1e-5)
    assert rows[1]["gradient_snr"] == pytest.approx(rows[3]["gradient_snr"], rel=1e-3)
    for curve in comparison["curves"]:
        assert len(curve["seconds"]) == len(curve["steps"]) == len(curve["elbo"]) == 9
        assert curve["steps"][-1] >= 8
        assert curve["seconds"] == sorted(curve["seconds"])
        assert curve["group_iwae_50"][0] == comparison["curves"][0]["group_iwae_50"][0]
    assert [done for _, done, _ in said] == list(range(said[0][2] + 1))
    assert all(torch.equal(a, b) for a, b in zip(before, problem.guide.parameters(), strict=True))


def test_the_reference_of_a_real_comparison_has_5000_samples():
    comparison = compare_elbos(small_problem(), ["trace"], [1], **FEW)
    assert comparison["reference"] == "group-iwae-5000"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"estimators": ["trase"]}, "did you mean 'trace'"),
        ({"estimators": []}, "at least one each"),
        ({"particles": [0]}, "particles must be a positive whole number, got 0"),
        ({"alpha": 1.0, "estimators": ["renyi"]}, "alpha must be at least 0 and not 1"),
        ({"alpha": float("nan"), "estimators": ["renyi"]}, "alpha must be at least 0 and not 1"),
        ({"alpha": 2.0, "estimators": ["group-renyi"]}, r"in \[0, 1\), got 2.0"),
        ({"alpha": 0.5, "estimators": ["trace"]}, "neither is compared"),
        ({"epochs": 0}, "epochs must be"),
        ({"draws": 1}, "draws must be a whole number of at least 2"),
        ({"reference_draws": 3}, "reference_draws must be"),
        ({"seconds": -1.0}, "seconds must be at least 0"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_what_is_out_of_range_is_said(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        compare_elbos(solved_problem(groups=2, observations_per_group=2), **arguments)


def test_rounding_is_that_of_the_type():
    assert rounding_of(-100.0, torch.float64) < 1e-11
    assert rounding_of(0.0, torch.float32) > 1e-7
