"""What ``pyro-mlvae train`` does: train, evaluate and draw."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

from tqdm import tqdm

from pyro_mlvae import runs
from pyro_mlvae.cli.checked import checked_pair, sized
from pyro_mlvae.cli.finishing import finish
from pyro_mlvae.cli.job import Job, job
from pyro_mlvae.cli.summary import print_results
from pyro_mlvae.cli.train import Train, TrainingHereOptions
from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.data.ranges import is_uint8, looks_like_counts, value_range
from pyro_mlvae.data.scaling import Scaling
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.files import find_path, remove_leftovers
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.likelihoods.names import AUTO
from pyro_mlvae.models import MLVAE
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler, schedule, steps_of_an_epoch
from pyro_mlvae.runs.pairs import choose_network
from pyro_mlvae.runs.run_data import RunData, at_absolute_place, new_data, resumed_data
from pyro_mlvae.runs.split_file import RecordedSplit, save_split
from pyro_mlvae.training import Checkpoint, EpochRecord, History, fit, fused_adam
from pyro_mlvae.training.acceleration import require_possible
from pyro_mlvae.training.outcome import outcome

INTERRUPTED = 130
# What may be given anew to a run that is resumed.
_ANEW = ("steps", "epochs", "patience", "data", "data_root")


def train(command: Train) -> int:
    """Train, evaluate and draw as the options say; returns the exit status."""
    at_once = command.training.observations_at_once
    if at_once is not None:
        require_positive(observations_at_once=at_once)
    # Before processes meet, whatever is wrong with the options.
    config = _config(command)
    with job(command.training.device) as here:
        return _run(command, config, here)


def _run(command: Train, config: RunConfig, here: Job) -> int:
    started = time.perf_counter()
    require_possible(here.device, config.precision, compile=command.training.compile)
    if command.output.resume is None:
        config = sized(config, say=here.first)
    # The first process fetches what is missing; what is there, all of them read at once.
    with here.after_first() if command.data.download else nullcontext():
        data = config.load(download=command.data.download and here.first)
    config = _as_images_allow(command, config, data.event_shape, say=here.first)
    automatic = config.likelihood == AUTO
    config, resume = config.resolved(data), command.output.resume
    found = new_data(config, data) if resume is None else resumed_data(resume, config, data)
    config = found.config
    train, validation, test = found.split.of(data)
    if here.first and automatic and looks_like_counts(train):
        print("x looks like counts: try --likelihood counts", file=sys.stderr)
    # Before anything is written, whatever is wrong with the data, the options, or a user's own
    # pair.
    make_sampler(config, train)
    model, guide, scaling = checked_pair(config, data, train)
    with here.after_first():
        folder = _folder(command, here)
    # What the model and the plain VAE are both trained with.
    common = (found, train, validation, scaling, here)
    history = _train(command.training, folder, config, (model, guide), *common)
    if history.interrupted:
        return INTERRUPTED
    vae = None
    if config.vae and config.model != "vae":
        baseline = config.plain_vae()
        vae = baseline.build(data.event_shape, scaling)
        if _train(command.training, folder / runs.VAE, baseline, vae, *common).interrupted:
            if here.first:
                print(
                    f"the model itself is complete: pyro-mlvae evaluate {folder}", file=sys.stderr
                )
            return INTERRUPTED
    if not here.first:
        return 0
    trained = time.perf_counter() - started
    report, metrics = finish(
        folder,
        config,
        (model, guide),
        (train, test),
        untrained=config.build(data.event_shape, scaling)[1].to(here.device),
        vae=vae,
        trained_groups=present_names(train.group, train.group_names),
        history=history,
    )
    print_results(metrics, config)
    total = time.perf_counter() - started
    print(f"\n{trained:.0f} s of training, {total:.0f} s in all; look at {report}")
    return 0


def config_of(command: Train) -> RunConfig:
    """The config that the options of a command make."""
    return RunConfig.of(command.data, command.model, command.objective, command.training)


def _config(command: Train) -> RunConfig:
    """What to train: as the options say, or as the run that is resumed was."""
    output, config = command.output, config_of(command)
    if (output.out is None) == (output.resume is None):
        raise InputError(
            "name one folder: --out RUN for a new run, or --resume RUN to go on with one"
        )
    if output.resume is None:
        return at_absolute_place(config)
    resumed, _ = runs.load_config(output.resume)
    given = [
        field.name
        for field in fields(RunConfig)
        if getattr(config, field.name) != getattr(resumed, field.name) and field.name not in _ANEW
    ]
    given += [
        name for name, came in (("preset", command.preset), ("overwrite", output.overwrite)) if came
    ]
    if given:
        named = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(
            f"--resume takes everything but --steps, --epochs and --patience, and the data's "
            f"place, from {output.resume / runs.CONFIG}, got {named}: leave that out, or start a "
            "new run with --out"
        )
    return at_absolute_place(config)


def _as_images_allow(
    command: Train, config: RunConfig, event_shape: Sequence[int], *, say: bool
) -> RunConfig:
    """The config with the preset for images that nobody named, or without it for other data."""
    if command.unless_images is None:
        return config
    if choose_network(AUTO, event_shape) != "conv":
        plain = at_absolute_place(config_of(command.unless_images))
        return replace(plain, image_size=config.image_size)
    if say:
        print(
            "whole groups of images are held out: --preset unseen-images is taken, --preset none "
            "leaves it",
            file=sys.stderr,
        )
    return config


def _folder(command: Train, here: Job) -> Path:
    if command.output.resume is not None:
        if here.first:
            remove_leftovers(command.output.resume)
        return command.output.resume
    assert command.output.out is not None
    if not here.first:
        return find_path(command.output.out)
    return runs.prepare_run_folder(command.output.out, overwrite=command.output.overwrite)


def _train(
    options: TrainingHereOptions,
    folder: Path,
    config: RunConfig,
    pair: tuple[MLVAE, GroupedGuide],
    found: RunData,
    train: GroupedDataset,
    validation: GroupedDataset,
    scaling: Scaling,
    here: Job,
) -> History:
    """Train one pair with a progress bar, and write what comes of it into ``folder``."""
    if here.first:
        folder.mkdir(exist_ok=True)
        runs.save_config(
            folder,
            config,
            train.event_shape,
            trained_groups=present_names(train.group, train.group_names),
            value_range=value_range(train),
            scaling=scaling.kind,
            uint8=is_uint8(train),
            data_digest=found.identity.digest,
        )
        save_split(folder, RecordedSplit.record(found.split, found.identity))
    name = "the plain VAE" if config.model == "vae" else "the model"
    desc, quiet = f"training {name}", not here.first
    total = config.budget.get("steps") or config.budget["epochs"] * steps_of_an_epoch(config, train)
    with tqdm(total=total, unit="step", desc=desc, mininterval=0.5, disable=quiet) as bar:

        def show(record: EpochRecord) -> None:
            bar.set_postfix_str(f"{record.terms.per_observation()['elbo']:.2f} nats/observation")
            bar.update(record.steps - bar.n)

        history = fit(
            *pair,
            make_sampler(config, train.to(here.device)),
            **schedule(config, train, validation),
            estimator=config.estimator(),
            optimizer=fused_adam(config.learning_rate),
            penalties=config.penalties(),
            device=here.device,
            precision=config.precision,
            compile=options.compile,
            observations_at_once=options.observations_at_once,
            process_group=here.process_group,
            seed=config.seed,
            callback=show,
            checkpoint=Checkpoint(folder / runs.CHECKPOINT),
        )
    if not here.first:
        return history
    runs.save_weights(folder, *pair)
    history.write_csv(folder / runs.HISTORY)
    if config.validation_fraction and not len(validation):
        few = f"{len(train)} observations are too few to hold some out for validation"
        print(f"{name} was trained to its last step: {few}", file=sys.stderr)
    said = outcome(history)
    if said is not None:
        print(f"{name}: {said}", file=sys.stderr)
    if history.interrupted:
        done = len(history.epochs)
        print(
            f"interrupted after {done} epochs; their weights are in {folder}; to go on: --resume "
            f"{folder}",
            file=sys.stderr,
        )
    return history
