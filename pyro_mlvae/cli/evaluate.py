"""``pyro-mlvae evaluate``: measure a trained run again."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pyro_mlvae import runs
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.cli.summary import summary
from pyro_mlvae.devices import find_device
from pyro_mlvae.evaluation import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.runs.progress import training_progress
from pyro_mlvae.runs.report import write_report


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on held-out observations, and write metrics.json and report.html anew."""

    folder: tyro.conf.Positional[Path]
    """The run folder."""
    data: str | None = None
    """Another data set than the run's own; its numbers go to metrics-NAME.json."""
    data_root: str | None = None
    """Where its files are, if not where they were in training."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        """Evaluate; returns the exit status."""
        device = find_device(self.device)
        run = runs.load_run(self.folder)
        source = load_for(run, self.data, self.data_root)
        name, data, own = source.name, source.data, source.own
        # Training saw no group of another data set, so all of it is held out.
        config, train, test = run.config.split(data) if own else (run.config, data, data)
        _, untrained = run.config.build(run.event_shape)
        vae = runs.load_vae(self.folder)
        if vae is not None:
            vae = vae[0].to(device), vae[1].to(device)
        print(f"evaluating on {name}, each number beside its control", file=sys.stderr)
        metrics = evaluate(
            run.model.to(device),
            run.guide.to(device),
            untrained.to(device),
            train.sample(MOST_PROBED, seed=config.seed),
            test.sample(MOST_MEASURED, seed=config.seed),
            vae=vae,
            data_name=name,
            unseen_groups=not own or bool(config.hold_out_groups),
            # Of other data it is not known what was trained on, and so not in how many steps.
            progress=training_progress(self.folder, config, train) if own else None,
            seed=config.seed,
        )
        file = runs.METRICS if own else f"metrics-{re.sub(r'[^-.0-9A-Za-z]+', '-', name)}.json"
        runs.write_json(self.folder / file, metrics)
        # Without the run's own numbers, as after an interrupted training, there is nothing to report on.
        if (self.folder / runs.METRICS).is_file():
            write_report(self.folder)
        print(summary(metrics))
        return 0
