"""What ``pyro-mlvae evaluate`` does: measure a trained run again."""

from __future__ import annotations

import re
import sys

from torch import Tensor

from pyro_mlvae import runs
from pyro_mlvae.cli.evaluate import Evaluate
from pyro_mlvae.cli.hints import hints
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.cli.summary import summary
from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.runs.progress import training_progress
from pyro_mlvae.runs.report import write_report


def evaluate_run(options: Evaluate) -> int:
    """Evaluate as the options say; returns the exit status."""
    device = find_device(options.device)
    run = runs.load_run(options.folder)
    source = load_for(run, options.data, options.data_root)
    name, data, own = source.name, source.data, source.own
    train: GroupedDataset | None
    # Of other data it is not known what was trained on, and so not in how many steps.
    progress = None
    if own:
        config, split = run.config.split(data)
        train, _, test = split.of(data)
        progress = training_progress(options.folder)
    else:
        # All of another data set is held out.
        config, train, test = run.config, _trained_on(run), data
        if isinstance(data.x, Tensor) and data.x.is_floating_point():
            run.model.likelihood.check(data.x)
    trained_groups = run.trained_groups
    if train is not None and not trained_groups:
        trained_groups = present_names(train.group, train.group_names)
    vae = runs.load_vae(options.folder)
    if vae is not None:
        vae = vae[0].to(device), vae[1].to(device)
    print(f"evaluating on {name}, each number beside its control", file=sys.stderr)
    metrics = evaluate(
        run.model.to(device),
        run.guide.to(device),
        run.untrained().to(device),
        None if train is None else train.sample(MOST_PROBED, seed=config.seed),
        test.sample(MOST_MEASURED, seed=config.seed),
        vae=vae,
        data_name=name,
        progress=progress,
        trained_groups=trained_groups,
        other_data=not own,
        seed=config.seed,
    )
    file = runs.METRICS if own else f"metrics-{re.sub(r'[^-.0-9A-Za-z]+', '-', name)}.json"
    runs.write_json(options.folder / file, metrics)
    # Without the run's own numbers, as after an interrupted training, there is nothing to report on.
    if (options.folder / runs.METRICS).is_file():
        write_report(options.folder)
    print(summary(metrics))
    for hint in hints(metrics, hsic=config.hsic):
        print(f"next: {hint}")
    return 0


def _trained_on(run: runs.Run) -> GroupedDataset | None:
    """What the run was trained on, for probes; None where it is not to be had any more."""
    try:
        data = run.config.load()
        return data.subset(run.config.split(data)[1].train)
    except InputError as error:
        if not run.trained_groups:
            raise InputError(
                f"the run does not say which groups it was trained on, and its own data cannot be read "
                f"({error}): put that where it was, or train the run again"
            ) from None
        print(f"the run's own data cannot be read, so no probe is trained ({error})", file=sys.stderr)
        return None
