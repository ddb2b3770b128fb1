"""The package: imports run one way, importing it changes nothing, names are documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_mlvae

PACKAGE = Path(pyro_mlvae.__file__).parent

# A module, by its first name below the package, may import from its own layer and those before it.
LAYERS = [
    ["__version__", "errors"],
    ["files", "devices"],
    ["ops"],
    ["data"],
    ["likelihoods"],
    ["networks"],
    ["models"],
    ["guides"],
    ["solved"],
    ["estimators"],
    ["penalties"],
    ["training"],
    ["latents"],
    ["checking"],
    ["evaluation"],
    ["comparison"],
    ["plotting"],
    ["runs"],
    ["sklearn"],
    ["cli"],
    ["__main__"],
]
LAYER = {name: i for i, layer in enumerate(LAYERS) for name in layer}
STRANGERS = [{"models", "guides"}]

MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


def place(path: Path) -> str:
    """The first name below the package: ``models`` of models/mlvae.py, ``batch`` of batch.py."""
    return path.parts[0].removesuffix(".py")


def imported(path: Path, source: str):
    """``(line, place)`` of every import of the package's own, wherever in the module it stands."""
    name = ["pyro_mlvae", *path.with_suffix("").parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A relative import starts from the module's own name, less one part for each dot.
            start = name[: len(name) - node.level] if node.level else []
            start = start + (node.module.split(".") if node.module else [])
            targets = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "pyro_mlvae":
                yield node.lineno, target[1] if len(target) > 1 else "__init__"


def violations(path: Path, source: str):
    """Sentences about the imports of one module that run the wrong way."""
    own = place(path)
    if own not in LAYER:
        return [f"{path} is in no layer: give {own!r} its place in LAYERS"]
    found = []
    for line, other in imported(path, source):
        if other not in LAYER:
            found.append(f"{path}:{line} imports {other!r}, which is no module in LAYERS")
        elif LAYER[other] > LAYER[own]:
            found.append(f"{path}:{line} imports {other!r}, of a layer above its own")
        elif other != own and any({own, other} <= pair for pair in STRANGERS):
            found.append(
                f"{path}:{line} imports {other!r}: models and guides never import each other"
            )
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_one_way(path):
    found = violations(path, (PACKAGE / path).read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "sentence"),
    [
        ("ops/normals.py", "from pyro_mlvae.models import MLVAE", "layer above"),
        ("ops/normals.py", "import pyro_mlvae.models.mlvae", "layer above"),
        ("ops/normals.py", "def f():\n    from pyro_mlvae import training", "layer above"),
        (
            "ops/normals.py",
            "if TYPE_CHECKING:\n    from pyro_mlvae.data import Sampler",
            "layer above",
        ),
        ("ops/normals.py", "from ..models import MLVAE", "layer above"),
        ("data/grouping.py", "from ..models import MLVAE", "layer above"),
        ("data/__init__.py", "from ..models import MLVAE", "layer above"),
        ("guides/base.py", "from pyro_mlvae.models import MLVAE", "never import each other"),
        ("cli/main.py", "from pyro_mlvae import MLVAE", "no module in LAYERS"),
        ("cli/main.py", "import pyro_mlvae", "no module in LAYERS"),
        ("new.py", "", "in no layer"),
    ],
)
def test_an_import_that_runs_the_wrong_way_is_found(path, source, sentence):
    assert sentence in "".join(violations(Path(path), source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/mlvae.py", "from pyro_mlvae.data import GroupedBatch\nimport torch, pyro"),
        ("data/samplers.py", "from .dataset import GroupedDataset\nfrom ..ops import Evidence"),
        ("data/__init__.py", "from .dataset import GroupedDataset"),
    ],
)
def test_an_import_that_runs_the_right_way_is_left_alone(path, source):
    assert violations(Path(path), source) == []


IMPORT = """
import random, sys
import numpy, pyro, torch

def state():
    state = {
        "torch dtype": torch.get_default_dtype(),
        "torch device": torch.get_default_device(),
        "torch randomness": torch.get_rng_state().tolist(),
        "torch validation": torch.distributions.Distribution._validate_args,
        "torch gradients": torch.is_grad_enabled(),
        "torch determinism": torch.are_deterministic_algorithms_enabled(),
        "torch threads": torch.get_num_threads(),
        "python randomness": random.getstate(),
        "numpy randomness": numpy.random.get_state(legacy=True)[1].tolist(),
        "numpy errors": numpy.geterr(),
        "pyro settings": pyro.settings.get(),  # its validation among them
        "pyro parameters": list(pyro.get_param_store().keys()),
        "pyro handlers": list(pyro.poutine.runtime._PYRO_STACK),
    }
    return {name: str(value) for name, value in state.items()}

before, modules = state(), set(sys.modules)
import pyro_mlvae
after = state()
print("changed:", [name for name in before if before[name] != after[name]])
print("parameters:", after["pyro parameters"])
heavy = {"matplotlib", "torchvision", "sklearn", "tyro"}
print("imported:", sorted(heavy & (set(sys.modules) - modules)))
"""


@pytest.fixture(scope="module")
def imports():
    """What a fresh interpreter, without pytest's hooks, says of ``import pyro_mlvae``."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_the_package_changes_no_global_state(imports):
    assert "changed: []" in imports
    assert "parameters: []" in imports


def test_importing_the_package_imports_nothing_heavy(imports):
    assert "imported: []" in imports


# Imported when they are first used, and not by `import *`.
LAZY = ["MultiLevelVAE"]
PUBLIC = sorted([*pyro_mlvae.__all__, *LAZY])
# A base class, which is not for direct use.
WITHOUT_EXAMPLE = {"GroupedGuide"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is(name):
    # Its own docstring: neither inherited, nor the signature that a dataclass writes by itself.
    documented = getattr(pyro_mlvae, name).__doc__
    assert documented, f"{name} has no docstring"
    assert not documented.startswith(f"{name}("), f"{name} has only a generated docstring"


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in WITHOUT_EXAMPLE])
def test_every_public_class_and_function_shows_its_use(name):
    value = getattr(pyro_mlvae, name)
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    texts = [value, *vars(value).values()] if inspect.isclass(value) else [value]
    assert any(">>>" in (inspect.getdoc(text) or "") for text in texts), f"{name} has no example"


def test_public_names_are_sorted_unique_and_there():
    assert len(set(PUBLIC)) == len(pyro_mlvae.__all__) + len(LAZY)
    assert set(PUBLIC) <= set(dir(pyro_mlvae))
    assert set(PUBLIC) >= WITHOUT_EXAMPLE, "an exception that is no public name"


def test_no_module_is_longer_than_250_lines():
    package = Path(pyro_mlvae.__file__).parent
    lengths = {file.name: len(file.read_text().splitlines()) for file in package.rglob("*.py")}
    assert not {name: length for name, length in lengths.items() if length > 250}
