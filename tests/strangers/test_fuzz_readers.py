"""Whatever is done to a run's files: an answer or an error with a code, nothing outside touched, no raw output.

Each mutation follows from its number. To repeat one: ``ESPER_FUZZ=NUMBER:1 pytest -m slow tests/strangers``.
"""

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


mutations, readers, sentinels = _helper("mutations"), _helper("readers"), _helper("sentinels")

#: In the slow suite, and in `make soak`.
FEW, MANY = 300, 10_000

SETTINGS = ["epochs=4", "seed=3", "policy.germinate_until=0.6", "policy.fit_accuracy=1.0", "gates.name=permissive"]
SETTINGS += ['policy.blueprints=["conv-light", "group-norm"]', "checkpoints.every=1", "lifecycle.ramp_epochs=1"]


def numbers(count):
    """The numbers of the mutations: as many as asked, or those that ESPER_FUZZ says (``first:count``)."""
    first, _, wanted = os.environ.get("ESPER_FUZZ", f"0:{count}").partition(":")
    return range(int(first), int(first) + int(wanted or 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with one run, `last`, and a lock, all as they should be."""
    runs = tmp_path_factory.mktemp("sound") / "runs"
    settings = [part for setting in [*SETTINGS, f"runs={runs}"] for part in ("--set", setting)]
    for arguments in (["run", "digits", *settings], ["plugins", "lock", "-o", str(runs / "plugins.lock")]):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    return runs


class Trial:
    """One mutation of a copy of the run, and one reader."""

    def __init__(self, number, sound, folder, outside):
        self.number, self.folder, self.outside = number, folder, outside
        self.sink = None
        chance = random.Random(f"strangers {number}")
        self.runs = folder / "runs"
        shutil.copytree(sound, self.runs, symlinks=True)
        self.run = self.runs / "digits-1"
        self.reader = chance.choices(readers.READERS, [it.weight for it in readers.READERS])[0]
        if self.reader.name == "resume":
            readers.as_if_killed(self.run)
        self.done = [*self._mutations(chance)]

    def _mutations(self, chance):
        if self.reader.name == "resume" and chance.random() < 0.2:
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
        return f"{self.number} ({self.reader.name}; {told}): {found}" if found else ""


def mutate(chance, path, outside):
    if path.name in (".lock", "last"):
        return mutations.mutate_kind(chance, path, outside) if chance.random() < 0.8 else "as it was"
    return mutations.mutate_file(chance, path, outside).what


def failures(sound, tmp_path, count):
    outside, found = sentinels.Sentinels(tmp_path / "outside"), []
    for number in numbers(count):
        folder = tmp_path / "trial"
        try:
            trial = Trial(number, sound, folder, outside)
            if wrong := trial.wrong():
                found.append(wrong)
                if len(found) == 10 or "touched" in wrong:
                    break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return "\n\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_few_hundred_mutations(sound, tmp_path):
    assert not (wrong := failures(sound, tmp_path, FEW)), f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_ten_thousand_mutations(sound, tmp_path):
    assert not (wrong := failures(sound, tmp_path, MANY)), f"repeat with ESPER_FUZZ=NUMBER:1\n{wrong}"
