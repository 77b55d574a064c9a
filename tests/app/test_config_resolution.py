from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from attrs import frozen, validators

from esper_app.configuration.config import RewardTermConfig, RunConfig
from esper_app.configuration.layers import Origin
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.events import Level
from esper_core.leyline.specs import (
    BlueprintSpec,
    EvaluatorSpec,
    ExecutorSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.leyline.stages import GateLevel, Incubation
from esper_core.plugins.kinds import KINDS
from esper_core.tolaria.config import OptimizerName


@frozen(kw_only=True)
class CnnOptions:
    widths: tuple[int, ...] = (8, 16)
    dropout: float = attrs.field(default=0.0, validator=[validators.ge(0.0), validators.lt(1.0)])


@frozen(kw_only=True)
class MlpOptions:
    hidden: int = 32


@frozen(kw_only=True)
class HeuristicOptions:
    patience: int = 3
    budget: int | None = None


@frozen(kw_only=True)
class MarginOptions:
    margin: float = 0.01


@frozen(kw_only=True)
class JsonlOptions:
    path: str | None = None


@frozen(kw_only=True)
class NoopOptions:
    scale: float = 1.0


@frozen(kw_only=True)
class ClashingOptions:
    name: str = "x"


CLASSES: Mapping[str, Mapping[str, type | None]] = {
    TaskSpec.kind: {"digits": None, "letters": None},
    HostSpec.kind: {"cnn": CnnOptions, "mlp": MlpOptions, "clash": ClashingOptions},
    PolicySpec.kind: {"heuristic": HeuristicOptions, "null": None},
    ExecutorSpec.kind: {"serial": None},
    SinkSpec.kind: {"console": None, "jsonl": JsonlOptions},
    EvaluatorSpec.kind: {
        "divergence": MarginOptions,
        "lobotomy": None,
        "not-finite": None,
        "calm": None,
        "watch_epochs": None,
    },
    BlueprintSpec.kind: {"noop": NoopOptions, "conv-light": None},
    RewardTermSpec.kind: {"rent": MarginOptions},
}


class Components:
    kinds = KINDS

    def option_class(self, kind: str, name: str) -> type | None:
        if name not in CLASSES[kind]:
            raise EsperError("E204", f'no {kind} "{name}"', fix=did_you_mean(name, CLASSES[kind]))
        return CLASSES[kind][name]

    def gate_option_classes(self, gate_set: str) -> Mapping[GateLevel, type | None]:
        if gate_set != "standard":
            raise EsperError("E204", f'no gate set "{gate_set}"')
        return {GateLevel.G0: None, GateLevel.G5: MarginOptions}


DIGITS = TaskSpec(
    name="digits",
    summary="Digits.",
    factory="digits.module:Digits",
    host="cnn",
    host_options={"widths": [4, 8]},
    defaults={"epochs": 40, "optimizer.lr": 0.2},
)


def resolve(file: Mapping[str, Any] | None = None, **overrides: Any) -> ResolvedConfig:
    return resolve_config(DIGITS, Components(), file=file, file_name="run.toml", overrides=overrides)


def test_built_in_defaults_hold_where_nobody_speaks() -> None:
    config = resolve().config
    assert (config.seed, config.batch_size, config.twin, config.device) == (0, 64, "both", "cpu")
    assert config.telemetry.level is Level.NORMAL
    assert config.policy.name == "heuristic"
    assert config.policy.options == {"patience": 3, "budget": None}
    assert config.gates.options == {GateLevel.G0: {}, GateLevel.G5: {"margin": 0.01}}
    assert config.sinks.options == {"console": {}, "jsonl": {"path": None}}
    assert config.lifecycle.incubation is Incubation.STE


def test_each_layer_goes_before_the_weaker_ones_and_is_remembered() -> None:
    file = {"epochs": 10, "seed": 3, "host": {"dropout": 0.1}}
    resolved = resolve(file, seed=4)
    config = resolved.config
    assert (config.seed, config.epochs, config.optimizer.lr) == (4, 10, 0.2)
    assert config.host.options == {"widths": [4, 8], "dropout": 0.1}
    origins = {path: resolved.origin(path) for path in ("seed", "epochs", "optimizer.lr", "batch_size", "host.widths")}
    assert origins == {
        "seed": Origin.CLI,
        "epochs": Origin.FILE,
        "optimizer.lr": Origin.TASK,
        "batch_size": Origin.DEFAULT,
        "host.widths": Origin.TASK,
    }


def test_another_host_discards_the_options_of_the_former_one() -> None:
    resolved = resolve({"host": {"dropout": 0.5}}, host={"name": "mlp", "hidden": 8})
    assert resolved.config.host.options == {"hidden": 8}
    assert resolved.origin("host.widths") is Origin.DEFAULT


def test_naming_the_same_host_again_keeps_its_options() -> None:
    assert resolve(host={"name": "cnn"}).config.host.options["widths"] == [4, 8]


def test_another_optimizer_takes_its_own_learning_rate_but_keeps_the_schedule() -> None:
    file = {"optimizer": {"name": "sgd", "momentum": 0.5, "warmup_epochs": 3}}
    optimizer = resolve(file, optimizer={"name": "adamw"}).config.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.momentum) == (OptimizerName.ADAMW, 0.01, 0.0)
    assert optimizer.warmup_epochs == 3


def test_another_policy_keeps_the_catalogue() -> None:
    policy = resolve({"policy": {"patience": 9, "blueprints": ["noop"]}}, policy={"name": "null"}).config.policy
    assert (policy.name, policy.blueprints, policy.options) == ("null", ("noop",), {})


def test_other_sinks_discard_the_options_of_those_that_are_gone() -> None:
    sinks = resolve({"sinks": {"jsonl": {"path": "x"}}}, sinks={"names": ["console"]}).config.sinks
    assert sinks.options == {"console": {}}


def test_evaluators_have_options_by_name_and_others_discard_those_that_are_gone() -> None:
    file = {"governor": {"divergence": {"margin": 0.5}}}
    governor = resolve(file).config.governor
    assert governor.evaluators == ("divergence", "lobotomy", "not-finite")
    assert governor.options == {"divergence": {"margin": 0.5}, "lobotomy": {}, "not-finite": {}}
    assert resolve(file, governor={"evaluators": ["calm"]}).config.governor.options == {"calm": {}}


def test_the_governors_own_keys_stand_beside_its_evaluators() -> None:
    file = {"governor": {"max_rollbacks": 0, "divergence": {"margin": 0.5}}}
    governor = resolve(file, governor={"evaluators": ["calm"]}).config.governor
    assert (governor.max_rollbacks, governor.recovery_epochs, governor.watch_epochs) == (0, 2, 3)
    assert resolve(governor={"evaluators": []}).config.tree()["governor"] == {
        "max_rollbacks": 3,
        "recovery_epochs": 2,
        "watch_epochs": 3,
        "evaluators": [],
        "germinations": None,
        "window_epochs": 10,
        "commands_per_epoch": None,
    }


def test_an_evaluator_cannot_have_the_name_of_a_key_of_the_governor() -> None:
    with pytest.raises(EsperError, match=r'"governor.watch_epochs" means two things') as caught:
        resolve({"governor": {"evaluators": ["watch_epochs"]}})
    assert caught.value.code == "E202"


def test_reward_terms_carry_weight_and_options() -> None:
    config = resolve({"rewards": {"terms": [{"name": "rent", "margin": 2}, {"name": "rent", "weight": 0.5}]}}).config
    assert config.rewards.terms == (
        RewardTermConfig(name="rent", weight=1.0, options={"margin": 2.0}),
        RewardTermConfig(name="rent", weight=0.5, options={"margin": 0.01}),
    )


def test_blueprints_of_the_catalogue_have_complete_options() -> None:
    file = {"policy": {"blueprints": ["conv-light", "noop"]}, "blueprints": {"noop": {"scale": 2}}}
    assert resolve(file).config.blueprints == {"conv-light": {}, "noop": {"scale": 2.0}}


@pytest.mark.parametrize(
    ("data", "path", "nearest"),
    [
        ({"epoch": 1}, "epoch", "epochs"),
        ({"optimiser": {"lr": 1}}, "optimiser", "optimizer"),
        ({"optimizer": {"learn_rate": 1}}, "optimizer.learn_rate", "known: "),
        ({"lifecycle": {"ramp_epoch": 1}}, "lifecycle.ramp_epoch", "ramp_epochs"),
        ({"host": {"width": [1]}}, "host.width", "widths"),
        ({"policy": {"blueprint": ["noop"]}}, "policy.blueprint", "blueprints"),
        ({"policy": {"patince": 1}}, "policy.patince", "patience"),
        ({"gates": {"G4": {}}}, "gates.G4", "known: G0, G5, name"),
        ({"gates": {"G5": {"margins": 1}}}, "gates.G5.margins", "margin"),
        ({"gates": {"G0": {"margin": 1}}}, "gates.G0.margin", "none is known"),
        ({"sinks": {"jsonll": {}}}, "sinks.jsonll", "jsonl"),
        ({"governor": {"divergenc": {}}}, "governor.divergenc", "divergence"),
        ({"governor": {"divergence": {"margins": 1}}}, "governor.divergence.margins", "margin"),
        ({"governor": {"names": ["calm"]}}, "governor.names", "evaluators"),
        ({"sinks": {"jsonl": {"paths": "x"}}}, "sinks.jsonl.paths", "path"),
        ({"rewards": {"term": []}}, "rewards.term", "terms"),
        ({"rewards": {"terms": [{"name": "rent", "wight": 1}]}}, "rewards.terms[0].wight", "weight"),
        ({"blueprints": {"noop": {"scal": 1}}}, "blueprints.noop.scal", "scale"),
        (
            {"policy": {"blueprints": ["noop"]}, "blueprints": {"conv-light": {}}},
            "blueprints.conv-light",
            "known: noop",
        ),
        ({"plugins": {"enabled": []}}, "plugins.enabled", "enable"),
        ({"task": {"size": 1}}, "task.size", "known: name"),
    ],
)
def test_unknown_keys_are_refused_with_path_place_and_nearest_match(
    data: dict[str, Any], path: str, nearest: str
) -> None:
    with pytest.raises(EsperError) as caught:
        resolve(data)
    assert caught.value.code == "E201"
    assert caught.value.what == f'unknown key "{path}"'
    assert caught.value.where == "run.toml"
    assert nearest in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (True, "epochs"),
        (False, "none"),
        ("none", "none"),
        ("epochs", "epochs"),
        ("compute", "compute"),
        ("both", "both"),
    ],
)
def test_a_twin_was_once_true_or_false(given, meant):
    config = resolve({"twin": given}).config
    assert config.twin == meant
    assert config.tree()["twin"] == meant


def test_a_device_that_is_none_comes_with_those_that_there_can_be() -> None:
    with pytest.raises(EsperError) as caught:
        resolve({"device": "cudda"})
    assert "must be cpu, cuda, xpu or mps" in str(caught.value)
    for name in ("cpu", "cuda", "cuda:12", "xpu:0", "mps"):
        assert resolve({"device": name}).config.device == name


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": "one"}, "seed"),
        ({"device": "gpu"}, "device"),
        ({"device": "cpu:0"}, "device"),
        ({"devices": ["cuda:0", "cudda:1"]}, "devices"),
        ({"name": "last"}, "name"),
        ({"name": "../elsewhere"}, "name"),
        ({"telemetry": "loud"}, "telemetry.level"),
        ({"twin": 1}, "twin"),
        ({"host": 3}, "host"),
        ({"host": {"name": 3}}, "host.name"),
        ({"host": {"dropout": 1.0}}, "host.dropout"),
        ({"host": {"widths": [4, "x"]}}, "host.widths[1]"),
        ({"policy": {"blueprints": "noop"}}, "policy.blueprints"),
        ({"policy": {"blueprints": ["noop", "noop"]}}, "policy.blueprints"),
        ({"gates": {"G5": 3}}, "gates.G5"),
        ({"lifecycle": {"probe_alpha": 2.0}}, "lifecycle.probe_alpha"),
        ({"limits": {"max_live_seeds": 0}}, "limits.max_live_seeds"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr"),
        ({"rewards": {"terms": [{"name": "rent"}, {"name": "rent", "weight": "x"}]}}, "rewards.terms[1].weight"),
        ({"rewards": {"terms": [{"weight": 1}]}}, "rewards.terms[0]"),
        ({"rewards": {"gamma": 1.5}}, "rewards.gamma"),
        ({"rewards": {"gamma": 0}}, "rewards.gamma"),
        ({"sinks": {"names": "jsonl"}}, "sinks.names"),
        ({"sinks": {"names": ["jsonl", "jsonl"]}}, "sinks.names"),
        ({"governor": {"evaluators": "calm"}}, "governor.evaluators"),
        ({"governor": {"max_rollbacks": -1}}, "governor.max_rollbacks"),
        ({"governor": {"recovery_epochs": "two"}}, "governor.recovery_epochs"),
        ({"governor": {"evaluators": ["calm", "calm"]}}, "governor.evaluators"),
        ({"plugins": {"disable": "x"}}, "plugins.disable"),
    ],
)
def test_bad_values_are_refused_with_path_and_place(data: dict[str, Any], path: str) -> None:
    with pytest.raises(EsperError) as caught:
        resolve(data)
    assert caught.value.code == "E202"
    assert f'"{path}"' in caught.value.what
    assert caught.value.where == "run.toml"


@pytest.mark.parametrize(
    "data",
    [
        {"host": {"name": "cn"}},
        {"policy": {"name": "x"}},
        {"policy": {"blueprints": ["x"]}},
        {"blueprints": {"x": {}}},
        {"gates": {"name": "x"}},
        {"sinks": {"names": ["x"]}},
        {"governor": {"evaluators": ["x"]}},
        {"rewards": {"terms": [{"name": "x"}]}},
    ],
)
def test_unknown_components_are_refused_with_the_place_that_names_them(data: dict[str, Any]) -> None:
    with pytest.raises(EsperError) as caught:
        resolve(data)
    assert (caught.value.code, caught.value.where) == ("E204", "run.toml")


def test_the_place_is_that_of_the_layer_at_fault() -> None:
    with pytest.raises(EsperError) as caught:
        resolve({"seed": 1}, optimizer={"lr": -1})
    assert caught.value.where == "the command line"
    task = attrs.evolve(DIGITS, defaults={"epochs": "many"})
    with pytest.raises(EsperError) as caught:
        resolve_config(task, Components())
    assert caught.value.where == 'the settings of task "digits"'


def test_a_momentum_for_adamw_is_refused_and_not_ignored() -> None:
    with pytest.raises(EsperError) as caught:
        resolve({"optimizer": {"name": "adamw", "momentum": 0.9}})
    assert caught.value.what == 'the value of "optimizer.momentum" is not valid'


def test_an_option_that_shadows_a_key_of_the_core_is_told() -> None:
    with pytest.raises(EsperError) as caught:
        resolve(host={"name": "clash"})
    assert '"host.name" means two things' in caught.value.what


def test_the_tree_has_the_shape_of_a_file_and_gives_the_same_run_again() -> None:
    resolved = resolve(
        {"rewards": {"terms": [{"name": "rent"}]}, "gates": {"G5": {"margin": 0.5}}, "telemetry": "debug"},
        optimizer={"name": "adamw"},
        policy={"blueprints": ["noop"]},
    )
    assert resolve(resolved.config.tree()).config == resolved.config


def test_configs_are_immutable() -> None:
    config: RunConfig = resolve().config
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
