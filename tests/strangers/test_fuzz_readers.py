"""Whatever is done to a run's files: an answer or an error with a code, nothing outside touched, no raw output.

Each mutation follows from its number. To repeat one: ``ESPER_FUZZ=NUMBER:1 pytest -m slow tests/strangers``.
"""

import importlib.util
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


forked, mutations, readers, sentinels = map(_helper, ("forked", "mutations", "readers", "sentinels"))

#: In the slow suite, and in `make soak`: of a run, and of a training of a policy.
FEW, MANY = 300, 10_000
FEW_OF_A_TRAINING, MANY_OF_A_TRAINING = 40, 2_000

SETTINGS = [
    "twin=epochs",
    "host.widths=[4, 8]",
    "epochs=4",
    "seed=3",
    "policy.germinate_until=0.6",
    "policy.fit_accuracy=1.0",
    "gates.name=permissive",
]
SETTINGS += ['policy.blueprints=["conv-light", "group-norm"]', "checkpoints.every=1", "lifecycle.ramp_epochs=1"]


#: A training whose checkpoints are those of its second round.
TRAINING = ["epochs=3", "seed=3", "policy.hidden=4", "policy.slot_encoding=4", "checkpoints.every=1"]
TRAINING += ['policy.blueprints=["conv-light", "group-norm"]', "gates.name=permissive"]


def made(runs, words, settings):
    """Run a command that makes a run, and a lock beside it."""
    settings = [part for setting in [*settings, f"runs={runs}"] for part in ("--set", setting)]
    for arguments in ([*words, *settings], ["plugins", "lock", "-o", str(runs / "plugins.lock")]):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    return runs


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with one run, `last`, and a lock, all as they should be."""
    return made(tmp_path_factory.mktemp("sound") / "runs", ["run", "digits"], SETTINGS)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The same with a training in two rounds."""
    return made(tmp_path_factory.mktemp("training") / "runs", ["train", "digits", "--rounds", "2"], TRAINING)


class Trial:
    """One mutation of a copy of the run, and one reader."""

    def __init__(self, number, sound, folder, outside, known):
        self.number, self.folder, self.outside = number, folder, outside
        self.sink = None
        chance = random.Random(f"strangers {number}")
        self.runs = folder / "runs"
        shutil.copytree(sound, self.runs, symlinks=True)
        self.run = self.runs / "digits-1"
        self.reader = chance.choices(known, [it.weight for it in known])[0]
        if self.reader.name in readers.RESUMING:
            readers.as_if_killed(self.run)
        self.done = [*self._mutations(chance)]

    def _mutations(self, chance):
        if self.reader.name in readers.RESUMING and chance.random() < 0.2:
            self.sink = chance.choice(self.outside.files)
            readers.rename_sink(self.run, self.sink)
            yield f"sinks.jsonl.path = {self.sink.name}"
            return
        if chance.random() < 0.1:
            yield mutations.plant_leftovers(chance, self.run, self.outside.folder)
        files = [path for path in self.runs.rglob("*") if not path.is_symlink() and path not in (self.runs, self.run)]
        files = sorted([*files, self.run / ".lock", self.runs / "last"])
        touched = set()
        for path in chance.choices(files, self._weights(files), k=chance.choice([1, 1, 1, 2, 3])):
            if touched.isdisjoint({path, path.parent, *path.parents}) and not any(path in it.parents for it in touched):
                touched.add(path)
                yield f"{path.relative_to(self.runs)}: {mutate(chance, path, self.outside.folder)}"

    def _weights(self, files):
        """What the reader reads more often."""
        near = {"checkpoint": "epoch-", "topology": "topology", "weights": "weights", "jsonl": "events"}
        near |= {"diff lock": "plugins.lock", "graph --locked": "plugins.lock"}
        near |= {"config check": "config", "config show": "config"}
        near |= {"train --resume": "round-", "explain": "round-", "run --policy": "best", "eval": "best"}
        wanted = near.get(self.reader.name)
        return [8 if wanted and wanted in path.name else 1 for path in files]

    def wrong(self):
        """Return what went wrong, if anything did."""
        try:
            with readers.within(readers.PATIENCE):
                found = self.reader.read(self.run)
        except readers.TooLongError:
            found = "it hangs"
        if not found and (touched := self.outside.touched(self.sink)):
            found = f"it touched {', '.join(touched)}"
        told = "; ".join(map(str, self.done))
        return f"({self.reader.name}; {told}) {found}" if found else ""


def mutate(chance, path, outside):
    if path.name in (".lock", "last"):
        return mutations.mutate_kind(chance, path, outside) if chance.random() < 0.8 else "as it was"
    return mutations.mutate_file(chance, path, outside).what


def judge(sound, tmp_path, known):
    """Return what says what is wrong with a mutation, in one process."""
    # Not by the process's number: numbers come again.
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    outside = sentinels.Sentinels(folder / "outside")

    def wrong(number):
        try:
            return Trial(number, sound, folder / "trial", outside, known).wrong()
        finally:
            shutil.rmtree(folder / "trial", ignore_errors=True)

    return wrong


def failures(sound, tmp_path, known, count, workers=1):
    numbers = forked.asked(range(count))
    patience = 2 * readers.PATIENCE
    tried = forked.tried(lambda: judge(sound, tmp_path, known), numbers, patience=patience, workers=workers)
    return forked.faults(tried, len(numbers))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_few_hundred_mutations(sound, tmp_path):
    assert not (wrong := failures(sound, tmp_path, readers.READERS, FEW)), f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_few_mutations_of_a_training(training, tmp_path):
    wrong = failures(training, tmp_path, readers.READERS_OF_TRAININGS, FEW_OF_A_TRAINING)
    assert not wrong, f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_ten_thousand_mutations(sound, tmp_path):
    wrong = failures(sound, tmp_path, readers.READERS, MANY, forked.cores())
    assert not wrong, f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_two_thousand_mutations_of_a_training(training, tmp_path):
    wrong = failures(training, tmp_path, readers.READERS_OF_TRAININGS, MANY_OF_A_TRAINING, forked.cores())
    assert not wrong, f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"
