"""Help and errors of spelling: what they show, and what they do without."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import pyro_mlvae
from pyro_mlvae import runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.cli.train import Train
from pyro_mlvae.runs.config import RunConfig

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
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["compare-elbos", "--help"], 0),
        (["swap", "--help"], 0),
        (["trian"], 2),
        (["train", "--epoch", "3"], 2),
        (["train", "--epochs", "many"], 2),
    ],
)
def test_help_and_errors_of_spelling_import_no_torch(arguments, status):
    command = [sys.executable, "-c", SAYS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == f"status {status} torch False", done.stderr


def test_help_shows_the_groups_of_options(capsys):
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    shown = capsys.readouterr().out
    for group in ("data", "model", "objective", "training", "output"):
        assert f" {group} options " in shown


def test_every_setting_of_a_config_is_an_option_of_train_by_the_same_default():
    train = Train()
    options = {}
    for group in fields(train):
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
    assert seen == {name: f"{package.__name__}.{module}" for name, module in package._MODULES.items()}
    everything: dict = {}
    exec(f"from {package.__name__} import *", everything)
    assert set(package.__all__) <= set(everything) & set(dir(package))
    for name, module in seen.items():
        assert getattr(package, name) is getattr(sys.modules[module], name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_the_packages_parts_are_there_without_being_imported_by_name():
    command = "import pyro_mlvae; print(pyro_mlvae.data.GroupedBatch, pyro_mlvae.ops.mean_of)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
