"""A checkpoint that somebody has made up and signed: the run goes on with it, or refuses it with a code.

Each untruth follows from its number. To repeat one: ``ESPER_FUZZ=NUMBER:1 pytest -m soak tests/strangers -k untruth``.
"""

import copy
import functools
import importlib.util
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import esper_app.locks.provenance
import esper_core.plugins.installed
import esper_task_teacher.task
from esper_app.cli.root import cli


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


forked, readers, sentinels, signed = map(_helper, ("forked", "readers", "sentinels", "signed"))

#: In the slow suite, of each.
FEW = 24

SETTINGS = [
    "twin=epochs",
    "seed=3",
    "optimizer.name=adamw",
    "checkpoints.every=1",
    "checkpoints.keep=9",
    "lifecycle.ramp_epochs=1",
]
SETTINGS += ['policy.blueprints=["conv-light", "group-norm"]', "gates.name=permissive"]
SAMPLES = ["task.train_samples=128", "task.validation_samples=64", "task.test_samples=64"]
HEURISTIC = ["epochs=5", "policy.germinate_until=0.6", "policy.fit_accuracy=1.0"]
PPO = ["epochs=4", "policy.hidden=4", "policy.slot_encoding=4", "policy.seed=1", "task.train_samples=64"]


class Stopped:
    """A run, or a training, with live seeds, that was killed in an epoch."""

    def __init__(self, runs, words, settings, checkpoint):
        self.runs, self.word = runs, words[0]
        settings = [part for setting in [*settings, f"runs={runs}"] for part in ("--set", setting)]
        done = CliRunner().invoke(cli, [*words, *settings])
        assert done.exit_code == 0, done.output
        readers.as_if_killed(runs / "teacher-1")
        for path in (runs / "teacher-1" / "checkpoints").iterdir():
            if path.stem != checkpoint:
                path.unlink()
        self.checkpoint = Path("teacher-1", "checkpoints", f"{checkpoint}.safetensors")
        self.header, self.tensors = signed.read(runs / self.checkpoint)
        self.untruths = signed.untruths(self.header, self.tensors)

    def judge(self, folder):
        """Return what says of a number what is wrong with how the command takes that untruth; "" if nothing is."""
        # Not by the process's number: numbers come again.
        folder = Path(tempfile.mkdtemp(dir=folder))
        outside = sentinels.Sentinels(folder / "outside")
        return lambda number: self._wrong_with(number, folder / "trial", outside)

    def _wrong_with(self, number, folder, outside):
        untruth = self.untruths[number]
        shutil.copytree(self.runs, folder, symlinks=True)
        header, tensors = copy.deepcopy(self.header), dict(self.tensors)
        untruth.change(header, tensors)
        signed.write(folder / self.checkpoint, header, tensors)
        with readers.within(readers.PATIENCE):
            found = readers.wrong_with(CliRunner().invoke(cli, [self.word, "--resume", str(folder / "teacher-1")]))
        if not found and (touched := outside.touched()):
            found = f"it touched {', '.join(touched)}"
        shutil.rmtree(folder)
        return f"({untruth.what}) {found}" if found else ""

    def named(self, *places):
        """The numbers of the untruths about these places."""
        return [number for number, it in enumerate(self.untruths) if it.what.startswith(places)]

    def failures(self, numbers, folder, workers=1):
        tried = forked.tried(lambda: self.judge(folder), numbers, patience=2 * readers.PATIENCE, workers=workers)
        return forked.faults(tried, len(numbers))


@pytest.fixture(scope="module", autouse=True)
def _constant():
    """What no checkpoint changes is found out once instead of for each untruth: it was most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (esper_app.locks.provenance, "_package_files"),
            (esper_core.plugins.installed, "_on_path"),
            (esper_task_teacher.task, "build_examiner"),
            (esper_task_teacher.task, "draw_split"),
        ):
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    runs = tmp_path_factory.mktemp("stopped") / "runs"
    return Stopped(runs, ["run", "teacher"], [*SETTINGS, *SAMPLES, *HEURISTIC], "epoch-000004")


@pytest.fixture(scope="module")
def learning(tmp_path_factory):
    """A training of a policy, in its second round: it has weights, an optimizer, memories and trajectories."""
    runs = tmp_path_factory.mktemp("learning") / "runs"
    words = ["train", "teacher", "--policy", "ppo", "--rounds", "2"]
    return Stopped(runs, words, [*SETTINGS, *SAMPLES, *PPO], "round-000001-epoch-000003")


def of_the_policy(learning):
    """The numbers of the untruths that no run with another policy has.

    What a feature is made of is a thousand places, which are not read where their digest is the policy's own: of these
    every twentieth.
    """
    schema = learning.named("policies/grown/record/schema/")
    named = learning.named("policies", "policy//", "round", "loop", "epoch", "sequence")
    return sorted({*named} - {*schema} | {*schema[::20]})


def test_a_loop_of_no_hosts_is_refused(stopped, tmp_path):
    places = ("answers", "rewards", "curves", "last", "twins")
    numbers = stopped.named(*(f"loop/grown/{place} = '[]" for place in places), "loop/grown/twin/losses = ")
    assert numbers
    assert not (wrong := stopped.failures(numbers, tmp_path)), wrong


def test_a_place_behind_the_end_of_a_training_and_rounds_that_it_has_not_had_are_refused(learning, tmp_path):
    numbers = learning.named("round = '10", "round = '2'", "epoch = '10", "loop/rounds/over = '[]")
    numbers += learning.named("loop/rounds/over/0/mean_return removed")
    assert len(numbers) == 6
    assert not (wrong := learning.failures(numbers, tmp_path)), wrong


@pytest.mark.slow
def test_some_untruths(stopped, tmp_path):
    numbers = random.Random("untruths").sample(range(len(stopped.untruths)), FEW)
    assert not (wrong := stopped.failures(numbers, tmp_path)), wrong


@pytest.mark.slow
def test_some_untruths_about_a_policy(learning, tmp_path):
    numbers = random.Random("untruths").sample(of_the_policy(learning), FEW)
    assert not (wrong := learning.failures(numbers, tmp_path)), wrong


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_third_of_all_untruths(stopped, tmp_path):
    numbers = forked.third(range(len(stopped.untruths)))
    assert not (wrong := stopped.failures(numbers, tmp_path, workers=forked.cores())), wrong


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_third_of_all_untruths_about_a_policy(learning, tmp_path):
    numbers = forked.third(of_the_policy(learning))
    assert not (wrong := learning.failures(numbers, tmp_path, workers=forked.cores())), wrong
