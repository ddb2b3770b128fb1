"""Classes that a user names by file: ``path/to/file.py:Class``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from pyro_mlvae.errors import InputError
from pyro_mlvae.files import find_path

PACKAGE = Path(__file__).resolve().parents[1]


def is_custom(name: str) -> bool:
    """Whether ``name`` names a class in a file, not one of the library's by its short name."""
    return ".py:" in name


def custom_file(name: str) -> Path | None:
    """The user's file that ``name`` names, or None if it is one of this package's own.

    Raises:
        InputError: there is no such file.
    """
    path = _named_file(name)
    return None if path.is_relative_to(PACKAGE) else path


def _named_file(name: str) -> Path:
    path = find_path(name.rpartition(":")[0])
    if not path.is_file() and path.parts[:1] == (PACKAGE.name,):
        path = PACKAGE.parent / path
    if not path.is_file():
        raise InputError(f"{name}: there is no file {path}, expected path/to/file.py:Class")
    return path.resolve()


def load_class(name: str, base: type) -> Any:
    """The class that ``name`` names, which must be derived from ``base``.

    The file is run, once, which stderr is told. A file of this package gives the package's own
    class, by whatever path or link it is named, and never a second copy of it.

    Raises:
        InputError: there is no such file, running it fails, or it has no such class.
    """
    class_name = name.rpartition(":")[2]
    file = _named_file(name)
    if file.is_relative_to(PACKAGE):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    else:
        module = _run(file)
    found = getattr(module, class_name, None)
    if isinstance(found, type) and issubclass(found, base):
        return found
    there = sorted(
        key
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    )
    known = f"; those in the file are {', '.join(there)}" if there else ""
    what = (
        "has no class of that name"
        if found is None
        else f"is no class derived from {base.__name__}"
    )
    raise InputError(f"{name}: {class_name!r} {what}: expected a {base.__name__}{known}")


@functools.cache
def _run(file: Path) -> Any:
    print(f"running the code of {file}", file=sys.stderr)
    # A name of its own, under which classes can be found again by what pickles them.
    name = f"pyro_mlvae_custom_{file.stem}_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"running {file} failed with {type(error).__name__}: {_first_line(error)}; correct the "
            "file"
        ) from error
    return module


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no message"])[0]
