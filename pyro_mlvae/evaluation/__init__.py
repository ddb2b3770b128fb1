"""Evaluation: the held-out ELBO, probes with their controls, and all of it as metrics.json."""

from pyro_mlvae.evaluation.activity import activity_metrics, collapse_warnings
from pyro_mlvae.evaluation.calibration import calibration_metrics
from pyro_mlvae.evaluation.elbo import elbo_metrics, fixed_groups
from pyro_mlvae.evaluation.few_shot import few_shot_accuracy, nearest_neighbour_accuracy
from pyro_mlvae.evaluation.metrics import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.evaluation.probe import Probe, evidence_metrics, probe_metrics
from pyro_mlvae.evaluation.swaps import Reader, swap_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.evaluation.verification import nearest_neighbour_auc, verification_auc

__all__ = [
    "MOST_MEASURED",
    "MOST_PROBED",
    "Probe",
    "Reader",
    "activity_metrics",
    "calibration_metrics",
    "collapse_warnings",
    "elbo_metrics",
    "evaluate",
    "evidence_metrics",
    "few_shot_accuracy",
    "fixed_groups",
    "nearest_neighbour_accuracy",
    "nearest_neighbour_auc",
    "probe_metrics",
    "swap_metrics",
    "unseen_metrics",
    "verification_auc",
]
