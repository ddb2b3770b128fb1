"""What ``pyro-mlvae compare-elbos`` does: ELBO estimators side by side."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyro_mlvae import runs
from pyro_mlvae.cli.checked import checked_pair, sized
from pyro_mlvae.cli.compare_elbos import CompareElbos
from pyro_mlvae.cli.comparison_text import advice, comparison_table
from pyro_mlvae.comparison import (
    DEFAULT_ESTIMATORS,
    USUAL,
    Problem,
    check_cases,
    check_settings,
    compare_elbos,
    make_problem,
    mixture_problem,
    solved_problem,
)
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError
from pyro_mlvae.files import write_atomically
from pyro_mlvae.plotting import draw_comparison
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler
from pyro_mlvae.runs.options import ModelOptions, TrainingOptions

ELBOS_JSON, ELBOS_CSV = "elbos.json", "elbos.csv"
# What brings a model of its own, whose evidence is known.
SOLVED = {"linear-gaussian": solved_problem, "mixture": mixture_problem}
# What is measured with --thorough.
THOROUGH: dict[str, Any] = {
    "draws": 400,
    "reference_draws": 800,
    "seconds": 10.0,
    "nested_draws": (200, 100),
}


def compare(options: CompareElbos) -> int:
    """Compare as the options say; returns the exit status."""
    estimators = options.estimators or DEFAULT_ESTIMATORS
    # Before an old comparison is replaced.
    check_cases(estimators, options.particles, options.alpha)
    settings = dict(THOROUGH if options.thorough else USUAL)
    for name in settings:
        if getattr(options, name, None) is not None:
            settings[name] = getattr(options, name)
    checked = {name: settings[name] for name in ("draws", "reference_draws", "seconds")}
    check_settings(options.epochs, **checked, seed=options.seed)
    problem = _problem(options)
    folder = runs.prepare_folder(
        options.out,
        ELBOS_JSON,
        (ELBOS_JSON, ELBOS_CSV),
        what="comparison",
        overwrite=options.overwrite,
    )
    shown = "{l_bar}{bar}| {elapsed}{postfix}"
    with tqdm(unit="part", desc="comparing", bar_format=shown) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        comparison = compare_elbos(
            problem,
            estimators,
            options.particles,
            alpha=options.alpha,
            epochs=options.epochs,
            **settings,
            memory=options.memory,
            seed=options.seed,
            callback=show,
        )
    write_csv(folder / ELBOS_CSV, comparison)
    missing = comparison["sandwich_missing"]
    if missing is not None:
        print(f"the bounds from both sides are missing ({missing})", file=sys.stderr)
    for name, why in draw_comparison(folder / runs.FIGURES, comparison).items():
        print(f"the figure {name} could not be drawn ({why})", file=sys.stderr)
    # Last, for it is by this file that a comparison is known to be whole.
    runs.write_json(folder / ELBOS_JSON, comparison)
    print(comparison_table(comparison))
    print(f"\n{advice(comparison)}")
    print(f"\n{comparison['seconds']:.0f} s in all; look at {folder / runs.FIGURES}")
    return 0


def _problem(options: CompareElbos) -> Problem:
    device, name = find_device(options.device), options.data.data
    sizes: Any = {
        "groups": options.groups,
        "observations_per_group": options.observations_per_group,
    }
    if name in SOLVED:
        own = ModelOptions()
        for option in ("model", "guide", "style_given_content"):
            came = getattr(options.model, option)
            if came != getattr(own, option):
                raise InputError(
                    f"--data {name} brings its own model and guide, got {option} {came!r}: leave "
                    f"that out, or name other data"
                )
        if options.learning_rate is not None:
            sizes["learning_rate"] = options.learning_rate
        # Small and in float64: nothing for a GPU.
        return SOLVED[name](**sizes, seed=options.seed)
    rate = TrainingOptions.learning_rate if options.learning_rate is None else options.learning_rate
    config = RunConfig.of(
        options.data,
        options.model,
        groups_per_batch=options.groups,
        observations_per_group=options.observations_per_group,
        epochs=options.epochs,
        validation_fraction=0.0,
        learning_rate=rate,
        seed=options.seed,
    )
    config = sized(config)
    data = config.load(download=options.data.download)
    config, split = config.split(data)
    train, _, held_out = split.of(data)
    model, guide, _ = checked_pair(config, data, train)
    return make_problem(
        name,
        model.to(device),
        guide.to(device),
        train.to(device),
        held_out,
        **sizes,
        sampler=make_sampler(config, train.to(device)),
        learning_rate=config.learning_rate,
        seed=options.seed,
    )


def write_csv(path: Path, comparison: Mapping[str, Any]) -> None:
    """Write the rows, with a column for each part of the parameters; None is left empty."""
    rows = []
    for row in comparison["rows"]:
        columns: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Mapping):  # as gradient_snr_decoder
                columns |= {f"{name}_{part}": entry for part, entry in value.items()}
            else:
                columns[name] = " ".join(value) if isinstance(value, list) else value
        rows.append(columns)
    with write_atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
