import tomllib
from pathlib import Path

import pytest
from attrs import frozen

from esper_app.configuration.config_file import read_config_file
from esper_app.configuration.config_text import config_toml, template_toml
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import HostSpec, TaskSpec
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.kinds import KINDS


@frozen(kw_only=True)
class HostOptions:
    """Options.

    Attributes:
        width: channels of the
            first ``block``.
        low, high: two bounds.

    Anything else: is not an attribute.
    """

    width: int = 4
    low: float = 0.0
    high: float | None = None


class Components:
    kinds = KINDS

    def option_class(self, kind: str, name: str) -> type | None:
        return HostOptions if kind == HostSpec.kind else None

    def gate_option_classes(self, gate_set: str) -> dict[GateLevel, type | None]:
        return {GateLevel.G2: HostOptions}


TASK = TaskSpec(name="digits", summary="Digits.", factory="d.m:D", host="cnn", defaults={"epochs": 40})


def resolved() -> ResolvedConfig:
    overrides = {"seed": 7, "policy": {"blueprints": ["noop"]}, "host": {"high": 2}}
    file = {"gates": {"G2": {"width": 3}}}
    return resolve_config(TASK, Components(), file=file, file_name="run.toml", overrides=overrides)


def test_the_shown_configuration_tells_the_origin_of_each_value() -> None:
    lines = config_toml(resolved()).splitlines()
    assert "seed = 7  # cli" in lines
    assert "epochs = 40  # task" in lines
    assert "width = 3  # file" in lines
    assert "batch_size = 64  # default" in lines
    assert 'isolate = "auto"  # default' in lines


def test_the_shown_configuration_gives_the_same_run_again() -> None:
    first = resolved()
    again = resolve_config(TASK, Components(), file=tomllib.loads(config_toml(first)))
    assert again.config == first.config


def test_a_template_changes_nothing_until_something_is_uncommented() -> None:
    plain = resolve_config(TASK, Components())
    text = template_toml(plain, Components())
    assert resolve_config(TASK, Components(), file=tomllib.loads(text)).config == plain.config


def test_what_was_set_stands_in_the_template_uncommented() -> None:
    again = resolve_config(TASK, Components(), file=tomllib.loads(template_toml(resolved(), Components())))
    assert again.config == resolved().config


def test_everything_in_a_template_can_be_uncommented() -> None:
    plain = resolve_config(TASK, Components())
    lines = template_toml(plain, Components()).splitlines()
    uncommented = "\n".join(line.removeprefix("# ") for line in lines if " = " in line or line.startswith("["))
    assert resolve_config(TASK, Components(), file=tomllib.loads(uncommented)).config == plain.config


def test_a_template_describes_core_keys_and_component_options() -> None:
    text = template_toml(resolve_config(TASK, Components()), Components())
    assert "# root of all random streams.\n# seed = 0" in text
    assert "# channels of the first block.\n# width = 4" in text


def test_a_template_without_task_holds_the_core_keys() -> None:
    data = tomllib.loads(template_toml())
    core = ("policy", "gates", "governor", "lifecycle", "limits", "optimizer", "training", "rewards", "sinks")
    around = ("executor", "diagnostics", "telemetry", "checkpoints", "plugins", "modules", "prefetch")
    assert data == {name: {} for name in (*core, *around)}


def test_attribute_docs_are_read_from_the_docstring() -> None:
    assert attribute_docs(HostOptions) == {
        "width": "channels of the first block.",
        "low": "two bounds.",
        "high": "two bounds.",
    }


def test_a_missing_file_is_told_with_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "digits.toml").write_text("")
    with pytest.raises(EsperError) as caught:
        read_config_file(tmp_path / "digit.toml")
    assert caught.value.code == "E203"
    assert '"digits.toml"' in (caught.value.fix or "")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (path := tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbf[optimizer]\r\nlr = 0.0625\r\n")
    assert read_config_file(path) == {"optimizer": {"lr": 0.0625}}


def test_a_file_in_another_encoding_is_told_how_to_save_it(tmp_path: Path) -> None:
    (path := tmp_path / "run.toml").write_text("a = 1", encoding="utf-16")
    with pytest.raises(EsperError) as caught:
        read_config_file(path)
    assert caught.value.fix == "save it as UTF-8"


@pytest.mark.parametrize(("content", "why"), [(b"a = \n", "line 1"), (b"\xff", "utf-8")])
def test_a_file_that_is_no_toml_is_told_with_the_place(tmp_path: Path, content: bytes, why: str) -> None:
    (path := tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(EsperError) as caught:
        read_config_file(path)
    assert caught.value.code == "E203"
    assert why in (caught.value.why or "")


def test_a_directory_is_no_configuration_file(tmp_path: Path) -> None:
    with pytest.raises(EsperError) as caught:
        read_config_file(tmp_path)
    assert caught.value.code == "E203"
