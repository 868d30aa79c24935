"""Sphinx configuration. Build the site with `make docs`; nothing is fetched from the network."""

import logging
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import pytorch_lightning

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

# examples show results, not messages about devices; Lightning sets the level when it is imported
for name in (pytorch_lightning.__name__, "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)

project = "unrollflow"
author = "The unrollflow authors"
copyright = f"2026, {author}"  # noqa: A001, Sphinx's name
version = release = installed_version(project)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "mathml",
    "sphinx_gallery.gen_gallery",
    "plain_docstrings",
    "reference_pages",
]
exclude_patterns = ["_build", "_extensions", "gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.md5"]
html_theme = "furo"
html_title = f"unrollflow {release}"
html_show_sourcelink = False
default_role = "literal"

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

html_math_renderer = "mathml"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache", "myst.strikethrough"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib",),
    "write_computation_times": False,
}
