"""metrics.json: everything that is measured of a trained pair, each number beside its control."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import torch
from pyro.distributions import Normal

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.activity import activity_metrics, collapse_warnings
from pyro_mlvae.evaluation.classifiers import require_readable
from pyro_mlvae.evaluation.diagnostics import diagnostics_metrics
from pyro_mlvae.evaluation.elbo import elbo_metrics
from pyro_mlvae.evaluation.evidence import evidence_metrics
from pyro_mlvae.evaluation.factors import factor_metrics
from pyro_mlvae.evaluation.known import in_known_groups, labelled_like, split_name
from pyro_mlvae.evaluation.probe import probe_metrics, vae_probe_metrics
from pyro_mlvae.evaluation.progress import TrainingProgress
from pyro_mlvae.evaluation.reader import Reader
from pyro_mlvae.evaluation.swaps import swap_metrics
from pyro_mlvae.evaluation.truth import drawn_anew, truth_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import moments

FORMAT_VERSION = 2
KS = (1, 2, 5, 10, 50)
# A probe is a classifier: with as many labels as a set of faces has people, it is none of any use.
MOST_LABELS = 1000
# Of larger data, commands train probes on so many observations, and measure so many held-out ones.
MOST_PROBED, MOST_MEASURED = 60_000, 10_000


@torch.no_grad()
def evaluate(
    model: MLVAE,
    guide: GroupedGuide,
    untrained: GroupedGuide,
    train: GroupedDataset | None,
    test: GroupedDataset,
    *,
    vae: tuple[MLVAE, GroupedGuide] | None = None,
    data_name: str,
    trained_groups: Collection[str] | None = None,
    other_data: bool = False,
    observations_per_group: int = 10,
    ks: Sequence[int] = KS,
    progress: TrainingProgress | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a trained model and guide on held-out observations.

    Those in groups that training saw are probed, by classifiers of their labels. No probe could
    know the labels of the others: they get few-shot classification and verification.

    Args:
        model: the trained model.
        guide: its trained guide.
        untrained: a guide of the same shape with its initial weights, for the control.
        train: what probes are trained on; none of it is ever tested on. None where it is not at
            hand: then nothing is probed.
        test: held-out observations.
        vae: a VAE of the same networks with its guide, trained on the same data, to be compared
            with.
        data_name: what the data set is called.
        trained_groups: the names, as text, of the groups that training saw; by default those of
            ``train``.
        other_data: whether ``test`` is of another data set than the run's own; it names the split.
        observations_per_group: size of the groups in which the ELBO is measured.
        ks: numbers of observations from which content is inferred.
        progress: what training came to, for warnings that tell undertraining from collapse.
        seed: of every random choice.

    Returns:
        What metrics.json holds; None is what is undefined, or not measured, such as a probe of more
        than 1,000 labels.
    """
    started = time.perf_counter()
    if trained_groups is None:
        trained_groups = () if train is None else present_names(train.group, train.group_names)
    is_known = in_known_groups(test, trained_groups)
    known, unseen = (test.subset(part.nonzero().flatten()) for part in (is_known, ~is_known))
    fixed: dict[str, Any] = {"observations_per_group": observations_per_group, "seed": seed}
    elbo = elbo_metrics(model, guide, test, **fixed)
    elbo["vae"] = elbo_metrics(*vae, test, **fixed) if vae else None
    codes = encode(guide, test)
    # Nothing varies between one observation.
    activity = (
        _activity(guide, codes, test, observations_per_group, seed) if len(test) > 1 else None
    )
    control = None if vae is None else vae[1]
    readable, warnings = _readable(train, known)
    # Where training saw none of the groups, new observations of those that it saw are compared
    # with.
    anew = None if train is None or len(known) else drawn_anew(train, seed=seed)
    tests = {"seen": known if len(known) else anew, "unseen": unseen if len(unseen) else None}
    factors = None if train is None else factor_metrics(guide, train, tests, seed=seed)
    probed: dict[str, Any] = {"ks": ks, "seed": seed}
    return {
        "format_version": FORMAT_VERSION,
        "data": data_name,
        "split": split_name(is_known, other_data=other_data),
        "elbo": elbo,
        "probe": None
        if train is None or readable is None
        else {
            "chance": float(readable.label.bincount().max()) / len(readable),
            **probe_metrics(guide, train, readable, **probed),
            "untrained": probe_metrics(untrained, train, readable, **probed),
            "vae": None
            if control is None
            else vae_probe_metrics(control, train, readable, **probed),
        },
        "evidence": evidence_metrics(
            guide, test, untrained=untrained, vae=control, codes=codes, seed=seed
        ),
        "unseen": unseen_metrics(guide, untrained, unseen, vae=control, seen=train, seed=seed)
        if len(unseen)
        else None,
        "swap": _swaps(
            model, guide, vae, train, readable or test, anew, readable is not None, seed
        ),
        "factors": None
        if train is None or factors is None
        else {
            **factors,
            "untrained": factor_metrics(untrained, train, tests, seed=seed),
            "vae": None
            if control is None
            else factor_metrics(control, train, tests, whole=True, seed=seed),
        },
        "diagnostics": diagnostics_metrics(model, guide, test, codes, **fixed),
        "active_units": activity,
        "warnings": [*warnings, *(collapse_warnings(activity, progress) if activity else [])],
        "seconds": time.perf_counter() - started,
    }


def _readable(
    train: GroupedDataset | None, known: GroupedDataset
) -> tuple[GroupedDataset | None, list[str]]:
    """What of ``known`` a probe can read, labelled as ``train`` is; or None, and why."""
    if train is None or not 1 < len(train.label.unique()) <= MOST_LABELS or not len(known):
        return None, []
    try:
        require_readable(train.label.numpy())
    except InputError as error:
        return None, [f"labels are not probed: {error}"]
    readable = labelled_like(known, train)
    return (readable, []) if len(readable) else (None, [])


def _swaps(
    model: MLVAE,
    guide: GroupedGuide,
    vae: tuple[MLVAE, GroupedGuide] | None,
    train: GroupedDataset | None,
    test: GroupedDataset,
    anew: GroupedDataset | None,
    readable: bool,
    seed: int,
) -> dict[str, Any] | None:
    """Swaps of the model and of the VAE; the reader knows only the labels of training."""
    reader = Reader.train(train, seed=seed) if readable and train is not None else None

    def measured(model: MLVAE, guide: GroupedGuide) -> dict[str, Any] | None:
        codes = encode(guide, test)
        found = swap_metrics(model, guide, test, reader, codes=codes, seed=seed)
        truth = truth_metrics(model, guide, test, train=train, codes=codes, seed=seed)
        of_seen = (
            None if anew is None else truth_metrics(model, guide, anew, train=train, seed=seed)
        )
        return found and {**found, "truth": truth and {**truth, "seen": of_seen}}

    found = measured(model, guide)
    return found and {
        **found,
        "reader_accuracy": None if reader is None else reader.accuracy(test),
        "vae": None if vae is None else measured(*vae),
    }


def _activity(
    guide: GroupedGuide, codes: Codes, test: GroupedDataset, observations_per_group: int, seed: int
) -> dict[str, Any]:
    """Active units, and the divergence by dimension in the groups of the ELBO."""
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(test.group, observations_per_group, generator)
    of_groups = Normal(*moments(group_content(guide, codes, index, group)))
    return activity_metrics(codes.content_normal, codes.style_normal, of_groups)
