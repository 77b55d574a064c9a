import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from esper_app.cli.root import cli

PLUGIN = '''
from attrs import field, frozen, validators

from esper_core.hooks import hookimpl
from esper_core.specs import EvaluatorSpec, ExecutorSpec, GateLevel, GateSpec, HostSpec, PolicySpec, SinkSpec, TaskSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class HostOptions:
    """Options.

    Attributes:
        width: channels of the stem.
    """

    width: int = field(default=4, validator=validators.ge(1))


def nothing(*_):
    raise AssertionError("configuring builds nothing")


@hookimpl
def esper_tasks():
    yield TaskSpec(name="dots", summary="Dots.", factory=nothing, host="stem", defaults={"epochs": 12})


@hookimpl
def esper_hosts():
    yield HostSpec(name="stem", summary="A stem.", factory=nothing, config=HostOptions, layouts={"NCHW"})


@hookimpl
def esper_policies():
    yield PolicySpec(name="heuristic", summary="Waits.", factory=nothing)
    yield PolicySpec(name="still", summary="Waits.", factory=nothing)


@hookimpl
def esper_gates():
    yield GateSpec(name="g0", summary="Yes.", factory=nothing, level=GateLevel.G0, gate_set="standard")


@hookimpl
def esper_executors():
    yield ExecutorSpec(name="serial", summary="Here.", factory=nothing)


@hookimpl
def esper_evaluators():
    for name in ("divergence", "lobotomy", "not-finite"):
        yield EvaluatorSpec(name=name, summary="Allows.", factory=nothing)


@hookimpl
def esper_telemetry_sinks():
    yield SinkSpec(name="console", summary="Prints.", factory=nothing)
    yield SinkSpec(name="jsonl", summary="Writes.", factory=nothing)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "cli_config_plugin.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def esper(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(plugin.parent)
    monkeypatch.delitem(__import__("sys").modules, plugin.stem, raising=False)

    def call(*arguments: str | Path) -> Result:
        selection = ["--plugins", "none", "--plugin-path", str(plugin)]
        return CliRunner().invoke(cli, [*map(str, arguments), *selection], prog_name="esper")

    return call


def test_show_prints_a_configuration_file_with_origins(esper: Any) -> None:
    result = esper("config", "show", "dots", "--policy", "still", "--set", "host.width=8")
    assert result.exit_code == 0, result.output
    assert "width = 8  # cli" in result.stdout
    assert "epochs = 12  # task" in result.stdout
    assert tomllib.loads(result.stdout)["policy"]["name"] == "still"


def test_set_goes_before_dedicated_options_and_both_before_the_file(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text('seed = 1\n[task]\nname = "dots"\n[policy]\nname = "heuristic"\n')
    result = esper("config", "show", "--config", file, "--policy", "heuristic", "--set", "policy.name=still")
    assert result.exit_code == 0, result.output
    data = tomllib.loads(result.stdout)
    assert (data["seed"], data["policy"]["name"], data["task"]["name"]) == (1, "still", "dots")


def test_the_command_line_names_another_task_than_the_file(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text('[task]\nname = "elsewhere"\nsize = 3\n')
    result = esper("config", "show", "dots", "-c", file)
    assert result.exit_code == 0, result.output


def test_an_unknown_key_is_a_usage_error_with_the_nearest_match(esper: Any) -> None:
    result = esper("config", "show", "dots", "--set", "host.widht=8")
    assert result.exit_code == 2
    assert "error[E201]" in result.stderr
    assert 'did you mean "width"?' in result.stderr


def test_a_missing_task_is_told_with_the_known_ones(esper: Any) -> None:
    result = esper("config", "show")
    assert result.exit_code == 2
    assert "no task is named" in result.stderr
    assert "dots" in result.stderr


def test_init_writes_a_file_that_check_and_show_accept(esper: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    assert esper("config", "init", "dots", "-o", file).exit_code == 0
    assert "# channels of the stem.\n# width = 4" in file.read_text()
    checked = esper("config", "check", file)
    assert checked.exit_code == 0, checked.output
    assert "task dots, host stem, policy heuristic" in checked.stdout
    shown = esper("config", "show", "-c", file)
    assert tomllib.loads(shown.stdout) == tomllib.loads(esper("config", "show", "dots").stdout)


def test_init_never_overwrites(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "mine.toml").write_text("seed = 1")
    result = esper("config", "init", "-o", file)
    assert result.exit_code == 2
    assert "error[E205]" in result.stderr
    assert file.read_text() == "seed = 1"


def test_check_names_file_path_and_cause(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text('[task]\nname = "dots"\n[host]\nwidth = 0\n')
    result = esper("config", "check", file)
    assert result.exit_code == 2
    assert 'the value of "host.width" is not valid' in result.stderr
    assert str(file) in result.stderr
    assert "must be >= 1" in result.stderr


def test_everything_that_is_wrong_with_a_file_is_told_at_once(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text(
        'lr = 0.1\nepochs = "five"\ntask = "dots"\n'
        '[host]\nwidth = 0\nwidht = 2\n[optimizer]\nlr = -1.0\n[policy]\nname = "stil"\n[limits]\nseeds = 2\n'
    )
    result = esper("config", "check", file)
    assert result.exit_code == 2
    assert result.stderr.count("error[") == 7
    for words in ('"lr"', '"epochs"', '"host.width"', '"host.widht"', '"optimizer.lr"', '"stil"', '"limits.seeds"'):
        assert words in result.stderr
    assert "is valid" not in result.output


def test_a_key_without_its_section_is_told_where_it_belongs(esper: Any) -> None:
    result = esper("config", "show", "dots", "--set", "lr=1")
    assert 'unknown key "lr"' in result.stderr
    assert 'did you mean "optimizer.lr"?' in result.stderr


def test_a_section_may_be_given_as_the_name_of_its_component(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text('task = "dots"\npolicy = "still"\n')
    shown = tomllib.loads(esper("config", "show", "-c", file).stdout)
    assert (shown["task"]["name"], shown["policy"]["name"], shown["epochs"]) == ("dots", "still", 12)
    assert tomllib.loads(esper("config", "show", "dots", "--set", "policy=still").stdout)["policy"]["name"] == "still"


def test_the_files_plugin_table_selects_plugins(esper: Any, tmp_path: Path) -> None:
    (file := tmp_path / "run.toml").write_text('[plugins]\nrequires = ["esper-does-not-exist>=1"]\n')
    result = esper("config", "check", file, "dots")
    assert result.exit_code == 4
    assert "error[E123]" in result.stderr
