"""Help and errors of spelling: what they show, and what they do without."""

import ast
import io
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_mlvae
from pyro_mlvae import ProductOfNormals, runs
from pyro_mlvae.cli.main import names, parse, run
from pyro_mlvae.cli.streams import LenientStream
from pyro_mlvae.cli.train import Train
from pyro_mlvae.cli.training import config_of
from pyro_mlvae.data.catalogue import EMBEDDED, OWN
from pyro_mlvae.data.named import NAMED
from pyro_mlvae.estimators.names import ESTIMATORS
from pyro_mlvae.likelihoods import LIKELIHOODS, LearnedNormalLikelihood
from pyro_mlvae.runs.config import SAMPLERS, RunConfig
from pyro_mlvae.runs.options import ModelOptions, ObjectiveOptions
from pyro_mlvae.runs.pairs import AUTO, GUIDES, MODELS, NETWORKS
from pyro_mlvae.runs.presets import PRESETS
from pyro_mlvae.training.acceleration import PRECISIONS

SAYS = """
import sys
from pyro_mlvae.cli.main import run
try:
    status = run(sys.argv[1:])
except SystemExit as exit_:
    status = exit_.code or 0
print("status", status, "torch", "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "train --help",
        "compare-elbos --help",
        "swap --help",
        "trian",
        "train --epochs many",
    ],
)
def test_help_and_errors_of_spelling_import_no_torch(arguments):
    command = [sys.executable, "-c", SAYS, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status = 0 if "--help" in arguments else 2
    assert done.stdout.splitlines()[-1] == f"status {status} torch False", done.stderr


def test_every_setting_of_a_config_is_an_option_of_train_by_the_same_default():
    train = Train()
    options = {}
    for group in fields(train)[1:-1]:
        options |= vars(getattr(train, group.name))
    settings = {field.name: field.default for field in fields(RunConfig)}
    assert settings.items() <= options.items()
    others = {"download", "device", "compile", "observations_at_once", "out", "resume", "overwrite"}
    assert set(options) - set(settings) == others


@pytest.mark.parametrize("package", [pyro_mlvae, runs])
def test_names_are_imported_when_used_and_type_checkers_see_the_same_ones(package):
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    [block] = [n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name)]
    seen = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert seen == {
        name: f"{package.__name__}.{module}" for name, module in package._MODULES.items()
    }
    everything: dict = {}
    exec(f"from {package.__name__} import *", everything)
    assert set(package.__all__) <= set(everything) & set(dir(package))
    for name, module in seen.items():
        assert getattr(package, name) is getattr(sys.modules[module], name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_the_packages_parts_are_there_without_being_imported_by_name():
    command = "import pyro_mlvae; print(pyro_mlvae.data.GroupedBatch, pyro_mlvae.ops.mean_of)"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.fixture
def help_of(monkeypatch, capsys):
    """What a command says of itself, on a terminal of so many columns."""

    def shown(command, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as exit_:
            run([*command.split(), "--help"])
        assert not exit_.value.code
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("command", ["", *names()])
def test_help_is_no_wider_than_the_terminal_and_says_plainly_what_options_take(
    command, width, help_of
):
    shown = help_of(command, width)
    lines = shown.splitlines()
    assert len(lines) > 8
    assert max(map(len, lines)) <= width
    assert "None}" not in shown
    assert "{None" not in shown


def test_help_of_train_shows_the_groups_of_options_and_what_each_takes(help_of):
    shown = help_of("train")
    for group in ("data", "model", "objective", "training", "output"):
        assert f" {group} options " in shown
    assert "--preset {none,paper,unseen-images}" in shown
    for option in ("--steps INT", "--alpha FLOAT", "--out PATH", "--hidden [INT"):
        assert option in shown


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("data", [*EMBEDDED, *NAMED, *OWN]),
        ("model", [*MODELS]),
        ("guide", [AUTO, *GUIDES]),
        ("likelihood", [*LIKELIHOODS]),
        ("network", [AUTO, *NETWORKS]),
        ("elbo", [*ESTIMATORS]),
        ("sampler", [*SAMPLERS]),
        ("precision", [*PRECISIONS]),
        ("preset", ["none", *PRESETS]),
    ],
)
def test_help_lists_every_choice_of_an_option_and_its_default(option, known, help_of):
    shown = " ".join(re.sub("[│─╭╮╰╯]", " ", help_of("train")).split())
    said = shown.partition(f" --{option} ")[2].partition("(default: ")[0]
    assert [name for name in known if not re.search(rf"(?<![\w-]){name}(?![\w-])", said)] == []


def test_version_is_that_of_the_package(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"pyro-mlvae {pyro_mlvae.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("trian", "Unrecognized options: trian (did you mean train?); see pyro-mlvae --help"),
        ("train --epoch 3", "Unrecognized options: --epoch, 3 (did you mean --epochs?); see pyro-"),
        ("train --content-dim many", "Error parsing --content-dim: invalid literal for int() with"),
        ("traverse r --out a.png --which both", "invalid choice 'both' for argument '--which'."),
        ("swap r", "Missing from pyro-mlvae swap: --out PATH"),
        ("", "Expected one of {train, "),
    ],
)
def test_an_error_is_printed_once(arguments, sentence, capsys):
    assert run(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"pyro-mlvae: {sentence}")
    assert captured.err.count("\n") == 1
    if arguments.startswith("train "):
        assert "; see pyro-mlvae train --help" in captured.err


def settings_of(*arguments):
    return config_of(parse(["train", "--out", "run", *arguments]))


def test_the_papers_preset_is_the_papers_configuration():
    config = settings_of("--preset", "paper")
    model, guide = config.build((1, 28, 28))
    layers = [*guide.encoder.modules()]
    assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == [500, 40]
    assert [type(m) for m in layers if isinstance(m, nn.Tanh)] == [nn.Tanh]
    assert type(guide) is ProductOfNormals
    assert guide.style_given_content is None
    assert type(model.likelihood) is LearnedNormalLikelihood
    assert (config.content_dim, config.style_dim, config.learning_rate) == (10, 10, 1e-3)
    assert config.penalties() == []
    assert type(config.estimator()) is Trace_ELBO


def test_options_beside_a_preset_override_it_and_the_rest_is_as_by_default():
    config = settings_of("--style-dim", "4", "--preset", "paper", "--hidden")
    assert config == RunConfig(**PRESETS["paper"] | {"style_dim": 4, "hidden": ()})
    assert settings_of() == RunConfig()


HELD_OUT = ["--hold-out-groups", "Korean"]


@pytest.mark.parametrize("held_out", [HELD_OUT, ["--hold-out-fraction", "0.2"]])
def test_whole_groups_that_are_held_out_take_the_preset_for_unseen_images(held_out):
    config = settings_of(*held_out, "--style-dim", "12")
    assert (config.network, config.content_dim, config.style_dim) == ("posed", 32, 12)
    assert config.augment == ("affine",)


@pytest.mark.parametrize(
    "named",
    ["--preset none", "--network conv", "--guide average-of-normals", "--model vae"],
)
def test_it_is_not_taken_where_something_else_is_named(named):
    assert settings_of(*HELD_OUT, *named.split()).content_dim == RunConfig.content_dim


def test_a_preset_names_every_option_of_the_model_and_the_objective():
    names = {field.name for group in (ModelOptions, ObjectiveOptions) for field in fields(group)}
    assert all(names <= set(settings) for settings in PRESETS.values())


@pytest.mark.parametrize(
    ("command", "status"),
    [("datasets | head -1", 0), ("train --help | true", 0), ("trian 2>&1 | true", 20)],
)
def test_a_closed_pipe_ends_nothing(command, status):
    program = f"{sys.executable} -m pyro_mlvae {command}; exit $((10 * PIPESTATUS[0]))"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_without_standard_streams_nothing_is_lost_but_what_is_said(name, monkeypatch):
    monkeypatch.setattr(sys, name, None)
    assert run(["datasets"]) == 0
    assert run(["train", "--epochs", "0", "--out", "run"]) == 2
    with pytest.raises(SystemExit):
        run(["--help"])
    assert getattr(sys, name) is None


def test_a_stream_of_few_characters_shows_question_marks_for_others():
    written = io.TextIOWrapper(io.BytesIO(), "ascii")
    LenientStream(written).write("0.95 ± 0.01\n")
    written.seek(0)
    assert written.read() == "0.95 ? 0.01\n"
