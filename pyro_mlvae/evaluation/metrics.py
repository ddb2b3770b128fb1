"""metrics.json: everything that is measured of a trained pair, each number beside its control."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation.elbo import elbo_metrics
from pyro_mlvae.evaluation.probe import evidence_metrics, probe_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.inference import device_of
from pyro_mlvae.models import MLVAE

FORMAT_VERSION = 1
KS = (1, 2, 5, 10, 50)
# A probe is a classifier: with as many labels as a set of faces has people, it is none of any use.
MOST_LABELS = 1000
# Of larger data, commands train probes on so many observations, and measure so many held-out ones.
MOST_PROBED, MOST_MEASURED = 60_000, 10_000


def evaluate(
    model: MLVAE,
    guide: GroupedGuide,
    untrained: GroupedGuide,
    train: GroupedDataset,
    test: GroupedDataset,
    *,
    data_name: str,
    unseen_groups: bool = False,
    observations_per_group: int = 10,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a trained model and guide on held-out observations.

    Args:
        model: the trained model.
        guide: its trained guide.
        untrained: a guide of the same shape with its initial weights, for the control.
        train: what probes are trained on; none of it is ever tested on.
        test: held-out observations.
        data_name: what the data set is called.
        unseen_groups: whether the held-out groups were never seen in training: then no probe could
            know their labels, and few-shot classification takes its place.
        observations_per_group: size of the groups in which the ELBO is measured.
        ks: numbers of observations from which content is inferred.
        seed: of every random choice.

    Returns:
        What metrics.json holds; None is what is undefined, or not measured, such as a probe of more
        than 1,000 labels.
    """
    started = time.perf_counter()
    elbo = elbo_metrics(
        model,
        guide,
        test,
        observations_per_group=observations_per_group,
        seed=seed,
        device=device_of(guide),
    )
    probe = None
    if not unseen_groups and len(test.label_names) <= MOST_LABELS:
        probe = {
            "chance": float(test.label.bincount().max()) / len(test),
            **probe_metrics(guide, train, test, ks=ks, seed=seed),
            "untrained": probe_metrics(untrained, train, test, ks=ks, seed=seed),
            "vae": None,
        }
    evidence = evidence_metrics(guide, test, seed=seed)
    return {
        "format_version": FORMAT_VERSION,
        "data": data_name,
        "split": "unseen groups" if unseen_groups else "test",
        "seconds": time.perf_counter() - started,
        "elbo": elbo,
        "probe": probe,
        "evidence": evidence,
        "unseen": unseen_metrics(guide, untrained, test, seed=seed) if unseen_groups else None,
        "swap": None,
        "calibration": None,
        "active_units": None,
    }
