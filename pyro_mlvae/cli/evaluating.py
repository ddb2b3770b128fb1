"""What ``pyro-mlvae evaluate`` does: measure a trained run again."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from pyro_mlvae import runs
from pyro_mlvae.cli.checked import check_values
from pyro_mlvae.cli.finishing import finish
from pyro_mlvae.cli.operate import Evaluate
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.cli.summary import print_results
from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation import MOST_MEASURED, MOST_PROBED, evaluate
from pyro_mlvae.runs.history import load_history
from pyro_mlvae.runs.report import write_report
from pyro_mlvae.runs.run_data import data_of_run


def evaluate_run(options: Evaluate) -> int:
    """Evaluate as the options say; returns the exit status."""
    device = find_device(options.device)
    run = runs.load_run(options.folder)
    source = load_for(run, options.data, options.data_root)
    pair = run.model.to(device), run.guide.to(device)
    vae = runs.load_vae(options.folder)
    if vae is not None:
        vae = vae[0].to(device), vae[1].to(device)
    test = source.data.subset(source.held_out())
    if source.own:
        train = source.data.subset(source.split.train)
        report, metrics = finish(
            options.folder,
            replace(run.config, data=source.name),
            pair,
            (train, test),
            untrained=run.untrained().to(device),
            vae=vae,
            trained_groups=run.trained_groups or present_names(train.group, train.group_names),
            history=load_history(options.folder),
        )
        print_results(metrics, run.config)
        print(f"\nlook at {report}")
        return 0
    check_values(run.model, test)
    trained_on = _trained_on(run)
    trained_groups = run.trained_groups
    if trained_on is not None and not trained_groups:
        trained_groups = present_names(trained_on.group, trained_on.group_names)
    print(f"evaluating on {source.name}, each number beside its control", file=sys.stderr)
    metrics = evaluate(
        *pair,
        run.untrained().to(device),
        None if trained_on is None else trained_on.sample(MOST_PROBED, seed=run.config.seed),
        test.sample(MOST_MEASURED, seed=run.config.seed),
        vae=vae,
        data_name=source.name,
        trained_groups=trained_groups,
        other_data=True,
        seed=run.config.seed,
    )
    name = re.sub(r"[^-.0-9A-Za-z]+", "-", source.name)
    runs.write_json(options.folder / f"metrics-{name}.json", metrics)
    # Without the run's own numbers, as after an interrupted training, there is nothing to report
    # on.
    if (options.folder / runs.METRICS).is_file():
        write_report(options.folder)
    print_results(metrics, run.config)
    return 0


def _trained_on(run: runs.Run) -> GroupedDataset | None:
    """What the run was trained on, for probes; None where it is not to be had any more."""
    try:
        data = run.config.load()
        train = data_of_run(run.config, run.recorded, run.data_digest, data).split.train
        return data.subset(train) if len(train) else None
    except InputError as error:
        if not run.trained_groups:
            raise InputError(
                f"the run does not say which groups it was trained on, and its own data cannot be "
                f"read ({error}): put that where it was, or train the run again"
            ) from None
        print(
            f"the run's own data cannot be read, so no probe is trained ({error})", file=sys.stderr
        )
        return None
