"""Formulas as MathML, by the converter of docutils: nothing to fetch, and no JavaScript."""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

# Spellings that the converter does not know, and what it knows for them.
SPELLINGS = [
    (re.compile(r"\\([bB]ig)(?![a-zA-Z])\s*"), r"\\\1l"),
    (re.compile(r"\\textstyle\b\s*"), ""),
]


def mathml(formula: str, *, block: bool) -> str:
    """The formula, written in LaTeX, as a ``<math>`` element."""
    for pattern, known in SPELLINGS:
        formula = pattern.sub(known, formula)
    return tex2mathml(formula.strip(), as_block=block)


def visit_math(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula, in a line of text or on lines of its own."""
    block = isinstance(node, nodes.math_block)
    try:
        written = mathml(node.astext(), block=block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        written = escape(node.astext())
    translator.body.append(f'<div class="formula">{written}</div>' if block else written)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, which conf.py chooses."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
