"""The public API: what other code may import, described by autodoc from the docstrings."""

from collections.abc import Mapping, Set
from importlib import import_module

from reference_markdown import page

#: Modules, each with the names that are left out because they are described with another module.
_MODULES: Mapping[str, Set[str]] = {
    "esper_core.api": set(),
    "esper_core.specs": {"GateLevel", "Layout"},
    "esper_core.nn": set(),
    "esper_testing": set(),
    "esper_core.adapting": set(),
    "esper_growing": {"EpochOutcome", "GrowthHandle", "grow"},
    "esper_learning": set(),
    "esper_public_data": set(),
}

_GROW = """\
```{eval-rst}
.. autofunction:: esper_core.grow

.. autoclass:: esper_growing.handle.GrowthHandle
   :members:

.. autoclass:: esper_growing.measuring.epoch_outcome.EpochOutcome
   :members:
```"""


def api_pages() -> dict[str, str]:
    """Return a page for each public module, and the page that lists them."""
    pages = {"api/grow.md": page("`esper_core.grow`: your own network", _GROW)}
    for module, elsewhere in _MODULES.items():
        loaded = import_module(module)
        names = [name for name in getattr(loaded, "__all__", ()) if name not in elsewhere]
        # Some modules import their names on first use, but autodoc only looks at existing attributes.
        vars(loaded).update({name: getattr(loaded, name) for name in names})
        members = f":members: {', '.join(names)}".rstrip()
        pages[f"api/{module}.md"] = page(f"`{module}`", f"```{{eval-rst}}\n.. automodule:: {module}\n   {members}\n```")
    listed = "\n".join(name.removesuffix(".md") for name in pages)
    pages["api.md"] = page(
        "Public API",
        "What code outside the core may import. From Esper, a plugin imports only `esper_core.hooks`, "
        "`esper_core.specs`, `esper_core.api`, `esper_core.nn` and `esper_testing`; the [hooks](hooks.md) have "
        "separate pages. `esper_core.adapting` and `esper_growing` are for adapters to other training frameworks, "
        "`esper_learning` for policies that learn, `esper_public_data` for tasks on published data.",
        f"```{{toctree}}\n{listed}\n```",
    )
    return pages
