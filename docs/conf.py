"""The documentation site: ``sphinx-build -W --keep-going -n docs docs/_build``.

It is built without the network and read without it: formulas are MathML, which browsers draw by
themselves, and no other project's documentation is asked for anything.
"""

import sys
from pathlib import Path

import pyro_mlvae

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pyro-mlvae"
author = "the authors of pyro-mlvae"
release = version = pyro_mlvae.__version__
html_title = f"pyro-mlvae {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "api",
    "command_line",
    "mathml",
    "repository_links",
]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# The tutorial is a notebook in text: it is run when the site is built, and an error in it ends the
# build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "remove"  # what libraries say of the kernel, with paths of this machine
nb_ipywidgets_js = {}  # which would be asked of the network

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 66
napoleon_numpy_docstring = False
# Those of dataclasses, which are the arguments too; without this they are headed "Variables".
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
napoleon_preprocess_types = False

# What annotations name and other projects document; names of this library are all to be resolved.
# Shapes, such as 'groups content', are strings inside jaxtyping's annotations.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(torch|pyro|numpy|np|dist|jaxtyping|collections|abc|pathlib|matplotlib|sklearn)\..*",
    ),
    ("py:exc", "NotFittedError"),
    ("py:class", r"dict\[str"),
    ("py:class", r"'.*'"),
]

# What is not marked as Python is a command, a formula or a table.
highlight_language = "none"

html_math_renderer = "mathml"
html_theme = "furo"
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The colour of content in every figure, and a lighter one of the same hue on a dark ground.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
pygments_style = "friendly"
