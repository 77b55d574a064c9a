"""How Sphinx builds the documentation: ``make docs``. It needs no network."""

import sys
from pathlib import Path

import esper_core

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Esper"
author = "the Esper authors"
release = version = esper_core.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
exclude_patterns = ["_build", "_ext", "generated/parts"]
highlight_language = "none"
# In docstrings, single backticks mark code; quotes and dashes are not converted.
default_role = "literal"
smartquotes = False

myst_heading_anchors = 3

autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
# Annotations name classes of other libraries and of private modules: they are shown without a link.
nitpick_ignore_regex = [(r"py:.*", r"(?!esper_core\.(adapting|api|hooks|nn|specs|testing)\.\w+$).*")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["esper.css"]
html_title = f"Esper {release}"
html_copy_source = False
html_show_sphinx = False
