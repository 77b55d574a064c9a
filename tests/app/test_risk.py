"""What a run judges beside its hosts: resources, the policy's health and quotas, each with the event that it leaves."""

import json
from itertools import pairwise
from math import log, nan

import pytest

from esper_app.api import begin_replay, execute, load_plugins, resolve_run, resume
from esper_app.configuration.config import GovernorConfig
from esper_app.execution.risk.figures import MachineFigures, PolicyFigures, entropy
from esper_app.execution.risk.quotas import objection
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.learning import Choice, Explanation
from esper_core.leyline.stages import Blend

#: Germinates as often as it can; seeds die young, so that slots are free again.
SETTINGS = {
    "epochs": 8,
    "twin": "none",
    "policy.name": "random",
    "policy.germination": 1.0,
    "policy.blueprints": ["conv-light"],
    "lifecycle.ramp_epochs": 1,
    "gates.name": "permissive",
    "sinks.names": ["jsonl"],
    "checkpoints.every": 0,
    "task.train_samples": 32,
    "task.validation_samples": 16,
    "task.test_samples": 16,
    "executor.name": "serial",
}
JUDGED = ["divergence", "lobotomy", "not-finite"]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    def execute_with(*judges, **settings):
        given = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
        given |= {"governor.evaluators": [*JUDGED, *judges], "runs": str(tmp_path_factory.mktemp("runs"))}
        given = {key: value for key, value in given.items() if value is not None}
        return execute(resolve_run("teacher", plugins, settings=given), plugins)

    return execute_with


def events(finished, *kinds):
    lines = (finished.directory.path / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] in kinds]


def said(finished, kind, key):
    return [event["data"][key] for event in events(finished, kind)]


def germinated(finished):
    return [it["epoch"] for it in events(finished, "action_decided") if it["data"]["op"] == "GERMINATE"]


@pytest.fixture(scope="module")
def beyond_every_limit(run):
    limits = {
        "resources.growth_ratio": 1e-6,
        "resources.forward_flops": 1.0,
        "resources.total_flops": 1.0,
        "resources.epoch_seconds": 1e-9,
        "resources.memory_share": 0.0,
        "policy-health.most_decision_seconds": 1e-12,
        "policy-health.known": ["policy age hours"],
    }
    return run("resources", "policy-health", epochs=5, **{f"governor.{name}": limit for name, limit in limits.items()})


@pytest.mark.parametrize(
    "words",
    [
        "growth of parameters over the host's own is",
        "operations of a forward pass is",
        "operations of the host so far is",
        "time of an epoch in seconds is",
        "share of memory in use is",
        "time of a decision in seconds is",
        "age of the policy in hours is not known",
    ],
)
def test_a_figure_beyond_its_limit_makes_the_run_conservative_and_says_so(beyond_every_limit, words):
    (event,) = events(beyond_every_limit, "governor_intervened")
    assert event["data"]["mode"] == "conservative"
    assert words in event["data"]["reason"]


def test_in_conservative_mode_nothing_is_germinated(beyond_every_limit):
    assert {*germinated(beyond_every_limit)} == {0}, "the first vote is that of the first epoch"


def test_a_policy_that_says_what_it_thinks_is_judged_by_its_entropy_and_its_values(run):
    ppo = {"policy.name": "ppo", "policy.germination": None, "rewards.preset": "shaped", "twin": "epochs", "epochs": 5}
    limits = {"least_entropy": 1.0, "most_value_error": 1e-9, "stop_after_epochs": 3}
    finished = run("policy-health", **ppo, **{f"governor.policy-health.{key}": it for key, it in limits.items()})
    first, last = said(finished, "governor_intervened", "reason")
    assert "entropy of the policy's choice is" in first
    assert "error of the policy's values is" in last
    assert "for 3 epochs" in last


def test_a_run_stops_all_hosts_after_enough_objections(run):
    limits = {"governor.resources.memory_share": 0.0, "governor.resources.stop_after_epochs": 2}
    finished = run("resources", hosts=2, **limits)
    assert {it["epochs"] for it in finished.result["hosts"].values()} == {2}
    for host in ("grown-1", "grown-2"):
        modes = [it["data"]["mode"] for it in events(finished, "governor_intervened") if it["host"] == host]
        assert modes == ["conservative", "stopped"]


#: With these both the quota and the mode change within a few epochs.
QUOTA = {
    "governor.germinations": 1,
    "governor.window_epochs": 3,
    "governor.resources.growth_ratio": 1e-6,
    "governor.recovery_epochs": 1,
    "checkpoints.every": 1,
    "checkpoints.keep": 99,
}


@pytest.fixture(scope="module")
def with_a_quota(run):
    return run("resources", **QUOTA)


def test_a_quota_of_germinations_is_used_up_and_refilled_and_both_are_said(with_a_quota):
    epochs = germinated(with_a_quota)
    assert epochs[0] == 0
    assert all(after - before >= 3 for before, after in pairwise(epochs))
    quota = "the quota of germinations (1 in 3 epochs) is"
    assert said(with_a_quota, "notice", "message")[:2] == [f"{quota} used up", f"{quota} refilled"]


def germinate(slot):
    return Action(op=Op.GERMINATE, slot=slot, blueprint="conv-light", blend=Blend.LINEAR)


def test_what_a_quota_forbids_is_denied_with_the_reason_and_allowed_once_it_is_refilled(plugins):
    own = {key: value for key, value in SETTINGS.items() if key not in ("policy.germination", "sinks.names")}
    own |= {"policy.name": "null", "governor.germinations": 1, "governor.window_epochs": 3}
    replay = begin_replay(resolve_run("teacher", plugins, settings=own), plugins, (0,))
    try:
        replay.step()
        one, other = replay.asked[0].situation.masks.slots[:2]
        for slot in (one, other, None, other):
            replay.step({} if slot is None else {"grown-0": germinate(slot)})
    finally:
        replay.close()
    denied = [it for it in replay.services.events if it.kind == EventKind.ACTION_DENIED]
    reason = "the quota of germinations (1 in 3 epochs) is used up; it is refilled before epoch 5"
    assert [(it.epoch, it.data["reason"]) for it in denied] == [(2, reason)]
    assert [bool(it.situation.masks.germinate) for it in replay.asked] == [True, True, False, False, True]


def test_commands_beyond_those_of_an_epoch_are_denied_and_culls_are_not():
    rules = GovernorConfig(commands_per_epoch=1)
    rest = {"germinated": (), "epoch": 0}
    assert objection(rules, germinate("a"), given=0, **rest) == ""
    assert objection(rules, germinate("b"), given=1, **rest) == "the quota of 1 commands in an epoch is used up"
    assert objection(rules, Action(op=Op.FOSSILIZE, slot="b"), given=1, **rest)
    assert objection(rules, Action(op=Op.CULL, slot="b"), given=1, **rest) == ""
    assert objection(rules, WAIT, given=1, **rest) == ""


def test_after_a_resume_quotas_and_modes_are_as_they_were(with_a_quota, plugins):
    kinds = ("action_decided", "action_denied", "governor_intervened", "notice")
    folder, told = with_a_quota.directory.path, decisive(with_a_quota, kinds)
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem.removeprefix("epoch-")) > 2:
            path.unlink()
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (folder / name).unlink()
    given = SETTINGS | QUOTA | {"governor.evaluators": [*JUDGED, "resources"], "runs": str(folder.parent)}
    again = resume(with_a_quota.directory, resolve_run("teacher", plugins, settings=given), plugins)
    assert decisive(again, kinds) == told
    assert {kind for kind, _, _ in told} >= {"action_decided", "governor_intervened", "notice"}


def decisive(finished, kinds):
    return [(it["kind"], it["epoch"], it["data"]) for it in events(finished, *kinds)]


def test_a_window_without_a_quota_is_refused(run):
    with pytest.raises(EsperError, match="window_epochs"):
        run(governor__window_epochs=4)


def test_the_entropy_is_that_of_an_even_choice_at_most():
    assert entropy([0.25] * 4) == pytest.approx(1.0)
    assert entropy([1.0, 0.0]) == 0.0
    assert entropy([0.5, 0.5, 0.0, 0.0]) == pytest.approx(log(2) / log(4))
    assert entropy([1.0]) is None
    assert entropy([nan, 0.5]) != entropy([nan, 0.5])


def test_the_error_of_a_value_is_that_of_one_step():
    figures = PolicyFigures(gamma=0.5)

    def thinks(value):
        figures.thinks(Explanation(choices=(Choice(action=WAIT, probability=1.0),), value=value))

    thinks(2.0)
    figures.reward = 1.0
    thinks(4.0)
    assert figures.by_name() == {"value error": abs(1.0 + 0.5 * 4.0 - 2.0)}
    figures.reward = 1.0
    figures.forget()
    thinks(100.0)
    assert figures.by_name() == {"value error": 1.0}
    figures.thinks(None)
    assert figures.value is None


def test_a_saved_policy_has_an_age_and_the_machine_has_shares(tmp_path):
    (saved := tmp_path / "best.safetensors").write_bytes(b"")
    known = MachineFigures("cpu", saved, now=lambda: saved.stat().st_mtime + 7200.0).by_name()
    assert known["policy age hours"] == pytest.approx(2.0)
    assert 0.0 < known["memory share"] < 1.0
    assert 0.0 <= known["processor share"] <= 1.0
    assert "device memory share" not in known
