"""Evaluation: the held-out ELBO, probes with their controls, and all of it as metrics.json."""

from pyro_mlvae.evaluation.activity import activity_metrics, collapse_warnings
from pyro_mlvae.evaluation.diagnostics import diagnostics_metrics
from pyro_mlvae.evaluation.elbo import elbo_metrics, fixed_groups
from pyro_mlvae.evaluation.few_shot import few_shot_accuracy, nearest_neighbour_accuracy
from pyro_mlvae.evaluation.k_hat import check_k_hat, pareto_k_hat, run_k_hat
from pyro_mlvae.evaluation.metrics import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.evaluation.probe import Probe, evidence_metrics, probe_metrics
from pyro_mlvae.evaluation.progress import TrainingProgress
from pyro_mlvae.evaluation.sbc import check_sbc, run_sbc
from pyro_mlvae.evaluation.self_consistency import self_consistency_metrics
from pyro_mlvae.evaluation.swaps import Reader, swap_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.evaluation.verification import nearest_neighbour_auc, verification_auc

__all__ = [
    "MOST_MEASURED",
    "MOST_PROBED",
    "Probe",
    "Reader",
    "TrainingProgress",
    "activity_metrics",
    "check_k_hat",
    "check_sbc",
    "collapse_warnings",
    "diagnostics_metrics",
    "elbo_metrics",
    "evaluate",
    "evidence_metrics",
    "few_shot_accuracy",
    "fixed_groups",
    "nearest_neighbour_accuracy",
    "nearest_neighbour_auc",
    "pareto_k_hat",
    "probe_metrics",
    "run_k_hat",
    "run_sbc",
    "self_consistency_metrics",
    "swap_metrics",
    "unseen_metrics",
    "verification_auc",
]
