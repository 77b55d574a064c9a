"""Which executor runs the hosts where none is named."""

import os
from collections.abc import Mapping

from attrs import evolve

from esper_app.configuration.config import AUTO
from esper_app.configuration.layers import Merged
from esper_app.configuration.sections import OptionClasses
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import ExecutorSpec

_ONE_BY_ONE, _SIDE_BY_SIDE = "serial", "processes"


def with_executor(merged: Merged, components: OptionClasses) -> Merged:
    """Return the configuration with an executor in place of ``auto``; the bits are the same with each.

    Several hosts run in processes of their own, if there are processors for that and the executor is installed. With
    options for processes it is those that are meant.
    """
    section = merged.tree.get("executor")
    if not isinstance(section, Mapping) or section.get("name") != AUTO:
        return merged
    several = merged.tree.get("hosts", 1) not in (1, "1") and processors() > 1
    wanted = (several or len(section) > 1) and _known(components)
    tree = {**merged.tree, "executor": {**section, "name": _SIDE_BY_SIDE if wanted else _ONE_BY_ONE}}
    return evolve(merged, tree=tree)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _known(components: OptionClasses) -> bool:
    try:
        components.option_class(ExecutorSpec.kind, _SIDE_BY_SIDE)
    except EsperError:
        return False
    return hasattr(os, "fork")
