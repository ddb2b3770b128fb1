"""The classifier of a probe: chosen by cross-validation, no group on both sides of a fold."""

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError, ProductOfNormals
from pyro_mlvae.evaluation import Probe, evaluate
from pyro_mlvae.evaluation.classifiers import (
    CLOSED_FORM,
    FOLDS,
    MOST_ITERATED,
    _fitted,
    _folds,
    choose_classifier,
)


def lines(count=300):
    x = np.random.default_rng(0).normal(size=(count, 2))
    return x, (x[:, 0] > 0.0).astype(int)


def rings(count=300):
    angle = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, count)
    labels = np.arange(count) % 2
    radius = 1.0 + 2.0 * labels
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), labels


def test_the_linear_kind_is_chosen_for_lines_and_a_curved_one_for_rings():
    assert choose_classifier(*lines(), lines()[1])[0] == "linear"
    kind, classifier = choose_classifier(*rings(), rings()[1])
    assert kind in ("hidden-layer", "gaussian-svm")
    assert classifier.score(*rings()) == 1.0


def test_every_kind_gives_probabilities_that_sum_to_one():
    x, labels = rings()
    _, classifier = choose_classifier(x, labels, labels)
    np.testing.assert_allclose(classifier.predict_proba(x).sum(1), 1.0)


def test_no_group_is_on_both_sides_of_a_fold_where_labels_are_of_larger_units():
    groups = np.arange(18).repeat(10)
    labels = groups // 6  # six groups a label
    for train, test in _folds(np.zeros((180, 1)), labels, groups, seed=0):
        assert not set(groups[train]) & set(groups[test])
        assert len(set(labels[train])) == 3


def test_folds_split_groups_where_a_label_is_a_group():
    groups = np.arange(3).repeat(10)
    for train, _ in _folds(np.zeros((30, 1)), groups, groups, seed=0):
        assert len(set(groups[train])) == 3


def test_codes_that_know_only_the_group_are_not_chosen_by_it():
    # The label of a group is a coin's, and a code knows its group exactly: across folds there is
    # nothing to read, and the simplest kind is as good as any.
    rng = np.random.default_rng(0)
    groups = np.arange(40).repeat(10)
    labels = rng.permutation(np.arange(40) % 2)[groups]
    codes = rng.normal(size=(40, 2))[groups] + 0.01 * rng.normal(size=(400, 2))
    by_group = choose_classifier(codes, labels, groups)[0]
    leaking = choose_classifier(codes, labels, labels)[0]
    assert leaking in ("hidden-layer", "gaussian-svm")
    assert by_group == "linear"


def test_fewer_observations_than_folds_are_refused():
    x, labels = np.zeros((8, 2)), np.arange(8) // 2
    with pytest.raises(
        InputError, match=rf"{FOLDS}-fold .* at least 3 .* got at most 2 of each in 8: take"
    ):
        choose_classifier(x, labels, labels)
    with pytest.raises(InputError, match=r"3-fold cross-validation"):
        Probe.train(torch.zeros(8, 2), torch.arange(8) // 2)


def test_a_rare_label_is_no_obstacle():
    x, labels = lines(50)
    labels[0] = 7
    kind, classifier = choose_classifier(x, labels, labels)
    assert kind != "gaussian-svm"
    assert set(classifier.classes_) == {0, 1, 7}


def many(labels, each, dim=6):
    """Codes near a place of their label."""
    rng = np.random.default_rng(0)
    y = np.arange(labels).repeat(each)
    codes = rng.normal(size=(labels, dim))[y] + 0.1 * rng.normal(size=(len(y), dim))
    return codes, y


@pytest.mark.parametrize("labels", [MOST_ITERATED, MOST_ITERATED + 1])
def test_many_labels_are_read_in_closed_form(labels):
    codes, y = many(labels, 4)
    kind, classifier = choose_classifier(codes, y, y)
    assert (kind in CLOSED_FORM) == (labels > MOST_ITERATED)
    assert classifier.score(codes, y) > 0.9
    np.testing.assert_allclose(classifier.predict_proba(codes).sum(1), 1.0)
    assert classifier.classes_.tolist() == [*range(labels)]


def test_of_many_labels_what_is_curved_is_read_by_a_kernel():
    codes, y = many(60, 40, dim=2)
    turned = codes * np.where(np.arange(len(y)) % 2, 1.0, -1.0)[:, None]
    kind, classifier = choose_classifier(turned, y, y)
    assert kind == "gaussian-discriminant"
    assert classifier.score(turned, y) > 2.0 * _fitted("discriminant", turned, y, 0).score(
        turned, y
    )


def test_nothing_is_read_of_many_labels_where_there_is_nothing():
    rng = np.random.default_rng(0)
    y = np.arange(60).repeat(20)
    _, classifier = choose_classifier(rng.normal(size=(len(y), 6)), y, y)
    assert classifier.score(rng.normal(size=(len(y), 6)), y) < 0.04


def test_a_single_observation_of_one_of_many_labels_is_no_obstacle():
    codes, y = many(60, 4)
    kind, classifier = choose_classifier(codes[:-3], y[:-3], y[:-3])
    assert kind in CLOSED_FORM
    assert len(classifier.classes_) == 60


@pytest.mark.usefixtures("quick_evaluation")
def test_evaluation_goes_on_without_a_probe_and_says_why():
    from fitting import make_pair

    data = GroupedDataset.from_arrays(torch.rand(12, 5), torch.arange(12) // 3)
    train, test = data.split(0.4, seed=0)
    model, guide = make_pair()
    assert isinstance(guide, ProductOfNormals)
    metrics = evaluate(model, guide, guide, train, test, data_name="small", ks=(1,))
    assert metrics["probe"] is None
    assert "labels are not probed: a probe is chosen by 3-fold" in metrics["warnings"][0]
