"""`esper train`: rounds of fresh hosts, saved policies, and a training that is killed and goes on bit for bit."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from attrs import evolve
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.configuration.policy_card import read_card
from esper_app.execution.policy_files import load_policy, save_policy
from esper_core.leyline.errors import EsperError

EPOCHS, ROUNDS, HOSTS = 4, 3, 2
SMALL = ["host.widths=[4, 4]", f"epochs={EPOCHS}", "policy.hidden=16", "policy.slot_encoding=8", "seed=5"]
#: So that not every decision of a few is to wait.
SMALL += ["policy.wait_bias=0"]
KEPT = ["checkpoints.every=1", "checkpoints.keep=99"]
CHANGES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds", "resumed"}


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def settings(*texts):
    return [part for text in texts for part in ("--set", text)]


def training(runs, *more):
    return ["train", "digits", "--rounds", ROUNDS, "--hosts", HOSTS, *settings(*SMALL, *KEPT, f"runs={runs}"), *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that is left alone; it keeps all of its checkpoints."""
    runs = tmp_path_factory.mktemp("whole")
    result = invoke(*training(runs))
    assert result.exit_code == 0, result.output
    (runs / "digits-1" / "said.txt").write_text(result.output)
    return runs / "digits-1"


def events(run):
    return [timeless(json.loads(line)) for line in (run / "events.jsonl").read_text().splitlines()]


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in CHANGES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def cut(whole, folder, number, epoch):
    """A copy as a kill just after the checkpoint before an epoch of a round would have left it."""
    run = folder / "digits-1"
    shutil.copytree(whole, run)
    last = f"{f'round-{number:06d}-' if number else ''}epoch-{epoch:06d}"
    order = [path.stem for path in sorted((run / "checkpoints").iterdir())]
    assert last in order
    for name in order[order.index(last) + 1 :]:
        (run / "checkpoints" / f"{name}.safetensors").unlink()
    (run / "result.json").unlink()
    # What is saved from here on is not to be found there already.
    (run / "policy/last.safetensors").write_bytes(b"")
    if read_card(run / "policy/best.json").results["round"] >= number:
        (run / "policy/best.safetensors").write_bytes(b"")
    return run


def assert_same_training(one, other):
    for name in ("best", "last"):
        for suffix in (".safetensors", ".json"):
            assert (one / f"policy/{name}{suffix}").read_bytes() == (other / f"policy/{name}{suffix}").read_bytes()
    assert events(one)[1:] == events(other)[1:]
    first, second = (timeless(json.loads((it / "result.json").read_text())) for it in (one, other))
    # How far a display has come is the process's own affair.
    assert [it["sinks"].pop("display")["errors"] for it in (first, second)] == [0, 0]
    assert first == second


def test_a_training_says_in_a_line_what_came_of_each_round(whole):
    said = (whole / "said.txt").read_text().splitlines()
    assert said[0] == "digits-1: task digits, host cnn, policy ppo, seed 5, rewards shaped"
    assert [line.split(" | ")[0] for line in said if " | " in line] == [f"round {n} of 3" for n in (1, 2, 3)]
    assert "mean return" in said[1]
    assert "about" in said[1]
    assert said[-1] == f"use the policy: esper run digits --policy {whole / 'policy'}"


def test_each_host_has_a_seed_and_a_twin_of_its_own(whole, tmp_path):
    result = invoke(
        "run", "digits", "--policy", "null", *settings(*SMALL[:2], "seed=6", "epochs=1", f"runs={tmp_path}")
    )
    assert result.exit_code == 0, result.output
    alone = next(it["data"] for it in events(tmp_path / "digits-1") if it["kind"] == "epoch_completed")
    first = {
        it["host"]: it["data"] for it in reversed(events(whole)) if (it["kind"], it["round"]) == ("epoch_completed", 0)
    }
    assert set(first) == {"grown-1", "grown-2", "twin-1", "twin-2"}
    assert first["twin-2"]["train"]["loss"] == alone["train"]["loss"]
    assert first["twin-1"]["train"]["loss"] != alone["train"]["loss"]


def test_each_round_is_learned_from_and_its_rewards_are_the_presets(whole):
    finished = [it for it in events(whole) if it["kind"] == "round_finished"]
    assert [it["data"]["figures"]["steps"] for it in finished] == [EPOCHS * HOSTS] * ROUNDS
    rewarded = next(it["data"]["terms"] for it in events(whole) if it["kind"] == "reward_computed")
    assert {"stage-potential", "attribution", "terminal"} <= set(rewarded)


def test_the_best_policy_is_the_one_that_acted_in_the_best_round(whole):
    over = json.loads((whole / "result.json").read_text())["training"]
    returns = [it["mean_return"] for it in over["rounds"]]
    best, last = (read_card(whole / f"policy/{name}.json") for name in ("best", "last"))
    assert (over["best"], over["planned"]) == (returns.index(max(returns)), ROUNDS)
    assert (best.rounds, last.rounds) == (over["best"], ROUNDS)
    assert best.results["mean_return"] == max(returns)
    state = load_policy(whole / "policy").state
    assert state.record["updates"] == over["best"]


def test_a_card_says_what_the_policy_is(whole):
    card = read_card(whole / "policy/last.json")
    saved = load_policy(whole / "policy/last")
    assert (card.policy, card.task, card.hosts, card.epochs, card.seed) == ("ppo", "digits", HOSTS, EPOCHS, 5)
    assert card.options["hidden"] == 16
    assert card.rewards["preset"] == "shaped"
    assert card.catalogue == saved.state.record["catalogue"]
    assert card.observation == saved.state.record["schema_hash"]
    assert "esper-policy-ppo" in card.versions
    assert str(whole) not in (whole / "policy/last.json").read_text()


@pytest.mark.parametrize(("number", "epoch"), [(0, 2), (0, EPOCHS), (1, 1), (2, EPOCHS)])
def test_a_training_goes_on_bit_for_bit_wherever_it_was_killed(whole, tmp_path, number, epoch):
    run = cut(whole, tmp_path, number, epoch)
    result = invoke("train", "--resume", run)
    assert result.exit_code == 0, result.output
    assert_same_training(whole, run)


#: `esper`, which kills itself in the third round, however quick it is: hosts and their twins take eight calls a round.
KILLED = """
import os, signal, sys
from esper_app.cli.root import cli
from esper_executor_processes.executor import ProcessesExecutor
real, calls = ProcessesExecutor.epoch, []
def epoch(self, references):
    calls.append(0)
    if len(calls) == 19:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, references)
ProcessesExecutor.epoch = epoch
cli(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_bit_for_bit(whole, tmp_path):
    command = [sys.executable, "-c", KILLED, *map(str, training(tmp_path))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "round 2 of" in done.stdout
    assert "round 3 of" not in done.stdout
    assert not (tmp_path / "digits-1" / "result.json").exists()
    result = invoke("train", "--resume", tmp_path / "digits-1")
    assert result.exit_code == 0, result.output
    assert_same_training(whole, tmp_path / "digits-1")


def test_a_run_with_a_saved_policy_takes_everything_from_its_card(whole, tmp_path):
    arguments = ["run", "digits", "--policy", whole / "policy", *settings(*SMALL[:2], f"runs={tmp_path}")]
    for _ in range(2):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
    one, other = (tmp_path / f"digits-{number}" for number in (1, 2))
    assert events(one)[1:] == events(other)[1:]
    manifest = json.loads((one / "manifest.json").read_text())
    assert manifest["config"]["policy"]["hidden"] == 16
    assert manifest["saved_policy"]["digest"] == read_card(whole / "policy/best.json").digest
    copy, original = load_policy(one / "policy/first"), load_policy(whole / "policy/best")
    assert copy.card == original.card
    decided = [it["data"]["reason"] for it in events(one) if it["kind"] == "action_decided"]
    sampled = invoke(*arguments, *settings("policy.sample=false"))
    assert sampled.exit_code == 0, sampled.output
    most_probable = [it["data"]["reason"] for it in events(tmp_path / "digits-3") if it["kind"] == "action_decided"]
    assert decided
    assert decided != most_probable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('policy.blueprints=["conv-light"]', "its catalogue is bottleneck"),
        ("blueprints.bottleneck.ratio=0.25", '"bottleneck" had the options {"ratio": 0.5}, it has {"ratio": 0.25}'),
        ("policy.hidden=32", "hidden and slot_encoding were [16, 8], they are [32, 8]"),
        ("policy.name=heuristic", 'it is of the policy "ppo", the run has "heuristic"'),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_the_difference(whole, tmp_path, change, said):
    result = invoke("run", "digits", "--policy", whole / "policy", *settings(change, f"runs={tmp_path}"))
    assert result.exit_code == 1, result.output
    assert "error[E502]" in result.output
    assert said in result.output
    assert not [*tmp_path.iterdir()], "nothing has begun"


def test_a_policy_of_other_features_is_refused_by_their_names(whole, tmp_path):
    saved = load_policy(whole / "policy/last")
    record = json.loads(json.dumps(saved.state.record))
    record["schema"]["host"][0]["name"] = "weather"
    record["schema_hash"] = "0" * 64
    save_policy(tmp_path / "policy", "last", saved.card, evolve(saved.state, record=record))
    result = invoke("run", "digits", "--policy", tmp_path / "policy", *settings(f"runs={tmp_path / 'runs'}"))
    assert (result.exit_code, "error[E502]" in result.output) == (1, True), result.output
    assert "host feature weather is not there any more" in result.output


@pytest.mark.parametrize("spoil", ["tensors", "card", "missing", "newer"])
def test_files_that_are_not_as_they_were_written_are_refused(whole, tmp_path, spoil):
    shutil.copytree(whole / "policy", tmp_path / "policy")
    card, tensors = tmp_path / "policy/last.json", tmp_path / "policy/last.safetensors"
    if spoil == "tensors":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif spoil == "card":
        card.write_text("[]")
    elif spoil == "missing":
        tensors.unlink()
    else:
        card.write_text(json.dumps(json.loads(card.read_text()) | {"format": 99}))
    with pytest.raises(EsperError) as refused:
        load_policy(tmp_path / "policy/last")
    assert refused.value.code == "E517"


def test_a_saved_policy_is_trained_further(whole, tmp_path):
    more = settings(*SMALL[:2], f"runs={tmp_path}")
    result = invoke("train", "digits", "--policy", whole / "policy/last", "--rounds", 1, *more)
    assert result.exit_code == 0, result.output
    assert load_policy(tmp_path / "digits-1/policy/last").state.record["updates"] == ROUNDS + 1
    best = load_policy(tmp_path / "digits-1/policy/best").state.tensors
    began = load_policy(whole / "policy/last").state.tensors
    assert all(best[name].equal(it) for name, it in began.items() if name.startswith("network/"))


def test_what_cannot_be_trained_is_refused(tmp_path):
    for more, said in (
        (["policy.name=heuristic"], 'the policy "heuristic" does not learn'),
        (["policy.follow=true"], "only a version of the state directory's store can be followed"),
        (["rewards.preset=none"], "there is no reward to learn from"),
        (["rewards.preset=shapd"], 'did you mean "shaped"'),
    ):
        result = invoke("train", "digits", *settings(*more, f"runs={tmp_path}"))
        assert result.exit_code == 2, result.output
        assert said in result.output
    assert not [*tmp_path.iterdir()]


def test_rounds_of_a_policy_that_does_not_learn_are_refused_by_name(tmp_path):
    result = invoke("train", "digits", "--policy", "heuristic", "--rounds", 1, *settings(f"runs={tmp_path}"))
    assert result.exit_code == 2, result.output
    assert "at --rounds" in result.output
    assert "--policy ppo" in result.output


def test_a_run_and_a_training_are_not_each_other(whole, tmp_path):
    run = cut(whole, tmp_path, 0, 2)
    result = invoke("run", "--resume", run)
    assert (result.exit_code, "esper train --resume" in result.output) == (2, True), result.output
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["training"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    result = invoke("train", "--resume", run)
    assert (result.exit_code, "esper run --resume" in result.output) == (2, True), result.output


def test_other_commands_read_a_training(whole):
    for arguments in (["show", whole], ["show", whole, "--json"], ["runs", "--runs", whole.parent]):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
