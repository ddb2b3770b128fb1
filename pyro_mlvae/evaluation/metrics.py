"""metrics.json: everything that is measured of a trained pair, each number beside its control."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Normal

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.evaluation.activity import activity_metrics, collapse_warnings
from pyro_mlvae.evaluation.diagnostics import diagnostics_metrics
from pyro_mlvae.evaluation.elbo import elbo_metrics
from pyro_mlvae.evaluation.probe import evidence_metrics, probe_metrics, vae_probe_metrics
from pyro_mlvae.evaluation.progress import TrainingProgress
from pyro_mlvae.evaluation.swaps import Reader, swap_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import moments

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
    vae: tuple[MLVAE, GroupedGuide] | None = None,
    data_name: str,
    unseen_groups: bool = False,
    observations_per_group: int = 10,
    ks: Sequence[int] = KS,
    progress: TrainingProgress | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a trained model and guide on held-out observations.

    Args:
        model: the trained model.
        guide: its trained guide.
        untrained: a guide of the same shape with its initial weights, for the control.
        train: what probes are trained on; none of it is ever tested on.
        test: held-out observations.
        vae: a VAE of the same networks with its guide, trained on the same data, to be compared with.
        data_name: what the data set is called.
        unseen_groups: whether the held-out groups were never seen in training: then no probe could
            know their labels, and few-shot classification takes its place.
        observations_per_group: size of the groups in which the ELBO is measured.
        ks: numbers of observations from which content is inferred.
        progress: what training came to, for warnings that tell undertraining from collapse.
        seed: of every random choice.

    Returns:
        What metrics.json holds; None is what is undefined, or not measured, such as a probe of more
        than 1,000 labels.
    """
    started = time.perf_counter()
    fixed: dict[str, Any] = {"observations_per_group": observations_per_group, "seed": seed}
    elbo = elbo_metrics(model, guide, test, **fixed)
    elbo["vae"] = elbo_metrics(*vae, test, **fixed) if vae else None
    codes = encode(guide, test)
    # Nothing varies between one observation.
    activity = _activity(guide, codes, test, observations_per_group, seed) if len(test) > 1 else None
    readable = not unseen_groups and 1 < len(train.label.unique()) <= MOST_LABELS
    control = None if vae is None else vae[1]
    return {
        "format_version": FORMAT_VERSION,
        "data": data_name,
        "split": "unseen groups" if unseen_groups else "test",
        "elbo": elbo,
        "probe": _probes(guide, untrained, control, train, test, ks, seed) if readable else None,
        "evidence": evidence_metrics(guide, test, codes=codes, seed=seed),
        "unseen": unseen_metrics(guide, untrained, test, vae=control, seen=train, seed=seed)
        if unseen_groups
        else None,
        "swap": _swaps(model, guide, vae, train, test, codes, seed) if readable else None,
        "diagnostics": diagnostics_metrics(model, guide, test, codes, **fixed),
        "active_units": activity,
        "warnings": collapse_warnings(activity, progress) if activity else [],
        "seconds": time.perf_counter() - started,
    }


def _probes(
    guide: GroupedGuide,
    untrained: GroupedGuide,
    vae: GroupedGuide | None,
    train: GroupedDataset,
    test: GroupedDataset,
    ks: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    return {
        "chance": float(test.label.bincount().max()) / len(test),
        **probe_metrics(guide, train, test, ks=ks, seed=seed),
        "untrained": probe_metrics(untrained, train, test, ks=ks, seed=seed),
        "vae": None if vae is None else vae_probe_metrics(vae, train, test, ks=ks, seed=seed),
    }


def _swaps(
    model: MLVAE,
    guide: GroupedGuide,
    vae: tuple[MLVAE, GroupedGuide] | None,
    train: GroupedDataset,
    test: GroupedDataset,
    codes: Codes,
    seed: int,
) -> dict[str, Any] | None:
    reader = Reader.train(train, seed=seed)
    found = swap_metrics(model, guide, test, reader, codes=codes, seed=seed)
    if found is None:
        return None
    return {
        **found,
        "reader_accuracy": reader.accuracy(test),
        "vae": swap_metrics(*vae, test, reader, seed=seed) if vae else None,
    }


def _activity(
    guide: GroupedGuide, codes: Codes, test: GroupedDataset, observations_per_group: int, seed: int
) -> dict[str, Any]:
    """Active units, and the divergence by dimension in the groups of the ELBO."""
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(test.group, observations_per_group, generator)
    of_groups = Normal(*moments(group_content(guide, codes, index, group)))
    return activity_metrics(codes.content_normal, codes.style_normal, of_groups)
