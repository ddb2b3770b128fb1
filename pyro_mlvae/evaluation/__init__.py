"""Evaluation: the held-out ELBO, probes with their controls, and all of it as metrics.json."""

from pyro_mlvae.evaluation.activity import activity_metrics, collapse_warnings
from pyro_mlvae.evaluation.diagnostics import diagnostics_metrics
from pyro_mlvae.evaluation.disentanglement import disentanglement_metrics
from pyro_mlvae.evaluation.elbo import elbo_metrics, fixed_groups
from pyro_mlvae.evaluation.evidence import evidence_metrics
from pyro_mlvae.evaluation.factors import KnowsStyle, factor_metrics
from pyro_mlvae.evaluation.few_shot import few_shot_accuracy, nearest_neighbour_accuracy
from pyro_mlvae.evaluation.k_hat import check_k_hat, pareto_k_hat, run_k_hat
from pyro_mlvae.evaluation.metrics import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.evaluation.one_shot import one_shot_error, one_shot_metrics
from pyro_mlvae.evaluation.predictive import decoder_score, log_predictive
from pyro_mlvae.evaluation.probe import Probe, probe_metrics, vae_probe_metrics
from pyro_mlvae.evaluation.progress import TrainingProgress
from pyro_mlvae.evaluation.reader import Reader
from pyro_mlvae.evaluation.sbc import check_sbc, run_sbc
from pyro_mlvae.evaluation.self_consistency import self_consistency_metrics
from pyro_mlvae.evaluation.swaps import swap_metrics
from pyro_mlvae.evaluation.truth import Renders, drawn_anew, truth_metrics
from pyro_mlvae.evaluation.unseen import unseen_metrics
from pyro_mlvae.evaluation.verification import nearest_neighbour_auc, verification_auc

__all__ = [
    "MOST_MEASURED",
    "MOST_PROBED",
    "KnowsStyle",
    "Probe",
    "Reader",
    "Renders",
    "TrainingProgress",
    "activity_metrics",
    "check_k_hat",
    "check_sbc",
    "collapse_warnings",
    "decoder_score",
    "diagnostics_metrics",
    "disentanglement_metrics",
    "drawn_anew",
    "elbo_metrics",
    "evaluate",
    "evidence_metrics",
    "factor_metrics",
    "few_shot_accuracy",
    "fixed_groups",
    "log_predictive",
    "nearest_neighbour_accuracy",
    "nearest_neighbour_auc",
    "one_shot_error",
    "one_shot_metrics",
    "pareto_k_hat",
    "probe_metrics",
    "run_k_hat",
    "run_sbc",
    "self_consistency_metrics",
    "swap_metrics",
    "truth_metrics",
    "unseen_metrics",
    "vae_probe_metrics",
    "verification_auc",
]
