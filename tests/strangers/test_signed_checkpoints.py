"""A checkpoint that somebody has made up and signed: the run goes on with it, or refuses it with a code.

Each untruth follows from its number. To repeat one: ``ESPER_FUZZ=NUMBER:1 pytest -m soak tests/strangers -k untruth``.
"""

import copy
import importlib.util
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


readers, signed = _helper("readers"), _helper("signed")

#: In the fast suite.
FEW = 24

EPOCHS = 5
SETTINGS = [f"epochs={EPOCHS}", "seed=3", "policy.germinate_until=0.6", "policy.fit_accuracy=1.0"]
SETTINGS += ['policy.blueprints=["conv-light", "group-norm"]', "gates.name=permissive", "lifecycle.ramp_epochs=1"]
SETTINGS += ["task.train_samples=128", "task.validation_samples=64", "task.test_samples=64", "optimizer.name=adamw"]
SETTINGS += ["checkpoints.every=1", "checkpoints.keep=9"]


class Stopped:
    """A run with live seeds that was killed in its last epoch."""

    def __init__(self, runs):
        self.runs = runs
        settings = [part for setting in [*SETTINGS, f"runs={runs}"] for part in ("--set", setting)]
        done = CliRunner().invoke(cli, ["run", "teacher", *settings])
        assert done.exit_code == 0, done.output
        readers.as_if_killed(runs / "teacher-1")
        for path in (runs / "teacher-1" / "checkpoints").iterdir():
            if f"{EPOCHS - 1:06d}" not in path.name:
                path.unlink()
            else:
                self.checkpoint = path.relative_to(runs)
        self.header, self.tensors = signed.read(runs / self.checkpoint)
        self.untruths = signed.untruths(self.header, self.tensors)

    def wrong_with(self, number, folder):
        """Return what is wrong with how `run --resume` takes an untruth; "" if nothing is."""
        untruth = self.untruths[number]
        shutil.copytree(self.runs, folder, symlinks=True)
        header, tensors = copy.deepcopy(self.header), dict(self.tensors)
        untruth.change(header, tensors)
        signed.write(folder / self.checkpoint, header, tensors)
        with readers.within(readers.PATIENCE):
            found = readers.wrong_with(CliRunner().invoke(cli, ["run", "--resume", str(folder / "teacher-1")]))
        shutil.rmtree(folder)
        return f"{number} ({untruth.what}): {found}" if found else ""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    return Stopped(tmp_path_factory.mktemp("stopped") / "runs")


def failures(stopped, numbers, folder):
    return "\n\n".join(filter(None, (stopped.wrong_with(number, folder) for number in numbers)))


def named(stopped, *places):
    """The numbers of the untruths about these places."""
    return [number for number, it in enumerate(stopped.untruths) if it.what.startswith(places)]


def test_a_loop_of_no_hosts_is_refused(stopped, tmp_path):
    places = ("answers", "rewards", "curves", "last")
    numbers = named(stopped, *(f"loop/grown/{place} = '[]" for place in places), "loop/grown/twin/losses = ")
    assert numbers
    assert not (wrong := failures(stopped, numbers, tmp_path / "trial")), wrong


@pytest.mark.slow
def test_some_untruths(stopped, tmp_path):
    numbers = random.Random("untruths").sample(range(len(stopped.untruths)), FEW)
    assert not (wrong := failures(stopped, numbers, tmp_path / "trial")), wrong


@pytest.mark.soak
@pytest.mark.timeout(12 * 3600)
def test_every_untruth(stopped, tmp_path):
    first, _, count = os.environ.get("ESPER_FUZZ", "0:1000000").partition(":")
    numbers = range(len(stopped.untruths))[int(first) :][: int(count or 1)]
    assert not (wrong := failures(stopped, numbers, tmp_path / "trial")), wrong
