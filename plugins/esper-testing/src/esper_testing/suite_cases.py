"""The cases of the conformance suite as pytest's parameters."""

from pathlib import Path
from typing import Any

import pytest

from esper_core.leyline.errors import EsperError
from esper_testing.check import CheckLevel
from esper_testing.expectations import Expectations
from esper_testing.marks import marks
from esper_testing.plugin_subject import find_plugins
from esper_testing.pytest_plugin import NOT_LOOKED_AT
from esper_testing.runner import beyond, cases, not_looked_at


def parameters(config: pytest.Config) -> list[Any]:
    """Return one parameter for each case that pytest's options ask for.

    Raises:
        pytest.UsageError: if a plugin or a check is not known, or the file of expected failures cannot be read.
    """
    try:
        file = config.getoption("esper_expect")
        plugins = [plugin for name in config.getoption("esper_plugin") for plugin in find_plugins(name)]
        level, select = CheckLevel[config.getoption("esper_level").upper()], config.getoption("esper_select")
        found = cases(plugins, level, select, Expectations.read(Path(file)) if file else None)
        lines = not_looked_at(beyond(plugins, level, select))
        config.stash.setdefault(NOT_LOOKED_AT, {}).update(dict.fromkeys(lines))
    except EsperError as error:
        raise pytest.UsageError(str(error)) from error
    return [
        pytest.param(
            case, id=f"{case.target.replace(' ', ':')}-{case.check.id}", marks=marks(case.check, case.expected)
        )
        for case in found
    ]
