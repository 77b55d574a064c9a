"""What the command says; that `esper` finds it is part of it, so it is called as users do."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

PLUGIN = '''
from attrs import frozen
from esper_core.hooks import hookimpl
from esper_core.specs import GateSpec, HostSpec, PolicySpec, TaskSpec

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options.

    Attributes:
        width: of the first layer.
    """

    width: int = 4


def nothing(*_):
    raise AssertionError("configuring builds nothing")


@hookimpl
def esper_tasks():
    yield TaskSpec(name="dots", summary="Dots.", factory=nothing, host="stem", defaults={"epochs": 12})


@hookimpl
def esper_hosts():
    yield HostSpec(name="stem", summary="A stem.", factory=nothing, config=Options, layouts={"NCHW"})


@hookimpl
def esper_policies():
    yield PolicySpec(name="mine", summary="Waits.", factory=nothing)


@hookimpl
def esper_gates():
    yield GateSpec(name="g0", summary="Yes.", factory=nothing, level="G0", gate_set="mine")
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    plugin = tmp_path_factory.mktemp("plugin") / "some_plugin.py"
    plugin.write_text(PLUGIN)
    return Run(plugin)


class Run:
    def __init__(self, plugin: Path) -> None:
        self.plugin = plugin

    def __call__(self, *arguments: str) -> Result:
        (found,) = entry_points(group="esper.commands", name="settings")
        chosen = ("--plugins", "none", "--plugin-path", str(self.plugin), "--policy", "mine")
        return CliRunner().invoke(found.load(), ["dots", *chosen, "--set", "gates.name=mine", *arguments])


def settings(output: str) -> dict[str, list[str]]:
    lines = [line.split(maxsplit=2) for line in output.partition("\n\n")[0].splitlines()[1:]]
    return {key: rest for key, *rest in lines}


def test_it_shows_what_is_set_and_by_whom(run: Run) -> None:
    done = run("--set", "host.width=8", "--set", "sinks.names=[]")
    assert done.exit_code == 0, done.output
    shown = settings(done.output)
    assert shown["host.width"] == ["8", "the command line"]
    assert shown["epochs"] == ["12", 'the settings of task "dots"']
    assert shown["policy.name"] == ['"mine"', "the command line"]
    assert "seed" not in shown
    assert "further settings are the built-in defaults" in done.output


def test_what_is_wrong_is_said_as_esper_says_it(run: Run) -> None:
    done = run("--set", "host.widht=8")
    assert done.exit_code != 0
    assert "host.widht" in str(done.exception)
