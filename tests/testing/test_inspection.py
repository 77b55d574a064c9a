"""`esper run --check-plugins`: each check stops a real run of a plugin that breaks it, and changes nothing else."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from esper_app.cli.root import cli
from esper_testing.watching.inspection import EVERY, FIRST, Inspection

#: Right plugins of every kind; each mutant spoils one of them.
RIGHT = [
    path
    for version in ("v1_0", "v2_0")
    for path in sorted((Path(__file__).parents[1] / "compatibility" / version).glob("*.py"))
    if path.stem not in ("v1_policy", "v1_reward_term")
]

SETTINGS = (
    "epochs=6",
    "policy.name=v2",
    'policy.blueprints=["v1"]',
    "gates.name=v1",
    'rewards.terms=[{name="v2"}]',
    'governor.evaluators=["v2"]',
    'sinks.names=["v1"]',
    "lifecycle.ramp_epochs=1",
    "checkpoints.keep=99",
    "checkpoints.every=1",
)

#: By what is wrong: the file, the text that is replaced and its replacement, and what is said of it.
MUTANTS: dict[str, tuple[str, str, str, str]] = {
    "seed-tuple": ("blueprint", "return self.gain(", "return h, self.gain(", "returned a tuple"),
    "seed-shape": ("blueprint", "h.shape[-1:]), h)", "h.shape[-1:]), h)[:, 1:]", "returned (2, 3) on cpu for (2, 4)"),
    "seed-dtype": ("blueprint", "h.shape[-1:]), h)", "h.shape[-1:]), h).double()", "returned torch.float64"),
    "seed-in-place": (
        "blueprint",
        "return self.gain(",
        "h.mul_(2)\n        return self.gain(",
        "changed the activation",
    ),
    "seed-at-birth": ("blueprint", "return self.gain(", "return h + self.gain(", "at birth"),
    "seed-not-finite": (
        "blueprint",
        "h.shape[-1:]), h)",
        "h.shape[-1:]), h) + (float('nan') if self.training else 0.0)",
        "not finite, for finite input and parameters",
    ),
    "seed-draws": (
        "blueprint",
        "return self.gain(",
        "F.dropout(h.detach())\n        return self.gain(",
        "moved torch's global generator while computing an update",
    ),
    "seed-no-module": ("blueprint", "factory=Update", "factory=lambda site, config: len", "not a module"),
    "seed-untrainable": (
        "blueprint",
        "site.layout)\n",
        "site.layout)\n        self.requires_grad_(False)\n",
        "without a trainable parameter",
    ),
    "gate-no-verdict": ("gates", "return GateResult(", "return not GateResult(", "gave False for a verdict"),
    "gate-passed": ("gates", "passed=passed", "passed=float(passed)", "whose `passed` is 1.0"),
    "gate-score": ("gates", "score=float(passed)", "score=2.0", "the score 2.0"),
    "gate-level": ("gates", "gate=self.level", "gate=GateLevel.G3", "gave a verdict of G3, and is the gate G0"),
    "gate-reason": (
        "gates",
        'reason = "" if passed else "something is missing or bad"',
        'passed, reason = False, " "',
        "refused a seed without a reason",
    ),
    "gate-passes": ("gates", "= config.passes", "= 0", "asks for 0 passes in a row"),
    "gate-draws": (
        "gates",
        "        passed = self",
        "        __import__('random').random()\n        passed = self",
        "moved random's global generator while judging",
    ),
    "gate-changes": (
        "gates",
        "        passed = self",
        "        object.__setattr__(evidence, 'alpha', 2.0)\n        passed = self",
        "changed what it was handed",
    ),
    "evaluator-changes": (
        "evaluator",
        "        loss = ",
        "        object.__setattr__(signs, 'objections', 9)\n        loss = ",
        "changed what it was handed",
    ),
    "term-changes": (
        "reward_term",
        "        if step.before is None",
        "        object.__setattr__(step, 'gamma', 0.1)\n        if step.before is None",
        "changed what it was handed",
    ),
    "policy-changes": (
        "policy",
        "        return [Decision",
        "        situations[0].masks.germinate.clear()\n        return [Decision",
        "changed what it was handed",
    ),
    "evaluator-no-vote": ("evaluator", "return Vote()", "return None", "gave None for a vote"),
    "evaluator-reason": (
        "evaluator",
        "return Vote()",
        "return Vote(mode=GovernorMode.CONSERVATIVE)",
        "objected to a host without a reason",
    ),
    "evaluator-draws": (
        "evaluator",
        "        loss = ",
        "        __import__('random').random()\n        loss = ",
        "moved random's global generator while voting",
    ),
    "term-bounds": ("reward_term", "return tanh(", "return 1.5 + tanh(", "and declares -1.0 to 1.0"),
    "term-no-number": ("reward_term", "return 0.0", "return None", "gave None"),
    "term-draws": (
        "reward_term",
        "        if step.before is None",
        "        __import__('numpy').random.rand()\n        if step.before is None",
        "moved numpy's global generator while computing a reward",
    ),
    "policy-masks": ("policy", "blueprint=blueprint", 'blueprint="oak"', "asked for GERMINATE oak in first"),
    "policy-blend": ("policy", "blend=masks.blends[0]", "blend=None", "asked for GERMINATE v1 in first, which"),
    "policy-too-few": ("policy", "in situations]", "in situations[1:]]", "answered 1 situations with []"),
    "policy-no-decision": ("policy", "[Decision(actions=", "[tuple(", "answered a situation with ("),
    "policy-draws": (
        "policy",
        "        return [Decision",
        "        __import__('random').seed(1)\n        return [Decision",
        "moved random's global generator while deciding",
    ),
    "policy-state": (
        "policy",
        '{"germinated": dict(self.germinated)}',
        '{"germinated": {1, 2}, "x": object()}',
        "is not plain data",
    ),
    "sink-changes": (
        "sink",
        '        lines = "".join(f',
        '        for event in events:\n            event.data.clear()\n        lines = "".join(f',
        "changed events",
    ),
    "sink-draws": (
        "sink",
        '        lines = "".join(f',
        '        __import__("torch").manual_seed(1)\n        lines = "".join(f',
        "moved torch's global generator while taking events",
    ),
    "task-shape": ("task", "input_shape=(5,)", "input_shape=(6,)", "a train split with samples of (5,)"),
    "task-dtype": ("task", "argmax(1)", "argmax(1).int()", "targets of torch.int32"),
    "task-augment-dtype": ("task", "return inputs", "return inputs.double()", "augmented (20, 5) of torch.float32 to"),
    "task-augment-in-place": ("task", "return inputs", "return inputs.mul_(2)", "changed the batch that it augments"),
    "task-augment-draws": (
        "task",
        "return inputs",
        "return inputs + 0 * torch.randn(5)",
        "moved torch's global generator while augmenting",
    ),
    "task-losses-mean": ("task", 'reduction="none")', 'reduction="mean")', "gave losses () of torch.float32 for 20"),
    "task-losses-detached": ("task", 'reduction="none")', 'reduction="none").detach()', "gave losses (20,)"),
    "task-losses-not-finite": ("task", 'reduction="none")', 'reduction="none") / 0', "a loss that is not finite"),
    "task-correct-count": (
        "task",
        "(outputs.argmax(-1) == targets).float()",
        "outputs.argmax(-1) == targets",
        "torch.bool",
    ),
    "task-correct-percent": ("task", "== targets).float()", "== targets).float() * 100", "outside of 0 to 1"),
    "host-outputs": (
        "host",
        "data.outputs)",
        "data.outputs + 1)",
        "gave (20, 4) of torch.float32 where the task wants",
    ),
    "host-bare": ("host", "return HostBuild(module=module,", "return dict(module=module,", "built {"),
    "host-site": ("host", '("first", "second")', '("first", "third")', "names sites that are not there: ['third']"),
    "host-site-twice": ("host", '("first", "second")', '("first", "first")', "names a site twice"),
}


def run(folder: Path, *arguments: str, settings: tuple[str, ...] = SETTINGS) -> Result:
    """Run with the plugins in this folder."""
    paths = [part for path in sorted(folder.glob("v?_*.py")) for part in ("--plugin-path", str(path))]
    sets = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(cli, ["run", *arguments, *paths, *sets])


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Files of the same names in other folders are other plugins, which one process does not have both of."""
    forget()
    yield
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith(("v1_", "v2_"))]:
        del sys.modules[name]


@pytest.fixture
def plugins(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the right plugins, one of them perhaps changed."""

    def copy(file: str = "", old: str = "", new: str = "") -> Path:
        (tmp_path / "plugins").mkdir()
        for path in RIGHT:
            shutil.copy(path, tmp_path / "plugins")
        if file:
            (path,) = (tmp_path / "plugins").glob(f"v?_{file}.py")
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        return tmp_path / "plugins"

    return copy


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def check(folder: Path, runs: Path, *arguments: str, **options: Any) -> Result:
    return run(folder, "v1", *arguments, settings=(*SETTINGS, f"runs={runs}"), **options)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_plugin_is_caught_in_its_run(name: str, plugins: Callable[..., Path], runs: Path) -> None:
    file, old, new, message = MUTANTS[name]
    done = check(plugins(file, old, new), runs, "--check-plugins")
    assert done.exit_code == 1, done.output
    assert "error[E530]" in done.output
    said = " ".join(done.output.split())
    assert re.search(rf'of plugin "v[12]-{file.replace("_", "-")}"', said)
    assert message in said
    assert "because the likely cause is " in said
    assert "fix: " in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("        targets = inputs", "        inputs[0] = math.nan\n        targets = inputs", "not finite"),
        ("targets=y)", "targets=y[1:])", "60 inputs and 59 targets"),
    ],
)
def test_data_that_nothing_can_be_trained_on_are_refused_in_every_run(
    old: str, new: str, message: str, plugins: Callable[..., Path], runs: Path
) -> None:
    done = check(plugins("task", old, new), runs, "--check-plugins")
    assert done.exit_code == 5, done.output
    assert 'error[E302] the training split of task "v1"' in done.output
    assert message in " ".join(done.output.split())


@pytest.mark.parametrize("name", ["gate-score", "seed-draws", "sink-draws", "term-draws"])
def test_nobody_looks_unless_asked(name: str, plugins: Callable[..., Path], runs: Path) -> None:
    done = check(plugins(*MUTANTS[name][:3]), runs)
    assert done.exit_code == 0, done.output
    assert "plugin_checks" not in json.loads((runs / "v1-1" / "result.json").read_text())


def test_the_run_is_the_same_and_the_cost_is_told(plugins: Callable[..., Path], runs: Path) -> None:
    folder = plugins()
    bare, looked_at = check(folder, runs), check(folder, runs, "--check-plugins")
    assert (bare.exit_code, looked_at.exit_code) == (0, 0), looked_at.output
    one, other = runs / "v1-1", runs / "v1-2"
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert timeless(one) == timeless(other)
    told = json.loads((other / "result.json").read_text())["plugin_checks"]
    assert told["calls"] > 100
    assert 0 < told["share"] < 1
    share = f"{100 * told['share']:.1f} % of the run"
    assert f"plugins: looked at {told['calls']} times, nothing wrong; {share}" in looked_at.output


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_run_goes_on_with_or_without_it(plugins: Callable[..., Path], runs: Path, first: bool) -> None:
    folder = plugins()
    assert check(folder, runs).exit_code == 0
    assert check(folder, runs, *(["--check-plugins"] if first else [])).exit_code == 0
    whole, part = runs / "v1-1", runs / "v1-2"
    cut_off(part)
    resumed = run(folder, "--resume", str(part), *([] if first else ["--check-plugins"]), settings=())
    assert resumed.exit_code == 0, resumed.output
    assert (part / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert timeless(part) == timeless(whole)


def test_a_seed_that_went_wrong_after_a_resume_is_caught(plugins: Callable[..., Path], runs: Path) -> None:
    folder = plugins("blueprint", "h.shape[-1:]), h)", "h.shape[-1:]), h) + (h * math.nan if BAD else 0.0)")
    path = folder / "v1_blueprint.py"
    text = path.read_text().replace(
        'ESPER_API = "1.0"', 'ESPER_API = "1.0"\nimport math, os\nBAD = "BAD" in os.environ'
    )
    path.write_text(text)
    assert check(folder, runs).exit_code == 0
    cut_off(runs / "v1-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAD", "1")
        resumed = run(folder, "--resume", str(runs / "v1-1"), "--check-plugins", settings=())
    assert resumed.exit_code == 1
    assert "error[E530]" in resumed.output, "and not what the network does when the seed cannot be planted again"


def test_the_first_calls_are_looked_at_closely_and_then_a_sample() -> None:
    inspection = Inspection()
    close = [number for number in range(1, 3 * EVERY + 1) if inspection.due("seed", True)]
    assert close == [*range(1, FIRST + 1), EVERY, 2 * EVERY, 3 * EVERY]
    assert inspection.due("seed", False), "calls of another sort are counted by themselves"


def test_the_full_level_looks_closely_at_each_call() -> None:
    quick, full = Inspection(), Inspection("full")
    assert sum(quick.due("seed") for _ in range(EVERY)) == FIRST + 1
    assert sum(full.due("seed") for _ in range(EVERY)) == EVERY
    assert (quick.summary(1.0)["passed_over"], full.summary(1.0)["passed_over"]) == (EVERY - FIRST - 1, 0)
    with pytest.raises(ValueError, match="quick, full"):
        Inspection("fulll")


def test_what_was_not_looked_at_is_told(plugins: Callable[..., Path], runs: Path) -> None:
    folder = plugins()
    quick = check(folder, runs, "--check-plugins")
    full = check(folder, runs, "--check-plugins", "--check-level", "full")
    assert (quick.exit_code, full.exit_code) == (0, 0), full.output
    assert re.search(
        r"not looked at: \d+ calls closely \(--check-level full looks at each\); components of", quick.output
    )
    assert "plugins: not looked at: components of the kinds executor and diagnostic" in full.output
    assert check(folder, runs, "--check-level", "full").exit_code == 2


def cut_off(run: Path) -> None:
    """Leave the run as a kill after its third epoch would have left it."""
    for path in (run / "checkpoints").iterdir():
        if int(path.stem.removeprefix("epoch-")) > 3:
            path.unlink()
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (run / name).unlink()


def timeless(run: Path) -> list[Any]:
    """The events behind the first, which names the run, without what clocks say."""
    return [without(json.loads(line)) for line in (run / "v1.log").read_text().splitlines()[1:]]


def without(data: Any) -> Any:
    if isinstance(data, dict):
        clocks = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}
        return {name: without(value) for name, value in data.items() if name not in clocks}
    return [without(item) for item in data] if isinstance(data, list) else data
