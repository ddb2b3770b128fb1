"""Figures of metrics.json: what is drawn is what was measured, and what is None is left out."""

import copy

import pytest
import torch
from fitting import make_pair
from matplotlib.container import BarContainer, ErrorbarContainer

from pyro_mlvae import GroupedDataset
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.plotting import (
    activity_figure,
    evidence_figure,
    few_shot_figure,
    k_hat_figure,
    probe_figure,
    save_figure,
    sbc_figure,
    scale_figure,
    self_consistency_figure,
    swap_figure,
    trade_off_figure,
    training_curves,
)
from pyro_mlvae.training import EpochRecord, History


def scores(accuracy):
    return {"accuracy": accuracy, "standard_error": 0.02, "cross_entropy": 1.0 - accuracy}


def style(draws):
    return {
        "draws": scores(draws),
        "loc": scores(draws + 0.1),
        "loc_and_scale": scores(draws + 0.2),
    }


PROBE = {
    "chance": 0.11,
    "style": style(0.41),
    "content": {"1": scores(0.93), "2": scores(0.97), "10": scores(1.0), "50": None},
    "untrained": {
        "style": style(0.12),
        "content": {"1": scores(0.67), "2": scores(0.68), "10": scores(0.74), "50": None},
    },
    "vae": None,
}
VAE = {
    "latent": {"1": scores(0.95), "2": scores(0.96), "10": scores(0.99), "50": None},
    "content": {"1": scores(0.83)},
    "style": style(0.31),
}
EVIDENCE = {
    "k": [1, 4, 10, 50],
    "content_scale": [0.6, 0.31, 0.2, None],
    "untrained": [0.9, 0.5, 0.3, None],
    "vae": None,
}
CALIBRATION = {
    "k": [1, 5, 50],
    "levels": [0.5, 0.9],
    "without_prior": [[0.3, 0.7], [0.45, 0.85], None],
    "with_prior": [[0.5, 0.91], [0.52, 0.92], None],
    "observations_of_whole_group": 40.0,
}
RANKS = {
    "ranks": 40, "draws": 9, "bins": 2, "band": [12, 28],
    "sites": {
        "content": {"p": 0.31, "spread": 1.0, "histogram": [[18, 22], [21, 19]]},
        "style": {"p": 0.00001, "spread": 1.6, "histogram": [[39, 1]]},
    },
}  # fmt: skip
K_HAT = {
    "groups": 3,
    "threshold": 0.7,
    "share_above": 1 / 3,
    "median": 0.4,
    "max": 1.2,
    "k": [-0.3, 0.4, 1.2],
}
ACTIVITY = {
    "content": 2, "style": 1, "content_dim": 3, "style_dim": 2,
    "kl_content": [0.5, 2.0, 0.0], "kl_style": [0.0, 1.5], "threshold": 0.01,
    "variance_content": [0.02, 0.9, 0.001], "variance_style": [0.0, 0.5],
    "scale_content": [0.9, 0.6, 1.0], "scale_content_of_groups": [0.5, 0.2, 1.0],
    "scale_style": [1.0, 0.3],
}  # fmt: skip


def shots(one, five):
    return {
        "1": {"accuracy": one, "standard_error": 0.006},
        "5": {"accuracy": five, "standard_error": 0.005},
    }


UNSEEN = {
    "groups": 40,
    "ways": 5,
    "chance": 0.2,
    "shots": shots(0.72, 0.83),
    "untrained": {**shots(0.33, 0.52), "verification_auc": 0.61},
    "pixels": shots(0.56, 0.69),
    "verification_auc": 0.9,
}


def curves(axes):
    """The labelled lines of a panel, as lists of points."""
    return {
        str(line.get_label()): [tuple(point) for point in line.get_xydata().tolist()]
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def level_lines(axes):
    """Where the dotted lines of chance stand."""
    return [line.get_ydata()[0] for line in axes.get_lines() if len(set(line.get_ydata())) == 1]


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(
    "figure",
    [
        evidence_figure(PROBE, EVIDENCE),
        evidence_figure(None, EVIDENCE),
        probe_figure(PROBE | {"vae": VAE}),
        self_consistency_figure(CALIBRATION),
        activity_figure(ACTIVITY),
        scale_figure(ACTIVITY),
        sbc_figure(RANKS),
        k_hat_figure(K_HAT),
        few_shot_figure(UNSEEN | {"vae": UNSEEN["pixels"]}),
    ],
    ids=[
        "evidence",
        "evidence-only",
        "probe",
        "self-consistency",
        "activity",
        "scales",
        "sbc",
        "k-hat",
        "few-shot",
    ],
)
def test_every_figure_can_be_saved_and_has_titles_and_named_axes(figure, tmp_path):
    save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert all(axes.get_title() for axes in figure.axes)
    assert all(axes.get_xlabel() or axes.get_xticklabels() for axes in figure.axes)


def test_errors_are_drawn_against_k_beside_their_control_and_chance():
    left, _ = evidence_figure(PROBE, EVIDENCE).axes
    drawn = curves(left)
    assert list(drawn) == ["trained, content", "untrained, content", "chance"]
    (bars, _) = [each for each in left.containers if isinstance(each, ErrorbarContainer)]
    first = bars.lines[2][0].get_segments()[0]
    assert first[:, 1].tolist() == pytest.approx([0.05, 0.09])
    # No error at all stands at zero, on the axis; what was not measured stands nowhere.
    assert drawn["trained, content"] == [
        (1, pytest.approx(0.07)),
        (2, pytest.approx(0.03)),
        (10, 0.0),
    ]
    expected = [(1, pytest.approx(0.33)), (2, pytest.approx(0.32)), (10, pytest.approx(0.26))]
    assert drawn["untrained, content"] == expected
    assert drawn["chance"][0][1] == pytest.approx(0.89)
    assert left.get_ylim()[0] < 0.0 < left.get_ylim()[1]


def test_errors_of_a_plain_vae_are_those_of_its_whole_latent():
    left, _ = evidence_figure(PROBE | {"vae": VAE}, EVIDENCE).axes
    drawn = curves(left)["plain VAE, content and style"]
    assert drawn == [(1, pytest.approx(0.05)), (2, pytest.approx(0.04)), (10, pytest.approx(0.01))]


def test_rounding_makes_no_error():
    probe = copy.deepcopy(PROBE)
    probe["content"]["10"]["accuracy"] = 1.0 - 2.0**-53
    left, _ = evidence_figure(probe, EVIDENCE).axes
    assert curves(left)["trained, content"][-1] == (10, 0.0)


def test_the_posterior_is_drawn_beside_the_prior_and_the_law_of_the_square_root():
    (only,) = evidence_figure(None, EVIDENCE).axes
    drawn = curves(only)
    assert drawn["trained"] == [(1, 0.6), (4, 0.31), (10, 0.2)]
    assert drawn["untrained"] == [(1, 0.9), (4, 0.5), (10, 0.3)]
    assert "plain VAE" not in drawn
    (only,) = evidence_figure(None, EVIDENCE | {"vae": [0.5, 0.2, None, None]}).axes
    assert curves(only) == drawn | {"plain VAE": [(1, 0.5), (4, 0.2)]}
    assert drawn[r"$1/\sqrt{k}$"][1] == (4, pytest.approx(0.3))
    assert drawn["prior"][0][1] == 1.0
    beside = evidence_figure(PROBE, EVIDENCE).axes[1]
    assert curves(beside) == drawn


def test_evidence_that_was_not_measured_draws_an_empty_panel(tmp_path):
    empty = {**PROBE, "content": {"1": scores(1.0)}}
    figure = evidence_figure(
        empty, {**EVIDENCE, "k": [1, 2], "content_scale": [None, None], "untrained": None}
    )
    save_figure(figure, tmp_path / "figure.png")
    assert curves(figure.axes[1])["trained"] == []


def bars_by_name(figure):
    """Width of each bar, by the name at its place and the bold name above it."""
    (axes,) = figure.axes
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    named = sorted((place, label.get_text(), label.get_fontweight()) for place, label in ticks)
    widths = {
        bar.get_y() + bar.get_height() / 2: bar.get_width()
        for container in axes.containers
        if isinstance(container, BarContainer)
        for bar in container
    }
    found, head = {}, None
    for place, name, weight in named:
        if weight == "bold":
            head = name
        else:
            (width,) = (w for at, w in widths.items() if abs(at - place) < 1e-9)
            found[head, name] = width
    assert len(found) == len(widths)
    return found


def test_the_probe_of_content_and_of_style_stands_beside_its_controls():
    expected = {
        ("Content", "trained"): 0.93,
        ("Content", "untrained"): 0.67,
        ("Style, a draw", "trained"): 0.41,
        ("Style, a draw", "untrained"): 0.12,
        ("Style, loc", "trained"): pytest.approx(0.51),
        ("Style, loc", "untrained"): pytest.approx(0.22),
        ("Style, loc and scale", "trained"): pytest.approx(0.61),
        ("Style, loc and scale", "untrained"): pytest.approx(0.32),
    }
    figure = probe_figure(PROBE)
    assert bars_by_name(figure) == expected
    assert any(set(line.get_xdata()) == {0.11} for line in figure.axes[0].get_lines())
    assert {"chance", "93.0%", "41.0%"} <= set(words(figure))
    assert figure.axes[0].get_title() == "What a probe reads off one held-out observation"
    bars = [bars for bars in figure.axes[0].containers if isinstance(bars, ErrorbarContainer)]
    ends = [bar.lines[2][0].get_segments()[0][:, 0].tolist() for bar in bars]
    assert ends[:2] == [pytest.approx([0.91, 0.95]), pytest.approx([0.65, 0.69])]
    assert bars_by_name(probe_figure(PROBE | {"vae": VAE})) == expected | {
        ("Content", "plain VAE, same dimensions"): 0.83,
        ("Style, a draw", "plain VAE, same dimensions"): 0.31,
        ("Style, loc", "plain VAE, same dimensions"): pytest.approx(0.41),
        ("Style, loc and scale", "plain VAE, same dimensions"): pytest.approx(0.51),
        ("Content and style", "plain VAE"): 0.95,
    }


def test_coverage_is_drawn_against_the_promise_with_and_without_the_prior():
    without, with_prior = self_consistency_figure(CALIBRATION).axes
    assert curves(without) == {
        "1 observation": [(0.5, 0.3), (0.9, 0.7)],
        "5 observations": [(0.5, 0.45), (0.9, 0.85)],
    }
    assert curves(with_prior)["5 observations"] == [(0.5, 0.52), (0.9, 0.92)]
    for axes in (without, with_prior):
        diagonal = axes.get_lines()[0]
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
        markers = [line.get_marker() for line in axes.get_lines()[1:]]
        assert len(set(markers)) == len(markers)
        assert axes.get_ylim()[0] < 0.3


def test_ranks_are_drawn_by_dimension_over_the_band_under_their_p_value():
    content, style = sbc_figure(RANKS).axes
    assert content.get_title() == "Content: p = 0.310"
    assert style.get_title() == "Style: p < 0.001"
    drawn = [
        stairs.get_data().values.tolist()
        for stairs in content.patches
        if hasattr(stairs, "get_data")
    ]
    assert drawn == [[18, 22], [21, 19], [19.5, 20.5]]
    (band,) = [patch for patch in style.patches if not hasattr(patch, "get_data")]
    assert (band.get_y(), band.get_y() + band.get_height()) == (12, 28)


def test_k_hats_are_drawn_in_order_against_the_threshold():
    (axes,) = k_hat_figure(K_HAT).axes
    assert axes.get_lines()[0].get_ydata().tolist() == [-0.3, 0.4, 1.2]
    assert level_lines(axes) == [0.7]
    assert axes.get_title() == "33% of 3 groups above 0.7"
    low, high = axes.get_ylim()
    assert low < -0.3
    assert high > 1.2


def test_divergences_are_drawn_largest_first_under_the_number_of_active_units():
    content, style = activity_figure(ACTIVITY).axes
    assert [bar.get_height() for bar in content.patches] == [2.0, 0.5, 0.0]
    assert [bar.get_height() for bar in style.patches] == [1.5, 0.0]
    assert content.get_title() == "Content: 2 of 3 dimensions active"
    assert style.get_title() == "Style: 1 of 2 dimensions active"
    assert "per group" in content.get_ylabel()
    assert "per observation" in style.get_ylabel()


def test_dimensions_that_are_not_active_are_hollow_and_the_legend_names_the_threshold():
    figure = activity_figure(ACTIVITY)
    white = (1.0, 1.0, 1.0, 1.0)
    filled = [[bar.get_facecolor() != white for bar in axes.patches] for axes in figure.axes]
    assert filled == [[True, True, False], [True, False]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "active: variance of loc over 0.01",
        "not active: variance of loc at most 0.01",
    ]


def test_scales_are_drawn_in_the_order_of_their_divergences_beside_the_priors():
    content, style = scale_figure(ACTIVITY).axes
    assert curves(content) == {
        "of one observation": [(1, 0.6), (2, 0.9), (3, 1.0)],
        "of a whole group": [(1, 0.2), (2, 0.5), (3, 1.0)],
    }
    assert curves(style) == {"of one observation": [(1, 0.3), (2, 1.0)]}
    assert 1.0 in level_lines(content)
    assert 1.0 in level_lines(style)


def test_a_collapsed_code_of_one_dimension_draws_its_panel(tmp_path):
    figure = activity_figure(
        ACTIVITY | {"content": 0, "content_dim": 1, "kl_content": [0.0], "variance_content": [0.0]}
    )
    save_figure(figure, tmp_path / "figure.png")
    assert figure.axes[0].get_ylim()[1] > 0.0


def whiskers(axes):
    """Accuracy and standard error of every dot, by the name in the legend."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (bars,) = container.lines
        errors = [(segment[1][1] - segment[0][1]) / 2 for segment in bars.get_segments()]
        found[container.get_label()] = list(
            zip(line.get_ydata(), map(pytest.approx, errors), strict=True)
        )
    return found


def test_few_shot_accuracy_stands_beside_pixels_untrained_and_chance():
    left, right = few_shot_figure(UNSEEN).axes
    assert whiskers(left) == {
        "trained": [(0.72, 0.006), (0.83, 0.005)],
        "pixels": [(0.56, 0.006), (0.69, 0.005)],
        "untrained": [(0.33, 0.006), (0.52, 0.005)],
    }
    assert [label.get_text() for label in left.get_xticklabels()] == ["1 shot", "5 shots"]
    assert 0.2 in level_lines(left)
    # Of pixels, verification was not measured.
    assert sorted(level_lines(right)) == [0.5, 0.61, 0.9]


def test_few_shot_accuracy_of_a_plain_vae_is_drawn_where_there_is_one():
    vae = {"1": {"accuracy": 0.5, "standard_error": 0.01}, "5": None, "verification_auc": 0.7}
    left, right = few_shot_figure(UNSEEN | {"vae": vae}).axes
    assert whiskers(left)["plain VAE"] == [(0.5, 0.01)]
    assert 0.7 in level_lines(right)
    assert "plain VAE" not in whiskers(few_shot_figure(UNSEEN | {"vae": None}).axes[0])


@pytest.mark.parametrize("missing", [["5"], ["1", "5"]])
def test_shots_for_which_groups_were_too_small_are_left_out(missing, tmp_path):
    unseen = copy.deepcopy(UNSEEN)
    for name in ("shots", "untrained", "pixels"):
        unseen[name] |= dict.fromkeys(missing)
    figure = few_shot_figure(unseen)
    save_figure(figure, tmp_path / "figure.png")
    assert all(len(dots) == 2 - len(missing) for dots in whiskers(figure.axes[0]).values())


def test_what_is_compared_is_told_apart_without_colour():
    left, _ = evidence_figure(PROBE | {"vae": VAE}, EVIDENCE).axes
    looks = [(line.get_marker(), line.get_linestyle()) for line in left.get_lines()]
    assert len(set(looks)) == len(looks) == 4


def test_a_swap_is_drawn_where_every_group_has_a_single_observation():
    data = GroupedDataset.from_arrays(torch.rand(4, 5), ["a", "b", "c", "d"])
    save = swap_figure(*make_pair(), data)
    assert save.axes


def test_a_trade_off_is_drawn_where_no_gradient_has_a_signal(tmp_path):
    row = {
        "estimator": "trace", "num_particles": 1, "stage": "trained", "value": -2.0, "gap": 0.5,
        "standard_error": 0.1, "ms_per_step": 3.0,
        "gradient_snr": {"content_encoder": None, "style_encoder": None, "decoder": None},
    }  # fmt: skip
    comparison = {
        "rows": [row],
        "units": "nats",
        "reference": "exact",
        "data": "digits",
        "curves": [],
    }
    save_figure(trade_off_figure(comparison), tmp_path / "trade-off.png")


def test_curves_say_of_what_groups_they_are():
    terms = ElboTerms(-10.0, {"content": 1.0, "style": 2.0}, 64, 4)
    history = History([EpochRecord(epoch, 0.1, -3.0, terms) for epoch in range(1, 4)])
    elbo, _, divergence = training_curves(history).axes
    assert [*curves(elbo)] == ["training, groups of 16"]
    assert [*curves(divergence)] == ["content", "style"]
    assert elbo.get_ylabel() == "nats per observation"


def test_held_out_curves_have_groups_of_their_own_size():
    terms, held_out = ElboTerms(-9.0, {"style": 1.0}, 64, 4), ElboTerms(-9.0, {"style": 1.0}, 25, 3)
    elbo, _, divergence = training_curves(
        History([EpochRecord(1, 0.1, -3.0, terms, held_out)])
    ).axes
    assert [*curves(elbo)] == ["training, groups of 16", "held out, groups of 8.33"]
    assert [*curves(divergence)] == ["style", "style, held out"]


def test_training_is_drawn_on_groups_of_the_held_out_ones_sizes_where_they_were_measured():
    terms = ElboTerms(-9.0, {"style": 1.0}, 64, 4)
    held_out, part = ElboTerms(-9.0, {"style": 1.0}, 24, 3), ElboTerms(-3.0, {"style": 1.0}, 24, 3)
    records = [
        EpochRecord(1, 0.1, -3.0, terms),
        EpochRecord(2, 0.1, -3.0, terms, held_out, training_part=part),
    ]
    elbo, *_ = training_curves(History(records)).axes
    assert curves(elbo) == {
        "training, groups of 8": [(2.0, -4.0 / 24)],
        "held out, groups of 8": [(2.0, -10.0 / 24)],
    }


def test_a_history_of_no_epochs_draws_empty_panels(tmp_path):
    save_figure(training_curves(History()), tmp_path / "figure.png")
