"""What follows training, in ``train`` and in ``evaluate``: numbers, the report, figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyro_mlvae import runs
from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.models import MLVAE
from pyro_mlvae.plotting import draw_run
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.explorer import save_explorer
from pyro_mlvae.runs.folder import EXPLORER
from pyro_mlvae.runs.history import training_progress
from pyro_mlvae.runs.report import write_report
from pyro_mlvae.training import History

Pair = tuple[MLVAE, GroupedGuide]


def finish(
    folder: Path,
    config: RunConfig,
    pair: Pair,
    parts: tuple[GroupedDataset, GroupedDataset],
    *,
    untrained: GroupedGuide,
    vae: Pair | None,
    trained_groups: Sequence[str],
    history: History | None,
) -> tuple[Path, dict[str, Any]]:
    """Measure a run on its own data, write metrics.json, explorer and report.html, and then draw.

    The run is complete before the first figure is begun, so nothing is lost to a drawing. The parts
    are what it was trained on and what is held out. Returns the path of the report and what was
    measured.
    """
    train, test = parts
    measured = test.sample(MOST_MEASURED, seed=config.seed)
    try:
        print(f"evaluating on {config.data}, each number beside its control", file=sys.stderr)
        metrics = evaluate(
            *pair,
            untrained,
            train.sample(MOST_PROBED, seed=config.seed) if len(train) else None,
            measured,
            vae=vae,
            data_name=config.data,
            progress=training_progress(folder),
            trained_groups=trained_groups,
            seed=config.seed,
        )
        runs.write_json(folder / runs.METRICS, metrics)
        _explorer(folder, pair, measured)
        write_report(folder)
        print("drawing", file=sys.stderr)
        undrawn = draw_run(
            folder / runs.FIGURES,
            *pair,
            measured,
            metrics,
            history=history,
            vae=vae,
            untrained=untrained,
        )
        for name, why in undrawn.items():
            print(f"the figure {name} could not be drawn ({why})", file=sys.stderr)
        # Once more, with the figures.
        return write_report(folder), metrics
    except KeyboardInterrupt:
        print(f"training is complete; for the rest: pyro-mlvae evaluate {folder}", file=sys.stderr)
        raise


def _explorer(folder: Path, pair: Pair, measured: GroupedDataset) -> None:
    """Write what the explorer needs; where that fails, the run goes without."""
    try:
        why = save_explorer(folder, *pair, measured)
        if why:
            print(
                f"the explorer has decoded pictures instead of the decoder: {why}", file=sys.stderr
            )
    except Exception as error:
        (folder / EXPLORER).unlink(missing_ok=True)
        print(f"there is no explorer ({type(error).__name__}: {error})", file=sys.stderr)
