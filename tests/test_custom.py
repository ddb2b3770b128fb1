"""A user's own model and guide, from a file: found, run, checked, kept in the run's folder."""

import json
from pathlib import Path

import pytest
from quick import words, write_arrays

import pyro_mlvae
from pyro_mlvae import MLVAE, GroupedGuide, InputError, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.guides import AverageOfNormals, ThreeLevelGuide
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.custom import load_class

pytestmark = pytest.mark.usefixtures("quick_evaluation")

GUIDE = """
from pyro.distributions import Normal
from pyro_mlvae import GroupedGuide
from pyro_mlvae.ops import normal_from_parameters, product_of_normals

class Careful(GroupedGuide):
    def content_posterior(self, features, groups):
        content = normal_from_parameters(self.split(features)[0])
        size = groups.sizes[groups.group].unsqueeze(-1)
        return Normal(*product_of_normals(
            content.loc, content.scale * size.sqrt(), groups.group, groups.num_groups)).to_event(1)

class Odd:
    pass

def function():
    pass
"""
MODEL = """
import torch
from pyro.distributions import Normal
from pyro_mlvae import MLVAE

class WidePrior(MLVAE):
    def style_prior(self, groups):
        return Normal(self._zero, self._zero + 2.0).expand([self.style_dim]).to_event(1)
"""
SMALL = words("--epochs 1 --hidden 12 --device cpu --no-vae")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "guide.py").write_text(GUIDE)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def test_a_class_is_found_in_its_file_which_is_run_once_and_said_to_be(files, capsys):
    name = f"{files}/guide.py:Careful"
    found = load_class(name, GroupedGuide)
    assert (found.__name__, issubclass(found, GroupedGuide)) == ("Careful", True)
    assert load_class(name, GroupedGuide) is found
    assert capsys.readouterr().err.count("running the code of") == 1


@pytest.mark.parametrize("folder", ["pyro_mlvae/models", "models"])
def test_a_file_of_the_package_gives_the_packages_own_class_by_whatever_path(folder, capsys):
    root = Path(pyro_mlvae.__file__).parents[1]
    assert load_class(f"{root}/{folder}/mlvae.py:MLVAE", MLVAE) is MLVAE
    assert load_class("pyro_mlvae/models/mlvae.py:MLVAE", MLVAE) is MLVAE
    assert load_class(f"{root}/{folder}/__init__.py:MLVAE", MLVAE) is MLVAE
    assert capsys.readouterr().err == ""


def test_a_run_with_ones_own_model_and_guide_keeps_their_code_and_is_opened_anywhere(files, capsys):
    folder = files / "run"
    own = ["--model", f"{files}/model.py:WidePrior", "--guide", f"{files}/guide.py:Careful"]
    data = ["--data", write_arrays(files / "x.npz")]
    assert run(["train", "--out", str(folder), *SMALL, *own, *data]) == 0
    capsys.readouterr()
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "code/model.py:WidePrior"
    assert config["guide"] == "code/guide.py:Careful"
    # What was trained stays what it was, wherever the folder goes and whatever becomes of the
    # files.
    for name in ("model.py", "guide.py"):
        (files / name).unlink()
    moved = folder.rename(files / "moved")
    assert run(["generate", str(moved), "--out", str(files / "new.png")]) == 0
    assert f"running the code of {moved.resolve()}/code/model.py" in capsys.readouterr().err
    opened = runs.load_run(moved)
    assert (type(opened.model).__name__, type(opened.guide).__name__) == ("WidePrior", "Careful")
    runs.prepare_run_folder(moved, overwrite=True)
    assert not list((moved / "code").glob("*.py"))


def test_a_class_of_the_package_is_named_and_not_copied(files):
    name = f"{pyro_mlvae.__path__[0]}/guides/average_of_normals.py:AverageOfNormals"
    config = RunConfig(hidden=(12,), guide=name)
    runs.save_config(files, config, (1, 8, 8))
    runs.save_weights(files, *config.build((1, 8, 8)))
    assert not (files / "code").exists()
    assert type(runs.load_run(files).guide) is AverageOfNormals


def test_a_run_that_names_code_outside_its_folder_is_not_opened(files):
    folder = files / "run"
    folder.mkdir()
    (files / "evil.py").write_text("raise SystemExit('it ran')")
    runs.save_config(folder, RunConfig(hidden=(12,)), (1, 8, 8))
    for outside in (f"{files}/evil.py:Evil", "code/../../evil.py:Evil", "../evil.py:Evil"):
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | {"guide": outside}))
        with pytest.raises(InputError, match=r"names code outside|there is no file"):
            runs.load_run(folder)


@pytest.mark.parametrize(
    ("flag", "name", "says"),
    [
        ("--model", "nowhere/model.py:Model", "there is no file nowhere/model.py"),
        ("--guide", "nowhere/guide.py:Guide", "there is no file nowhere/guide.py"),
        ("--guide", "FILES/guide.py:Nothing",
         "'Nothing' has no class of that name: expected a GroupedGuide; those in the file are "
         "Careful"),
        ("--guide", "FILES/guide.py:Odd", "'Odd' is no class derived from GroupedGuide"),
        ("--guide", "FILES/guide.py:function", "'function' is no class derived from GroupedGuide"),
        ("--model", "FILES/guide.py:Careful", "'Careful' is no class derived from MLVAE"),
        ("--guide", "FILES/model.py:WidePrior",
         "'WidePrior' is no class derived from GroupedGuide"),
        ("--model", "mlvea", "did you mean 'mlvae'"),
        ("--guide", "average-of-normal", "did you mean 'average-of-normals'"),
    ],
)  # fmt: skip
def test_what_names_no_model_or_guide_is_refused_in_one_sentence(files, flag, name, says, refusal):
    name = name.replace("FILES", str(files))
    assert says in refusal("train", "--out", files / "run", flag, name)
    assert not (files / "run").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("this is no python", "failed with SyntaxError"),
        ("import nowhere_to_be_found", "failed with ModuleNotFoundError: No module named"),
        ("raise ValueError('of its own')", "failed with ValueError: of its own"),
        ("raise SystemExit(0)", "failed with SystemExit"),
        (GUIDE.replace("features, groups):", "features, groups, more):"),
         "the guide raises TypeError"),
        (GUIDE.replace("(GroupedGuide):", "(GroupedGuide):\n    def __init__(self): pass\n"),
         "could not be made"),
    ],
    ids=["syntax", "import", "error", "exit", "hook", "init"],
)  # fmt: skip
def test_a_file_that_fails_is_refused_with_what_it_said(files, source, says, refusal):
    (files / "guide.py").write_text(source)
    guide = f"{files}/guide.py:Careful"
    assert says in refusal("train", "--out", files / "run", "--guide", guide)
    assert not (files / "run").exists()


def test_an_unsound_pair_is_refused_before_anything_is_written(files, refusal):
    source = GUIDE.replace(
        "content.loc, content.scale * size", "content.loc.detach(), content.scale * size"
    )
    source = source.replace(
        "groups.group, groups.num_groups)).to", "0 * groups.group, groups.num_groups)).to"
    )
    (files / "guide.py").write_text(source)
    guide = f"{files}/guide.py:Careful"
    assert "content" in refusal("train", "--out", files / "run", "--guide", guide)
    assert not (files / "run").exists()


def test_three_levels_on_data_without_super_groups_is_refused(tmp_path, refusal):
    said = refusal(*words("train --data digits --model three-level --out"), tmp_path / "run")
    assert "a model of three levels needs the super-group of each group" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "guide", ["product-of-normals", "product-with-prior", "average-of-normals"]
)
@pytest.mark.parametrize("model", ["mlvae", "mixture-prior"])
@pytest.mark.parametrize("style_given_content", [False, True])
def test_every_guide_goes_with_every_model_of_two_levels(guide, model, style_given_content, digits):
    config = RunConfig(
        model=model, guide=guide, style_given_content=style_given_content, hidden=(12,)
    )
    built = config.build((1, 8, 8))
    assert (built[1].style_given_content is not None) == style_given_content
    pyro_mlvae.check(*built, digits)


@pytest.fixture(scope="module")
def digits():
    data = pyro_mlvae.load_dataset("digits")
    return next(pyro_mlvae.GroupSampler(data, 3, 3).epoch(0))


def test_a_subclass_in_a_file_has_the_guide_of_the_model_that_it_derives_from(files):
    (files / "model.py").write_text(
        "from pyro_mlvae.models import ThreeLevelMLVAE\nclass Mine(ThreeLevelMLVAE):\n    pass\n"
    )
    _, guide = RunConfig(model=f"{files}/model.py:Mine", hidden=(12,)).build((1, 8, 8))
    assert type(guide) is ThreeLevelGuide


@pytest.mark.parametrize(
    "option",
    words("hsic=-1 beta-style=nan free-bits-content=-0.1 warmup-steps=-5 aggregate-style=inf"),
)
def test_weights_of_penalties_that_are_none_are_refused(option, tmp_path, refusal):
    said = refusal("train", "--out", tmp_path / "run", f"--{option}")
    assert "must be a finite number of at least 0" in said


def test_penalties_are_named_in_the_config_and_leave_the_plain_vae_alone():
    config = RunConfig(
        hsic=3.0, beta_style=2.0, aggregate_style=1.0, free_bits_content=0.1, warmup_steps=7
    )
    names = sorted(type(penalty).__name__ for penalty in config.penalties())
    assert names == ["AggregateStyle", "HSIC", "WeightedKL", "WeightedKL"]
    assert config.plain_vae().penalties() == []
    assert RunConfig().penalties() == []


def test_estimators_are_compared_on_ones_own_pair(files, capsys, refusal):
    own = ["--guide", f"{files}/guide.py:Careful", "--model", f"{files}/model.py:WidePrior"]
    small = words("""
        --epochs 1 --seconds 0 --draws 3 --reference-draws 4 --hidden 12 --estimators trace stl
        --particles 1 --groups 3 --no-memory
    """)
    assert run(["compare-elbos", "--out", str(files / "elbos"), *small, *own]) == 0
    capsys.readouterr()
    solved = words("compare-elbos --data linear-gaussian --out")
    assert "brings its own model and guide" in refusal(*solved, files / "x", *own)
