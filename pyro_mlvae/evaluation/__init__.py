"""Evaluation: the held-out ELBO, probes with their controls, and all of it as metrics.json."""

from pyro_mlvae.evaluation.elbo import elbo_metrics, fixed_groups
from pyro_mlvae.evaluation.metrics import evaluate
from pyro_mlvae.evaluation.probe import Probe, evidence_metrics, probe_metrics

__all__ = ["Probe", "elbo_metrics", "evaluate", "evidence_metrics", "fixed_groups", "probe_metrics"]
