"""Every check of whole plugins catches the distribution that it was written against, and lets a right one pass."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from esper_testing import CHECKS, CheckFailure, PluginSubject
from esper_testing.check import Scope
from esper_testing.surroundings import watched

RIGHT = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="foo", summary="Foo.", layouts={"NCHW"}, factory="{package}.module:Update")
"""
NOTHING = 'ESPER_API = "2.0"\n'
UNDECLARED = RIGHT.replace('ESPER_API = "2.0"', "")
MODULE = "class Update: pass\n"


def module(line: str) -> dict[str, Any]:
    return {"files": {"module.py": f"{line}\n{MODULE}"}}


#: By the check's id: what is installed that is wrong, and a part of what must be said about it.
MUTANTS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "plugin-loads": [
        ({"code": "import no_such_library\n"}, r'needs the module "no_such_library"'),
        ({"code": RIGHT.replace("esper_blueprints", "esper_blueprint")}, "E131"),
        ({"requires": ["esper-core>=99"]}, "E120"),
    ],
    "plugin-offers": [({"code": NOTHING}, "offers nothing; hooks: none")],
    "plugin-names": [
        ({"plugin": "foo"}, 'the entry point of esper-blueprint-foo is called "foo"'),
        ({"name": "foo-blueprint"}, 'the distribution is called "foo-blueprint"'),
        ({"name": "esper-sink-foo"}, "offers nothing of the family its name claims, but blueprint"),
    ],
    "plugin-api-declared": [({"code": UNDECLARED}, "does not declare its plugin API version")],
    "plugin-light": [({"code": f"import torch\n{RIGHT}"}, "imports .*numpy, torch")],
    "plugin-quiet": [({"code": f"print('hello')\n{RIGHT}"}, "importing it printed 'hello'")],
    "plugin-import-pure": [
        ({"code": f"import os\nos.environ['ESPER_MUTANT'] = '1'\n{RIGHT}"}, "changed the environment"),
        ({"code": f"import warnings\nwarnings.simplefilter('ignore')\n{RIGHT}"}, "changed the warning filters"),
        ({"code": f"import logging\nlogging.basicConfig()\n{RIGHT}"}, "changed the root logger"),
        ({"code": f"import random\nrandom.seed(0)\n{RIGHT}"}, "changed random's global generator"),
    ],
    "plugin-factories-pure": [
        (module("import torch; torch.manual_seed(0)"), "changed torch's global generator"),
        (module("import no_such_library"), "No module named 'no_such_library'"),
    ],
    "plugin-import-fast": [({"code": f"import time\ntime.sleep(0.05)\n{RIGHT}"}, "importing it takes")],
}

SLOW = {"plugin-factories-pure", "plugin-light"}


@pytest.fixture
def plugin(install: Callable[..., Any], load: Callable[..., Any]) -> Callable[..., PluginSubject]:
    """Install a distribution and return its plugin: ``plugin(code=...)``."""

    def make(name: str = "esper-blueprint-foo", **options: Any) -> PluginSubject:
        files = {"module.py": MODULE} | options.pop("files", {})
        install(name, **{"code": RIGHT, "files": files} | options)
        environ = dict(os.environ)
        with watched():
            (record,) = load(tolerant=True).records
        return PluginSubject(record=record, environ=environ)

    return make


CHECKS_OF_PLUGINS = [check for check in CHECKS if check.kind is Scope.PLUGIN]


def marks(id: str) -> list[Any]:
    return [pytest.mark.slow] if id in SLOW else []


def test_every_check_has_a_mutant() -> None:
    assert set(MUTANTS) == {check.id for check in CHECKS_OF_PLUGINS}


@pytest.mark.parametrize(
    ("check", "options", "message"),
    [
        pytest.param(check, *mutant, id=f"{check.id}-{number}", marks=marks(check.id))
        for check in CHECKS_OF_PLUGINS
        for number, mutant in enumerate(MUTANTS.get(check.id, ()))
    ],
)
def test_the_check_catches_its_mutant(check: Any, options: dict[str, Any], message: str, plugin: Any) -> None:
    with pytest.raises(CheckFailure, match=message) as failure:
        check(plugin(**options))
    assert failure.value.cause
    assert failure.value.fix


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=check.id, marks=marks(check.id)) for check in CHECKS_OF_PLUGINS]
)
def test_a_right_plugin_passes(check: Any, plugin: Any) -> None:
    check(plugin())
