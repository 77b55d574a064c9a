"""`esper eval` and `esper explain`: judged on whole runs, repeated exactly."""

import json
import shutil
from types import SimpleNamespace

import pytest
from attrs import evolve
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app_train.evaluation import (
    Evaluation,
    SeedResult,
    calibration,
    paired_scores,
    red_flags,
    returns_to_go,
)

SMALL = ["twin=epochs", "host.widths=[4, 4]", "epochs=5", 'policy.blueprints=["conv-light", "bottleneck"]', "seed=3"]


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def settings(*texts):
    return [part for text in texts for part in ("--set", text)]


def ran(runs, policy, *more):
    quiet = settings(*SMALL, f"runs={runs}", 'sinks.names=["jsonl"]', "checkpoints.every=1", "checkpoints.keep=99")
    result = invoke("run", "digits", "--policy", policy, *quiet, *more)
    assert result.exit_code == 0, result.output


def data(*arguments):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("trained")
    more = settings(*SMALL, "policy.hidden=16", "policy.slot_encoding=8", f"runs={runs}")
    result = invoke("train", "digits", "--rounds", 2, *more)
    assert result.exit_code == 0, result.output
    return runs / "digits-1"


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A run in which nothing was done, with all of its checkpoints."""
    runs = tmp_path_factory.mktemp("waiting")
    ran(runs, "null")
    return runs / "digits-1"


def decided(run, number, epoch):
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return next(
        it["data"] for it in events if it["kind"] == "action_decided" and (it["round"], it["epoch"]) == (number, epoch)
    )


def test_an_explanation_is_of_what_was_recorded(trained):
    found = data("explain", trained, "--round", 2, "--epoch", 3)
    (done,) = found["actions"]
    recorded = decided(trained, 1, 2)
    assert {key: done[key] for key in ("op", "slot", "blueprint", "blend")} == {
        key: recorded[key] for key in ("op", "slot", "blueprint", "blend")
    }
    chosen = [
        it
        for it in found["explanation"]["choices"]
        if (it["action"]["op"], it["action"]["slot"]) == (done["op"], done["slot"])
    ]
    assert any(it["probability"] == pytest.approx(recorded["confidence"], abs=1e-6) for it in chosen)
    assert f"value {found['explanation']['value']:+.3f}" in recorded["reason"]
    seen = {it["feature"]["name"]: it["values"] for it in found["host_features"]}
    assert seen["progress"] == [2 / 5]
    assert found["slots"] == ["block0", "block1"]
    assert found["compared"] > 10


def test_the_page_names_features_choices_and_masks(trained):
    result = invoke("explain", trained, "--epoch", 1)
    assert result.exit_code == 0, result.output
    for said in (
        "from the beginning: 1 epoch to",
        "possible actions; it expects",
        "GERMINATE in block0: conv-light, bottleneck",
        "random-guess loss known",
        "softsign",
        "repeated, all exactly",
    ):
        assert said in result.output, said


def test_an_alternative_comes_out_as_the_run_that_did_it(waiting, tmp_path):
    found = data("explain", waiting, "--epoch", 2, "--alternatives", 3)
    ran(tmp_path, "periodic", *settings("policy.first_epoch=1", "policy.every_epochs=100"))
    done = decided(tmp_path / "digits-1", 0, 1)
    other = json.loads((tmp_path / "digits-1/result.json").read_text())["hosts"]["grown"]
    same = [
        it
        for it in found["outcomes"]
        if all(it["action"][key] == done[key] for key in ("op", "slot", "blueprint", "blend"))
    ]
    assert [(it["loss"], it["accuracy"]) for it in same] == [(other["test_loss"], other["test_accuracy"])]
    actual = json.loads((waiting / "result.json").read_text())["hosts"]["grown"]
    assert (found["outcomes"][0]["loss"], found["outcomes"][0]["action"]["op"]) == (actual["test_loss"], "WAIT")
    assert found["explanation"] is None


def test_from_a_checkpoint_it_is_what_it_is_from_the_beginning(waiting, tmp_path):
    shutil.copytree(waiting, tmp_path / "digits-1")
    shutil.rmtree(tmp_path / "digits-1/checkpoints")
    near, far = (
        invoke("explain", run, "--epoch", 4, "--alternatives", 1, "--json") for run in (waiting, tmp_path / "digits-1")
    )
    assert "from the checkpoint before epoch 4: 1 epoch to" in near.stderr
    assert "from the beginning: 4 epochs" in far.stderr
    one, other = json.loads(near.stdout), json.loads(far.stdout)
    assert other.pop("compared") > one.pop("compared") > 0
    assert one == other


def test_a_run_that_cannot_be_repeated_is_refused(waiting, tmp_path):
    run = tmp_path / "digits-1"
    shutil.copytree(waiting, run)
    lines = (run / "events.jsonl").read_text().splitlines()
    event = json.loads(lines[-2])
    index = max(
        i for i, line in enumerate(lines) if '"epoch_completed"' in line and '"host":"grown"' in line.replace(" ", "")
    )
    event = json.loads(lines[index])
    event["data"]["train"]["loss"] += 1e-9
    lines[index] = json.dumps(event)
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    result = invoke("explain", run, "--epoch", 5)
    assert (result.exit_code, "error[E518]" in result.output) == (1, True), result.output
    assert "grown in epoch 5 is not what was recorded" in result.output


@pytest.mark.parametrize(
    ("more", "said"), [(["--epoch", 6], "no epoch 6"), (["--epoch", 2, "--host", "twin"], 'no host "twin"')]
)
def test_what_was_not_is_not_explained(waiting, more, said):
    result = invoke("explain", waiting, *more)
    assert (result.exit_code, "error[E520]" in result.output) == (2, True), result.output
    assert said in result.output


def test_an_evaluation_measures_each_seed_beside_its_twin(trained, waiting):
    more = ["digits", *settings(*SMALL[:3])]
    both = data("eval", trained, *more, "--seeds", "3,8", "--against", "null", "--deterministic")
    ours, null = both
    assert ours["policy"].endswith("(deterministic)")
    assert [it["seed"] for it in ours["seeds"]] == [3, 8]
    assert ours["calibration"]["steps"] == 10
    assert sum(sum(it.values()) for it in ours["actions"].values()) == 10
    actual = json.loads((waiting / "result.json").read_text())["hosts"]["twin"]
    for it in (null, ours):
        assert it["seeds"][0]["twin_accuracy"] == actual["test_accuracy"]
    assert null["seeds"][0]["accuracy"] == actual["test_accuracy"]
    assert null["red_flags"] == ["in 100 % of all choices it takes WAIT", "it never germinates a seed"]
    alone = data("eval", trained, *more, "--seeds", "8")
    assert [it["policy"].rpartition("(")[2] for it in alone] == ["sampled)", "deterministic)"]
    assert alone[1]["seeds"][0] == ours["seeds"][1], "nobody else on the other seeds makes a difference"


def test_the_policy_is_the_first_argument(trained):
    result = invoke("eval", "null", "digits", "--policy", "random")
    assert (result.exit_code, "--against" in result.output) == (2, True)
    assert invoke("eval", "null", "digits", "--seeds", "4-2").exit_code == 2


def test_a_bus_and_sinks_hear_nothing_of_an_evaluation_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    small = settings(*SMALL[:3], "epochs=1")
    for setting in ("bus.name=sqlite", 'sinks.names=["jsonl"]'):
        result = invoke("eval", "null", "digits", *small, *settings(setting))
        section = setting.partition(".")[0]
        assert (result.exit_code, "error[E202]" in result.output, f"`{section}`" in result.output) == (2, True, True)
    file = tmp_path / "mine.toml"
    file.write_text('[bus]\nname = "sqlite"\n[sinks]\nnames = ["console"]\n')
    result = invoke("eval", "null", "digits", *small, "--seeds", "1", "--config", file)
    assert result.exit_code == 0, result.output
    for path in ("bus.name", "sinks.names"):
        assert f"`{path}` of " in result.output, result.output
    assert not (tmp_path / "state").exists()


def seed(number, accuracy=0.9, twin=0.8, **more):
    facts = {"loss": 0.3, "twin_loss": 0.4, "total_reward": 1.0, "parameters": 10, "germinated": 2, "kept": 1}
    facts |= {"culled": 0, "stopped": False, **more}
    return SeedResult(seed=number, accuracy=accuracy, twin_accuracy=twin, **facts)


def evaluation(*seeds, **more):
    facts = {"actions": {"early": {"WAIT": 1, "GERMINATE": 1}}, "denied": 0, "certainty": 0.5, "calibration": None}
    return Evaluation(policy="p", seeds=tuple(seeds), **facts | more)


def test_values_are_compared_with_discounted_rewards():
    assert returns_to_go([1.0, 0.0, 2.0], 0.5) == [1.5, 1.0, 2.0]
    found = calibration([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert (found.steps, found.bias, found.mean_error) == (3, -1.0, 1.0)
    assert found.correlation == pytest.approx(1.0)
    assert calibration([1.0, 1.0], [0.0, 1.0]).correlation is None
    assert calibration([], []) is None


def test_differences_are_of_accuracies_where_there_are_any():
    one, other = evaluation(seed(0), seed(1, 0.7)), evaluation(seed(0, 0.85), seed(1, 0.6))
    assert paired_scores(one) == pytest.approx([0.1, -0.1])
    assert paired_scores(one, other) == pytest.approx([0.05, 0.1])
    lossy = evaluation(seed(0, None, None), seed(1, loss=None))
    assert paired_scores(lossy) == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"actions": {"early": {"WAIT": 19, "CULL": 1}}}, "95 % of all choices it takes WAIT"),
        ({"seeds": (seed(0, germinated=0, kept=0),)}, "never germinates"),
        ({"seeds": (seed(0, germinated=20, kept=1),)}, "of 20 seeds 1 were kept"),
        ({"seeds": (seed(0, stopped=True),)}, "1 of 1 hosts were stopped"),
        ({"denied": 3}, "denied 3 of its actions"),
        ({"calibration": calibration([1.0, 2.0, 3.0], [3.0, 1.0, 2.0])}, "correlation -0.50"),
    ],
)
def test_what_is_suspicious_is_said(change, said):
    assert red_flags(evaluation(seed(0))) == []
    assert any(said in flag for flag in red_flags(evolve(evaluation(seed(0)), **change)))


def test_actions_are_counted_by_thirds_where_there_was_a_choice():
    from esper_app_train.evaluation import actions_by_phase
    from esper_core.api import Action, ActionMasks, Decision, Op

    free = ActionMasks(slots=("a",), blueprints=("b",), cull=frozenset({"a"}))
    none = ActionMasks(slots=("a",), blueprints=("b",))

    def asked(epoch, masks, *actions):
        observation = SimpleNamespace(host=SimpleNamespace(epoch=epoch))
        situation = SimpleNamespace(masks=masks, observation=observation)
        return SimpleNamespace(situation=situation, decision=Decision(actions=actions))

    cull = Action(op=Op.CULL, slot="a")
    found = actions_by_phase([asked(0, free, cull), asked(4, free), asked(8, free, cull), asked(2, none)], 9)
    assert [found[phase]["CULL"] for phase in ("early", "middle", "late")] == [1, 0, 1]
    assert [found[phase]["WAIT"] for phase in ("early", "middle", "late")] == [0, 1, 0]
