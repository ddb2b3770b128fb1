"""The commands and their options, from the dataclasses that the command line itself is made of."""

import ast
import inspect
import re
import textwrap
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pyro_mlvae.cli.main import PROGRAM, Command

# Options, places of data, a class in a file, and what is quoted.
TYPED = re.compile(
    r"(--[a-z][a-z-]*[a-z]|(?:folder|npz|npy):[A-Z]+|path/to/file\.py:Class|`[^`]+`)"
)


def commands() -> dict[str, type]:
    """The class of each command, by its name."""
    found = {}
    for member in typing.get_args(Command):
        cls, *metadata = typing.get_args(member)
        found[next(str(each.name) for each in metadata if hasattr(each, "name"))] = cls
    return found


def documentation(cls: type) -> dict[str, tuple[str, str]]:
    """The annotation and the docstring of every field, those of base classes too."""
    found = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for statement, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
                text = " ".join(str(after.value.value).split())
                found[statement.target.id] = ast.unparse(statement.annotation), text
    return found


def grouped(cls: type) -> list[tuple[str, list[tuple[Field, str, str]]]]:
    """The options of a command with annotations and docstrings, by the titles of their groups."""
    plain, groups = [], []
    for field in fields(cls):
        if is_dataclass(group := default(field)):
            groups.append((f"{field.name.capitalize()} options", *grouped(type(group))[0][1:]))
        else:
            plain.append((field, *documentation(cls)[field.name]))
    return [("", plain), *groups] if plain else groups


def signature(field: Field, annotation: str) -> str:
    """How the option is written: ``--epochs INT``."""
    if "Positional" in annotation:
        return field.name.upper()
    flag = f"--{field.name.replace('_', '-')}"
    if annotation == "bool":
        return f"{flag}, --no-{flag[2:]}"
    hint = annotation.removesuffix(" | None")
    if hint.startswith("Literal"):
        return f"{flag} {'|'.join(map(str, ast.literal_eval(hint[len('Literal') :])))}"
    if hint.startswith("tuple["):
        return f"{flag} [{hint[len('tuple[') :].split(',')[0].upper()} ...]"
    return f"{flag} {hint.upper()}"


def default(field: Field) -> Any:
    """What holds where the option is not given; MISSING if it must be."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def said(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)


class Commands(SphinxDirective):
    """``commands``: one section for each."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return [self._section(name, cls) for name, cls in commands().items()]

    def _section(self, name: str, cls: type) -> nodes.section:
        section = nodes.section(ids=[f"command-{name}"], names=[name])
        section += nodes.title("", "", nodes.literal("", name))
        boxes = grouped(cls)
        needed = [
            signature(f, a) for _, options in boxes for f, a, _ in options if default(f) is MISSING
        ]
        usage = " ".join([PROGRAM, name, *needed, "[options]"])
        block = nodes.literal_block(usage, usage, language="text")
        for paragraph in inspect.cleandoc(cls.__doc__).split("\n\n"):
            section += nodes.paragraph("", "", *_prose(" ".join(paragraph.split())))
        section += block
        for title, options in boxes:
            if title:
                section += nodes.rubric("", title)
            entries = nodes.definition_list(classes=["options"])
            # Those that must be given come first.
            options.sort(key=lambda option: default(option[0]) is not MISSING)
            for field, annotation, text in options:
                entries += self._entry(name, field, annotation, text)
            section += entries
        return section

    def _entry(self, command: str, field: Field, annotation: str, text: str) -> nodes.Node:
        term = nodes.term("", "", nodes.literal("", signature(field, annotation)))
        term["ids"].append(f"{command}-{field.name.replace('_', '-')}")
        value, line = default(field), nodes.paragraph()
        line += _prose(text)
        if value is MISSING:
            line += [nodes.Text(" "), nodes.emphasis("", "Required.")]
        elif value is True or (value is not False and value is not None and value != ()):
            shown = "on" if value is True else said(value)
            line += [nodes.Text(" Default: "), nodes.literal("", shown), nodes.Text(".")]
        return nodes.definition_list_item("", term, nodes.definition("", line))


def _prose(text: str) -> list[nodes.Node]:
    """Text, with what is typed as it stands set as code; the quotes around `code` are dropped."""
    pieces = TYPED.split(text)
    return [
        nodes.literal("", p.strip("`")) if i % 2 else nodes.Text(p) for i, p in enumerate(pieces)
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
