"""A user's own loop is observed as a run is: the same events, ids, observers and files."""

import json
import sys
from pathlib import Path

import pytest
import torch
from attrs import define, field
from click.testing import CliRunner
from torch import nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_app.cli.root import cli
from esper_core.leyline.actions import WAIT, Action, GovernorMode, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.executors import Plan
from esper_core.leyline.learning import Decision
from esper_core.leyline.protocols import HostBuild, Split, Splits
from esper_core.leyline.records import to_json
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Blend, Stage
from esper_core.leyline.vital_signs import Vote
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.selection import Selection
from esper_core.simic.loop import run_round
from esper_core.simic.rollout import Rollout
from esper_core.tamiyo.policy import Policy
from esper_core.tolaria import grower
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.executors import OneHost
from esper_core.tolaria.host import GrowingHost, HostPlan

EPOCHS, BATCH = 7, 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


def data(seed, samples=80):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 6, generator=generator)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


class Scripted:
    """Germinates before the first epoch, and culls before the fifth."""

    SCRIPT = {0: Action(op=Op.GERMINATE, slot="first", blueprint="mlp", blend=Blend.LINEAR, reason="scripted")}
    SCRIPT |= {4: Action(op=Op.CULL, slot="first", reason="scripted")}

    def reset(self, begun):
        self.seen = []

    def decide(self, situations):
        (situation,) = situations
        self.seen.append(situation.observation)
        return [Decision(actions=[self.SCRIPT.get(situation.observation.host.epoch, WAIT)])]


@define
class Collected:
    """A sink that keeps what it receives."""

    events: list = field(factory=list)
    calls: list = field(factory=list)

    def open(self, manifest):
        self.calls.append(("open", manifest))

    def emit(self, events):
        self.events.extend(events)

    def flush(self):
        pass

    def close(self):
        self.calls.append(("close", None))


def grow(**changes):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"blueprints": ["mlp"], "gates": "permissive", "settings": {"lifecycle": {"ramp_epochs": 1}}}
    options |= {"sites": "first", "policy": Scripted(), "epochs": EPOCHS}
    return esper_core.grow(model, optimizer=optimizer, **options | changes)


def steps(handle, begin=0, end=80 // BATCH):
    inputs, targets = data(handle.epoch)
    for step in range(begin, end):
        rows = slice(BATCH * step, BATCH * (step + 1))
        loss = cross_entropy(handle.model(inputs[rows]), targets[rows])
        handle.optimizer.zero_grad()
        loss.backward()
        handle.optimizer.step()


def end(handle):
    return handle.epoch_end([data(99)], cross_entropy, train_loss=0.6, train_accuracy=0.6)


def train(handle, until=EPOCHS):
    outcomes = []
    while handle.epoch < until:
        steps(handle)
        outcomes.append(end(handle))
    return outcomes


class Task:
    """The data of the user's loop as a task of a run."""

    random_guess_loss = 0.7

    def augment(self, inputs, generator):
        return inputs

    def losses(self, outputs, targets):
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs, targets):
        return (outputs.argmax(-1) == targets).float()


class Surroundings:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)

    def epoch_end(self, host, evidence):
        pass

    def seed_transition(self, host, transition):
        pass

    def should_stop(self):
        return False


def events_of_a_run():
    handle = grow()
    parts, settings = handle._plan.parts, handle._plan.settings
    splits = Splits(
        **{name: Split(inputs=data(i)[0], targets=data(i)[1]) for i, name in enumerate(("train", "validation", "test"))}
    )
    plan = HostPlan(
        name="model",
        build=lambda: HostBuild(module=Net(), sites=(SiteRequest(path="first"),)),
        task=Task(),
        splits=splits,
        seed_factories=parts.seed_factories,
        gates=parts.gates,
        lifecycle=settings.lifecycle,
        limits=settings.limits,
        optimizer=OptimizerConfig(lr=0.1),
        epochs=EPOCHS,
        batch_size=BATCH,
        seed=0,
    )
    around = Surroundings()
    executor = OneHost(GrowingHost(plan))
    policy = Policy(actor=Scripted(), name="Scripted")
    plans = [Plan(name=plan.name, seed=plan.seed, config={})]
    rollout = Rollout(executor, policy, plans=plans, epochs=EPOCHS, random_guess_loss=0.7, services=around)
    run_round(rollout, None, around, epochs=EPOCHS)
    return around.events


def outline(events):
    """Kinds, epochs, and what seeds and actions did; without figures."""
    kept = ("op", "slot", "id", "policy", "source", "target", "cause", "action_id", "final_stage", "mode")
    own = (EventKind.RUN_STARTED, EventKind.RUN_FINISHED, EventKind.NOTICE, EventKind.GATES_EVALUATED)
    return [
        (event.kind, event.host, event.epoch, {key: event.data[key] for key in kept if key in event.data})
        for event in events
        if event.kind not in own
    ]


def test_a_users_loop_emits_the_events_of_a_run_in_the_same_order():
    sink = Collected()
    with grow(sinks=[sink]) as handle:
        train(handle)
    assert outline(sink.events) == outline(events_of_a_run())
    kinds = [event.kind for event in sink.events]
    assert (kinds[0], kinds[-1]) == (EventKind.RUN_STARTED, EventKind.RUN_FINISHED)
    assert {EventKind.SEED_FINISHED, EventKind.SEED_TRANSITION, EventKind.EPOCH_COMPLETED} <= set(kinds)
    assert [event.sequence for event in sink.events] == list(range(len(sink.events)))
    assert [call for call, _ in sink.calls] == ["open", "close"]


def test_the_first_decision_comes_before_the_first_epoch_and_none_after_the_last():
    policy = Scripted()
    handle = grow(policy=policy)
    assert not hasattr(policy, "seen")
    steps(handle, end=1)
    assert [observation.host.epoch for observation in policy.seen] == [0]
    assert handle.slots[0].stage is Stage.GERMINATED
    steps(handle, begin=1)
    outcomes = [end(handle), *train(handle)]
    assert [observation.host.epoch for observation in policy.seen] == list(range(EPOCHS))
    assert [t.target for t in outcomes[0].transitions][:1] == [Stage.GERMINATED]
    assert [action.op for action in outcomes[3].decision.actions] == [Op.CULL]
    assert (outcomes[-1].decision, outcomes[-1].verdicts) == (None, ())
    changes = [(t.slot, t.epoch, t.target) for outcome in outcomes for t in outcome.transitions]
    assert len(changes) == len(set(changes)) > 4


def test_a_sample_confirms_the_sites_and_the_decision_waits_for_training():
    policy = Scripted()
    handle = grow(policy=policy, sample=data(0)[0])
    assert [slot.stage for slot in handle.slots] == [Stage.DORMANT]
    with torch.no_grad():
        handle.model(data(0)[0])
    assert not hasattr(policy, "seen")
    steps(handle)
    assert len(policy.seen) == 1


def test_actions_have_ids_and_seeds_know_them():
    handle = grow()
    first, *_ = train(handle, until=4)
    germinated = next(t for t in first.transitions if t.target is Stage.GERMINATED)
    assert germinated.action_id == "model/0"
    assert [(action.id, action.policy) for action in first.decision.actions] == [("model/1", "Scripted")]


def test_costs_of_seeds_are_counted_once(monkeypatch):
    counted = []
    real = grower.seed_cost
    monkeypatch.setattr(
        grower, "seed_cost", lambda build, site, **given: counted.append(site.id) or real(build, site, **given)
    )
    handle = grow(settings={"limits": {"max_growth_ratio": 9.0}}, policy={"name": "null"})
    train(handle)
    assert len(counted) == 2  # a seed of the one blueprint, and a share


def mode_after_a_jump(**changes):
    """What the governor thinks of a loss that is far above the first one."""
    handle = grow(**changes)
    train(handle, until=1)
    with torch.no_grad():
        handle.model.head.weight.mul_(60.0)
    steps(handle, end=0)
    handle.epoch_end([data(99)], cross_entropy)
    return handle._session.host.grower.governor.mode


class Strict:
    def evaluate(self, signs):
        return Vote(mode=GovernorMode.CONSERVATIVE, reason="as a test")


@pytest.mark.parametrize(
    ("evaluators", "mode"),
    [
        (None, GovernorMode.CONSERVATIVE),
        (["divergence"], GovernorMode.CONSERVATIVE),
        ([], GovernorMode.NORMAL),
        ([{"name": "divergence", "factor": 1e6}], GovernorMode.NORMAL),
        ([{"name": "divergence", "factor": 1e6}, Strict()], GovernorMode.CONSERVATIVE),
    ],
)
def test_evaluators_vote_in_a_loop_of_the_users_own_too(evaluators, mode):
    assert mode_after_a_jump(evaluators=evaluators) is mode


def test_without_the_standard_evaluator_the_governor_knows_its_own_rule_alone():
    plugins = load_plugins(Selection(wanted=("none", "blueprint-mlp", "gates-standard")))
    assert mode_after_a_jump(plugins=plugins) is GovernorMode.NORMAL


@pytest.mark.parametrize(
    ("evaluators", "code", "words"),
    [
        (["divergenc"], "E204", "divergence"),
        (["divergence", "divergence"], "E202", 'evaluator "divergence" is named twice'),
        ([{"name": "divergence", "faktor": 2}], "E201", "governor.divergence.faktor"),
        ([3], "E202", "evaluators"),
    ],
)
def test_an_evaluator_that_is_wrongly_given_is_refused(evaluators, code, words):
    with pytest.raises(EsperError, match=words) as caught:
        grow(evaluators=evaluators)
    assert caught.value.code == code


def test_the_governor_knows_the_loss_of_guessing_where_it_is_told():
    plain, told = (grow(settings={"random_guess_loss": guess}) for guess in (None, 5.0))
    for handle in (plain, told):
        train(handle, until=1)
        with torch.no_grad():
            handle.model.head.weight.mul_(60.0)
        steps(handle, end=0)
        handle.epoch_end([data(99)], cross_entropy)
    assert plain._session.host.grower.governor.mode is GovernorMode.CONSERVATIVE
    assert told._session.host.grower.governor.mode is GovernorMode.NORMAL


OBSERVER = """
from esper_core.hooks import hookimpl

ESPER_API = "1.0"
HEARD = []


@hookimpl
def esper_run_start(manifest):
    HEARD.append(("start", manifest["seed"]))


@hookimpl
def esper_epoch_end(host, evidence):
    HEARD.append((host, evidence.epoch))


@hookimpl
def esper_seed_transition(host, transition):
    HEARD.append((host, transition.target.name))


@hookimpl
def esper_run_finish(result):
    HEARD.append(("finish", result["outcome"]))
"""


def test_observers_of_plugins_that_are_named_are_called(install):
    install("esper-ear", code=OBSERVER)
    with grow(plugins=load_plugins(Selection(wanted=("auto", "ear"))), seed=3) as handle:
        train(handle)
    heard = sys.modules["esper_ear.plugin"].HEARD
    assert (heard[0], heard[-1]) == (("start", 3), ("finish", "completed"))
    assert [what for host, what in heard[1:-1] if isinstance(what, int)] == list(range(EPOCHS))
    assert ("model", "GERMINATED") in heard


@pytest.mark.parametrize("at", [(0, 2), (3, 0), (3, 2)], ids=str)
def test_a_state_from_the_middle_of_an_epoch_goes_on_with_what_was_decided(at):
    epoch, step = at

    def play(resume):
        sink = Collected()
        handle = grow(sinks=[sink])
        train(handle, until=epoch)
        steps(handle, end=step)
        if resume:
            saved = (
                json.loads(json.dumps(handle.state_dict())),
                handle.model.state_dict(),
                handle.optimizer.state_dict(),
            )
            events, sink = sink.events, Collected()
            handle = grow(sinks=[sink])
            handle.load_state_dict(saved[0])
            handle.model.load_state_dict(saved[1])
            handle.optimizer.load_state_dict(saved[2])
            sink.events.extend(events)
        steps(handle, begin=step)
        outcomes = [end(handle), *train(handle)]
        handle.close()
        return handle, outcomes, sink

    (whole, ours, one), (resumed, theirs, other) = play(False), play(True)
    assert [o.transitions for o in ours] == [o.transitions for o in theirs]
    assert outline(one.events) == outline(other.events)
    assert [e.sequence for e in one.events] == [e.sequence for e in other.events]
    assert other.calls[0][1]["resumed_at"] > 0
    for (name, weight), again in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(weight, again), name


def test_a_state_of_which_little_was_measured_survives_json():
    handle = grow()
    steps(handle)
    handle.epoch_end()
    saved = json.loads(to_json(handle.state_dict()))
    resumed = grow()
    resumed.load_state_dict(saved)
    assert to_json(resumed.state_dict()) == to_json(handle.state_dict())
    steps(resumed)
    assert resumed.epoch_end([data(99)], cross_entropy, train_accuracy=0.5).evidence.validation.samples == 80


def test_a_directory_holds_what_show_reads(tmp_path):
    path = tmp_path / "runs" / "mine"
    with grow(run_directory=path, policy="heuristic") as handle:
        train(handle)
        final = handle.finish([data(98)], cross_entropy)
    assert {"manifest.json", "events.jsonl", "result.json"} <= {file.name for file in path.iterdir()}
    result = json.loads((path / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert result["hosts"]["model"]["test_accuracy"] == final.test.accuracy
    shown = CliRunner().invoke(cli, ["show", str(path)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert "mine: completed, 7 of 7 epochs" in shown.output
    assert "There was no twin" in shown.output
    found = json.loads((path / "manifest.json").read_text())["sites"]
    assert [line.partition(":")[0] for line in found] == [slot.site.id for slot in handle.slots]
    told = " ".join(shown.output.split())
    assert all(line.split(",")[0] in told for line in found)
    assert "loss: the mean over each sample" in told
    assert found == [line.removeprefix("  site ") for line in repr(handle).splitlines() if "  site " in line]
    listed = CliRunner().invoke(cli, ["runs", "--runs", str(path.parent)], catch_exceptions=False)
    assert "mine" in listed.output


def test_what_was_not_tested_is_not_in_the_result(tmp_path):
    path = tmp_path / "mine"
    with grow(run_directory=path) as handle:
        train(handle, until=2)
    result = json.loads((path / "result.json").read_text())
    assert (result["outcome"], result["hosts"]["model"]["test_accuracy"]) == ("interrupted", None)
    assert CliRunner().invoke(cli, ["show", str(path)], catch_exceptions=False).exit_code == 0


def test_what_was_not_told_or_tested_is_not_shown(tmp_path, capsys):
    path = tmp_path / "mine"
    with grow(run_directory=path, sinks=["console"]) as handle:
        steps(handle)
        handle.epoch_end([data(99)], cross_entropy, train_accuracy=0.25)
        steps(handle)
        handle.epoch_end([data(99)], cross_entropy)
    printed = capsys.readouterr().out
    shown = CliRunner().invoke(cli, ["show", str(path)], catch_exceptions=False).output
    assert "model: training 25.0 %, validation" in printed
    assert "model: training -, validation" in printed
    assert "parameters" in printed
    assert "; model: validation " in " ".join(shown.split())
    for word in ("NaN", "test accuracy", "test loss"):
        assert word not in printed + shown


def test_a_training_goes_on_in_its_directory(tmp_path):
    path = tmp_path / "mine"
    begun = grow(run_directory=path)
    train(begun, until=3)
    steps(begun, end=2)
    saved = begun.state_dict(), begun.model.state_dict(), begun.optimizer.state_dict()
    steps(begun, begin=2)
    end(begun)  # is lost with the process
    with grow(run_directory=path) as handle:
        handle.load_state_dict(saved[0])
        handle.model.load_state_dict(saved[1])
        handle.optimizer.load_state_dict(saved[2])
        steps(handle, begin=2)
        end(handle)
        train(handle)
    events = [json.loads(line) for line in Path(path, "events.jsonl").read_text().splitlines()]
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert [e["epoch"] for e in events if e["kind"] == "epoch_completed"] == list(range(EPOCHS))
    assert json.loads((path / "manifest.json").read_text())["resumed"] == [{"epoch": 3, "command": []}]


def test_a_directory_needs_the_application(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "esper_app.api", None)
    with pytest.raises(EsperError, match="needs the application") as caught:
        grow(run_directory=tmp_path / "mine")
    assert "pip install esper-app" in caught.value.fix
    assert not (tmp_path / "mine").exists()


def test_a_training_that_is_over_is_not_gone_on_with():
    handle = grow()
    train(handle, until=2)
    handle.close()
    handle.close()
    for late in (lambda: end(handle), handle.finish):
        with pytest.raises(EsperError, match="is over") as caught:
            late()
        assert caught.value.code == "E402"
    unbegun = grow()
    unbegun.close()
    assert not unbegun.begun


def test_reports_say_the_same_when_they_are_asked_for_again():
    handle = grow()
    train(handle, until=5)
    host = handle._session.host
    steps(handle)
    end(handle)
    assert host.report() == host.report()
    assert host.report().evidence is not None


def test_a_glob_shares_its_options_and_a_name_is_found_once():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sites = [SiteRequest(path="0", id="front"), SiteRequest(path="*", causal=True)]
    handle = esper_core.grow(model, sites=sites, optimizer=optimizer, epochs=3, sample=torch.zeros(2, 6))
    assert [(site.id, site.causal) for site in handle.growth.sites] == [("front", False), ("1", True), ("2", True)]


def test_diagnostics_look_into_a_users_network_and_leave_it_as_it_was():
    plain, seen = Collected(), Collected()
    looked = {"name": "standard", "every": 2, "sharpness_samples": 2}
    handles = [grow(sinks=[plain]), grow(sinks=[seen], diagnostics=[looked])]
    for handle in handles:
        with handle:
            train(handle)
    weights = [handle.model.state_dict() for handle in handles]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    found = [event for event in seen.events if event.kind is EventKind.DIAGNOSED]
    assert [event.epoch for event in found] == [0, 2, 4, 6]
    assert not any(event.kind is EventKind.DIAGNOSED for event in plain.events)
    finding = found[0].data["finding"]
    assert finding["accuracy"] == pytest.approx(finding["classes"][0]["accuracy"], abs=0.5)
    assert {layer["name"] for layer in finding["layers"]} >= {"first.weight", "head.weight"}
    assert finding["gradients"]["norm"] > 0


def test_without_validation_data_diagnostics_find_nothing():
    sink = Collected()
    with grow(sinks=[sink], diagnostics=["standard"], epochs=1) as handle:
        steps(handle)
        handle.epoch_end(train_loss=0.6)
    assert not any(event.kind is EventKind.DIAGNOSED for event in sink.events)


def test_a_diagnostic_that_changes_the_users_network_is_an_error():
    class Meddling:
        def examine(self, view):
            with torch.no_grad():
                next(view.model.parameters()).add_(1.0)

    with grow(diagnostics=[Meddling()]) as handle:
        steps(handle)
        with pytest.raises(EsperError) as caught:
            end(handle)
    assert caught.value.code == "E530"
