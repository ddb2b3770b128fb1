"""The comparison of estimators: its statistics by hand, and what is known on the solved model."""

import json
import math
import sys

import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy.stats import t as student

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
    curves,
    gradient_parts,
    gradient_statistics,
    make_problem,
    mixture_problem,
    solved_problem,
)
from pyro_mlvae.comparison.alignment import Alignment
from pyro_mlvae.comparison.cases import Case, merged, reference_case
from pyro_mlvae.comparison.cost import network_passes, step_times
from pyro_mlvae.comparison.curves import _QUANTILE, _mean_curve, training_curves
from pyro_mlvae.comparison.gradients import (
    Draw,
    Reference,
    draw_gradients,
    exact_reference,
    reference_from,
    rounding_of,
)
from pyro_mlvae.comparison.memory import memory_of_steps
from pyro_mlvae.comparison.problem import trainable_model
from pyro_mlvae.comparison.stages import measure_stage
from pyro_mlvae.comparison.weights import (
    draw_log_weights,
    effective_sample_size,
    k_hat,
)
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel, exact_elbo

FEW = {"epochs": 2, "draws": 8, "reference_draws": 8, "seconds": 0, "memory": False}


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
    return make_problem(
        "mine", *mlp_pair(), train, held_out, groups=3, observations_per_group=5, **options
    )


# Whose parameters.


def test_the_rows_of_the_last_layer_are_each_heads_own_and_the_trunk_is_neithers():
    model, guide = mlp_pair()
    parts = gradient_parts(model, guide)
    encoder, given = guide.encoder, guide.style_given_content
    last = encoder.layers[-1]
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.grad = torch.full_like(parameter, -1.0)
    # 2 x 3 rows of content, then 2 x 2 of style.
    for parameter in last.parameters():
        parameter.grad[:6] = 1.0
        parameter.grad[6:] = 2.0
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
    gradients = {
        p: torch.cat([piece.gradient() for piece in pieces]) for p, pieces in parts.items()
    }
    for factor, wrong in ((1.0, False), (1.2, True)):
        reference = exact_reference(
            {part: factor * gradient for part, gradient in gradients.items()}
        )
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
        draws = draw_gradients(
            make_estimator("trace"), model, guide, problem.batch, parts, 3, seed=seed
        )
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
    assert reference_case(Case("rws", 10), exact=True) == Case("rws", 10)
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


def test_rows_that_are_equal_by_construction_are_one():
    names = ("trace", "graph", "group-iwae", "dreg", "stl", "rws", "miwae")
    cases = [Case(name, count) for name in names for count in (1, 7)]
    also = merged(cases)
    assert also == {
        Case("trace", 1): ["graph", "group-iwae", "miwae"],
        Case("trace", 7): ["graph"],
        Case("group-iwae", 7): ["miwae"],  # one outer particle, for 7 is a prime
        Case("dreg", 1): ["stl"],
        Case("dreg", 7): [],
        Case("stl", 7): [],
        Case("rws", 1): [],
        Case("rws", 7): [],
    }
    problem = small_problem()
    for case in cases:
        parts = gradient_parts(problem.model, problem.guide)
        pair = (problem.model, problem.guide, problem.batch, parts, 1)
        (own,) = draw_gradients(case.make(), *pair, seed=1)
        (same,) = draw_gradients(case.same.make(), *pair, seed=1)
        assert own.loss == pytest.approx(same.loss, rel=1e-5), case
        for part, gradient in own.gradients.items():
            torch.testing.assert_close(gradient, same.gradients[part], rtol=1e-3, atol=1e-3)


def test_effective_sample_sizes_and_tails():
    exact = solved_problem(groups=3, observations_per_group=4, exact=True)
    random = solved_problem(groups=3, observations_per_group=4)
    of_exact = draw_log_weights(*exact.pair(), exact.batch, 100, seed=0)
    of_random = draw_log_weights(*random.pair(), random.batch, 100, seed=0)
    for name in ("group-iwae", "dreg", "group-renyi", "renyi", "rws"):
        case = Case(name, 5)
        # With the exact posterior all weights are equal.
        assert effective_sample_size(case, of_exact) == pytest.approx(5.0)
        assert k_hat(case, of_exact) == 0.0
        assert 1.0 <= effective_sample_size(case, of_random) < 3.0
        assert k_hat(case, of_random) > 0.7
    assert effective_sample_size(Case("stl", 5), of_exact) is None
    assert k_hat(Case("group-iwae", 1), of_exact) is None  # which is trace


def test_effective_sample_size_by_hand():
    log_weights = vector(3.0, 1.0, 1.0, 1.0).log().unsqueeze(-1)
    # Pairs of 3 and 1, and of 1 and 1: 16 / 10 and 2.
    assert effective_sample_size(Case("group-iwae", 2), log_weights) == pytest.approx(
        (1.6 + 2.0) / 2
    )


def test_alignment_is_with_the_direction_and_not_with_its_size():
    alignment = Alignment(vector(0.0, 1.0))
    for gradient in ((3.0, 4.0), (0.0, 2.0), (0.0, 0.0), (1.0, -1.0)):
        alignment.add(vector(*gradient))
    assert alignment.cosine == pytest.approx((0.8 + 1.0 - math.sqrt(0.5)) / 3)
    assert alignment.directional_snr == pytest.approx((4.0 / 3.0 + 1.0) / 2)
    assert Alignment(None).cosine is None


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


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("trace", 1, 2),
        ("trace", 10, 11),
        ("stl", 1, 3),
        ("dreg", 4, 6),
        ("local", 1, 3),
        ("rws", 5, 6),
    ],
)
def test_network_passes_are_counted_and_the_pair_is_left_alone(name, count, expected):
    problem = small_problem()
    model, guide = problem.pair()
    before = set(vars(model)), set(vars(guide))
    assert network_passes(make_estimator(name, count), model, guide, problem.batch) == expected
    assert (set(vars(model)), set(vars(guide))) == before


@pytest.mark.skipif(
    sys.platform != "linux", reason="the system does not say what memory a step takes"
)
def test_memory_of_any_pair_is_measured_in_a_child_and_a_step_that_fails_has_none():
    problem = small_problem()
    model, guide = problem.pair()
    guide.register_forward_hook(lambda *_: None)  # which no pickle takes
    large = torch.rand(4000, 6)
    batch = type(problem.batch)(large, torch.arange(4000) % 4, 4)
    state = torch.get_rng_state()
    one, many = memory_of_steps(model, guide, batch, [Case("trace", 1), Case("group-iwae", 20)])
    assert 0.0 < one < many / 3.0
    assert torch.equal(torch.get_rng_state(), state)

    def passing(*_):
        torch.ones(10_000_000)  # 38 MB, which are given back before the step ends

    guide.register_forward_pre_hook(passing)
    (peak,) = memory_of_steps(model, guide, small_problem().batch, [Case("trace", 1)])
    assert 30.0 < peak < 60.0

    class Wrong(Case):
        def make(self):
            raise ValueError

    assert memory_of_steps(model, guide, batch, [Wrong("trace", 1)]) == [None]


def test_a_curve_is_the_mean_over_seeds_with_its_interval_as_long_as_the_shortest():
    def curve(*elbos):
        numbers = [float(i) for i in range(len(elbos))]
        return {"seconds": numbers, "steps": numbers, "elbo": elbos, "nested_iwae": elbos}

    found = _mean_curve([curve(0.0, 1.0, 2.0), curve(0.0, 3.0), curve(0.0, 8.0)], 2.0)
    assert found["elbo"] == [0.0, 4.0]
    assert found["passes"] == [0.0, 2.0]
    # Student's t with two degrees of freedom.
    half = student.ppf(0.975, 2) * math.sqrt(13.0 / 3.0)
    assert found["elbo_interval"] == [0.0, pytest.approx(half, rel=1e-3)]
    assert _mean_curve([curve(1.0)], None)["elbo_interval"] == [None]
    for count, quantile in _QUANTILE.items():
        assert quantile == pytest.approx(student.ppf(0.975, count - 1), rel=2e-3)


def test_each_estimator_trains_at_its_own_best_rate_with_seeds_of_its_own(monkeypatch):
    best = {Case("trace", 1): 3e-3, Case("stl", 1): 1e-3}
    trained = []

    class Pretended:
        # Its ELBO is the higher, the nearer the learning rate is to the best.
        def __init__(self, problem, case, rate, seed):
            trained.append((case, rate, seed))
            elbo = -abs(math.log(rate / best[case]))
            self.curve = {"seconds": [0.0], "steps": [0], "elbo": [elbo], "nested_iwae": [0.0]}

        def train(self, seconds):
            pass

        def measure(self):
            pass

    monkeypatch.setattr(curves, "Trainee", Pretended)
    found = training_curves(
        small_problem(), list(best), seconds=1.0, rates=(0.3, 1.0, 3.0, 10.0), seeds=3
    )
    assert [curve["learning_rate"] for curve in found] == [3e-3, 1e-3]
    assert [curve["elbo"] for curve in found] == [[0.0], [0.0]]
    for case, rate in best.items():
        seeds = [seed for own, used, seed in trained[8:] if own == case and used == rate]
        assert len(set(seeds)) == 3
        # The choice is made with a seed that no curve has.
        assert not {seed for own, _, seed in trained[:8] if own == case} & set(seeds)


def test_an_estimator_that_diverges_ends_its_curve_and_spares_the_others():
    class Diverging(Trace_ELBO):
        def differentiable_loss(self, *arguments):
            return math.nan + super().differentiable_loss(*arguments)

    class Broken(Case):
        def make(self):
            return Diverging(max_plate_nesting=1)

    problem = small_problem()
    cases, few = [Broken("broken", 1), Case("trace", 1)], {"seconds": 0.05, "seeds": 2}
    broken, sound = training_curves(problem, cases, passes={cases[1]: 2.0}, rates=(1.0, 3.0), **few)
    assert broken["steps"] == [0]
    assert broken["passes"] is None
    assert len(sound["steps"]) == 7
    assert sound["passes"] == [2.0 * steps for steps in sound["steps"]]
    assert sound["learning_rate"] in (1e-3, 3e-3)
    assert sound["elbo_interval"][0] == 0.0 < sound["elbo_interval"][-1]
    assert sound["elbo"][0] == broken["elbo"][0] < sound["elbo"][-1]
    assert problem.guide.encoder.layers[0].weight.grad is None


# All of it.


def initial_rows(problem, cases, draws):
    settings = {"draws": draws, "reference_draws": draws, "nested_draws": (5, 4), "seed": 0}
    return measure_stage(
        "initial", problem, *problem.pair(), cases, progress=lambda what: None, **settings
    )


KEYS = {
    *("estimator", "num_particles", "stage", "value", "standard_error", "gap", "gradient_snr"),
    *("gradient_variance", "gradient_bias_z", "effective_sample_size", "ms_per_step", "peak_mb"),
    *("also", "gradient_cosine", "gradient_directional_snr", "k_hat", "passes_per_step"),
}


def test_with_the_exact_guide_trace_has_no_gap_and_sticking_the_landing_no_variance():
    problem = solved_problem(groups=4, observations_per_group=4, exact=True)
    cases = [Case(name, count) for name in ("trace", "mean-field", "stl") for count in (1, 5)]
    measured = initial_rows(problem, [*cases, Case("dreg", 5)], draws=8)
    rows = {(row["estimator"], row["num_particles"]): row for row in measured}
    for count in (1, 5):
        trace, landing = rows["trace", count], rows["stl", count]
        assert trace["gap"] == pytest.approx(0.0, abs=1e-9)
        assert trace["standard_error"] == pytest.approx(0.0, abs=1e-9)
        assert trace["gradient_variance"]["content_encoder"] > 1.0
        # Analytic divergences cost variance here.
        assert rows["mean-field", count]["standard_error"] > 1e-3
        for row in (landing, rows.get(("dreg", count), landing)):  # with one particle they are one
            for part in ("content_encoder", "style_encoder"):
                assert row["gradient_variance"][part] == 0.0
                assert row["gradient_snr"][part] is None
                assert row["gradient_bias_z"][part] is None
        assert landing["gradient_variance"]["decoder"] == pytest.approx(
            trace["gradient_variance"]["decoder"], rel=1e-6
        )
    json.dumps(measured, allow_nan=False)


def test_rows_are_as_the_contract_says():
    problem = small_problem()
    before = [parameter.clone() for parameter in problem.guide.parameters()]
    said = []
    comparison = compare_elbos(
        problem,
        ("trace", "graph", "group-iwae"),
        (1, 3),
        **FEW | {"seconds": 0.05},
        rates=(1.0,),
        seeds=2,
        nested_draws=(5, 4),
        callback=lambda *progress: said.append(progress),
    )
    assert comparison["reference"] == "nested-5x4"
    assert (comparison["format_version"], comparison["data"]) == (1, "mine")
    assert (comparison["observations"], comparison["groups"]) == (15, 3)
    rows = comparison["rows"]
    assert len(rows) == 3 * 2
    for row in rows:
        assert set(row) == KEYS
        for column in ("gradient_snr", "gradient_variance", "gradient_bias_z"):
            assert list(row[column]) == list(PARTS)
            assert None not in row[column].values()
        assert set(row["gradient_cosine"].values()) == {None}  # the exact gradient is not known
        assert row["ms_per_step"] > 0.0
        assert row["peak_mb"] is None
        for column in ("effective_sample_size", "k_hat"):
            assert (row[column] is None) == (row["estimator"] != "group-iwae")
    kinds = [("trace", 1), ("trace", 3), ("group-iwae", 3)]
    assert [(row["estimator"], row["num_particles"]) for row in rows] == kinds * 2
    assert [row["also"] for row in rows[:3]] == [["graph", "group-iwae"], ["graph"], []]
    assert [row["passes_per_step"] for row in rows[:3]] == [2.0, 4.0, 4.0]
    assert [row["stage"] for row in rows] == ["initial"] * 3 + ["trained"] * 3
    assert rows[3]["value"] > rows[0]["value"]
    assert [row["num_particles"] for row in comparison["sandwich"]] == [1, 10, 100]
    assert comparison["refused"] == []
    json.dumps(comparison, allow_nan=False)
    for curve in comparison["curves"]:
        lists = ("seconds", "steps", "passes", "elbo", "elbo_interval", "nested_iwae_interval")
        assert {len(curve[name]) for name in lists} == {7}
        assert curve["steps"][-1] >= 6
        assert curve["seconds"] == sorted(curve["seconds"])
        assert curve["nested_iwae"][0] == comparison["curves"][0]["nested_iwae"][0]
    assert [done for _, done, _ in said] == list(range(said[0][2] + 1))
    assert all(torch.equal(a, b) for a, b in zip(before, problem.guide.parameters(), strict=True))


def test_on_the_solved_model_gradients_are_compared_with_the_exact_one():
    problem = solved_problem(groups=4, observations_per_group=4)
    rows = initial_rows(problem, [Case("trace", 1), Case("trace", 20)], draws=20)
    for part in PARTS:
        cosine = [row["gradient_cosine"][part] for row in rows]
        assert all(0.0 < value <= 1.0 for value in cosine)
        assert cosine[1] > cosine[0]  # more particles, less noise
        along = [row["gradient_directional_snr"][part] for row in rows]
        assert along[1] > along[0] > 0.0


def test_a_pair_that_no_estimator_takes_is_refused_with_the_reason():
    problem = mixture_problem(groups=3, observations_per_group=3)
    reason = r"none of the estimators takes this pair: .* needs Normal content"
    with pytest.raises(InputError, match=reason):
        compare_elbos(problem, ("local",), (1,), **FEW)


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
        ({"seeds": 0}, "seeds must be a positive whole number, got 0"),
        ({"nested_draws": (0, 1)}, "contents must be a positive whole number, got 0"),
    ],
)
def test_what_is_out_of_range_is_said(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        compare_elbos(solved_problem(groups=2, observations_per_group=2), **arguments)


def test_rounding_is_that_of_the_type():
    assert rounding_of(-100.0, torch.float64) < 1e-11
    assert rounding_of(0.0, torch.float32) > 1e-7
