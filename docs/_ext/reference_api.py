"""The public API: what may be imported, described by autodoc from the docstrings."""

from collections.abc import Mapping, Set
from importlib import import_module

from reference_markdown import page

#: Modules with what is left out of each, because it is described with another one.
_MODULES: Mapping[str, Set[str]] = {
    "esper_core.api": set(),
    "esper_core.specs": {"GateLevel", "Layout"},
    "esper_core.nn": set(),
    "esper_testing": set(),
    "esper_core.adapting": {"EpochOutcome", "GrowthHandle", "grow"},
}

_GROW = """\
```{eval-rst}
.. autofunction:: esper_core.grow

.. autoclass:: esper_core.growing.handle.GrowthHandle
   :members:

.. autoclass:: esper_core.growing.session.EpochOutcome
   :members:
```"""


def api_pages() -> dict[str, str]:
    """Return a page for each public module, and the page that lists them."""
    pages = {"api/grow.md": page("`esper_core.grow`: your own network", _GROW)}
    for module, elsewhere in _MODULES.items():
        loaded = import_module(module)
        names = [name for name in getattr(loaded, "__all__", ()) if name not in elsewhere]
        # Some modules import what they offer on first use; autodoc looks at what is there.
        vars(loaded).update({name: getattr(loaded, name) for name in names})
        members = f":members: {', '.join(names)}".rstrip()
        pages[f"api/{module}.md"] = page(f"`{module}`", f"```{{eval-rst}}\n.. automodule:: {module}\n   {members}\n```")
    listed = "\n".join(name.removesuffix(".md") for name in pages)
    pages["api.md"] = page(
        "Public API",
        "What code outside of the core may import. A plugin imports `esper_core.hooks`, `esper_core.specs`, "
        "`esper_core.api`, `esper_core.nn` and `esper_testing`, and nothing else; the [hooks](hooks.md) have "
        "pages of their own. `esper_core.adapting` is for adapters into other training frameworks.",
        f"```{{toctree}}\n{listed}\n```",
    )
    return pages
