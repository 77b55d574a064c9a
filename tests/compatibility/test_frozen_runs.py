"""What Esper 0.1 wrote stays readable: run directories, event logs, a checkpoint.

The runs in ``runs-0.1`` were made with Esper 0.1.0. Machine facts and places were then taken out of the manifests,
in ``manifest.json`` and in the first event of the log; everything else is as it was written:

- ``digits-1``: ``esper run digits --set epochs=12 --set checkpoints.every=0``, complete; two seeds are fossilized.
- ``digits-2``: ``esper run digits --set epochs=12 --set checkpoints.keep=1``, interrupted after five epochs, with a
  checkpoint from which it could go on; two seeds are being blended in.
- ``teacher-1``: ``esper run teacher --policy random --set epochs=16 --set telemetry=debug``, without its weights; four
  seeds are culled.

They are read through the `esper` command as it is installed.
"""

import gc
import hashlib
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import frozen
from jsonschema import Draft202012Validator
from safetensors.torch import load_file

from esper_app.execution.checkpoint import load_checkpoint
from esper_runs.event_schema import event_schema

RUNS = Path(__file__).parent / "runs-0.1"
CHECKPOINT = "checkpoints/epoch-000005.safetensors"

#: Digests of the frozen files: nobody edits a run that somebody else has on a disk.
DIGESTS = {
    "digits-1/config.toml": "8cc4780585809c0ead6f4b465b862573c789b292e3e846b3e24a6b6153bf0c6e",
    "digits-1/events.jsonl": "41e6ba2eb8d4e555f8391eb38392992be67156631e59d22a89360b013092a98e",
    "digits-1/manifest.json": "66e0526e2105e51eefb7b06a2fffd361e42556e73e7c095884a25e0c9d7d0d85",
    "digits-1/result.json": "63f9bc03fc9374172d1fcb1fa362d589e0e115e2d297d624493a92dfbcca7ac3",
    "digits-1/topology.json": "cd2033c562b82ae3d9de9e58feafa2feccb237fa039977ad6bc9390456daa1ed",
    "digits-1/weights.safetensors": "4b7d142d09017c505c10e1e0643fe1d6dac824c240a0342c7af2d1481fb4e828",
    "digits-2/checkpoints/epoch-000005.safetensors": "51aaf9703c4c45ef1891f29eb1395929f66be55fe13ccf358fc1dfc8a5ce9070",
    "digits-2/config.toml": "04c000b414b42e1ac2d87de96da2a905377fbd2bf02c1560021aa9f2b19aa943",
    "digits-2/events.jsonl": "33b5c1892c7447b1e3932d96c655551b38b474623e1323d27a0130c1a88dea7f",
    "digits-2/manifest.json": "63ebbb859ac8034b0ded27becc7ee9ad67faa92c33e085c2aaa49a9a8112b3a5",
    "digits-2/result.json": "e298c11b3bb28ff43f3e74e7b069cbe958928e06a141b5b6c0bcc73decaafc49",
    "digits-2/topology.json": "7b494377b17f0572f814e0cf0f4f1bfab3ac001a480a95b1b698c50ab9117554",
    "digits-2/weights.safetensors": "43754672ff8b729e001e5a87b63cb3cd22595524ea61e1f2f5c4f4593e166ca8",
    "teacher-1/config.toml": "ad9c250b1d2ff518f501d83ed8811d5acce7c6ee6e07318dcd5225bb7abd2d1f",
    "teacher-1/events.jsonl": "f183ce0b9a86cec4045e38f819dcc18bfed37f4604594f4dfdbc0fb64ee13c6b",
    "teacher-1/manifest.json": "deee74fbf1be3b3fe6a3f9166ba1db5805b2881d5d0612ac1549d0570c05ee05",
    "teacher-1/result.json": "611cf4321aec450270985de68c4a8b0102298749f1b2e0b1fe2189ac8017c83a",
}

#: What the network of ``digits-1`` gave for the inputs below on the day that it was written.
LOGITS = [
    [0.023900, 7.918736, 5.046412, -4.611307, 6.015184, -8.501866, 5.517806, -3.913849, -2.734924, -6.380254],
    [4.147155, 5.570950, 0.909669, -3.046766, 5.766662, -7.408635, 8.753601, -8.209631, 1.632308, -5.932669],
]


@frozen
class Done:
    """What a command did."""

    code: int
    output: str
    errors: str

    @property
    def words(self) -> str:
        """The output without its line breaks and columns."""
        return " ".join(self.output.split())


def esper(*arguments: object) -> Done:
    """Call the installed `esper` command in this process."""
    (script,) = entry_points(group="console_scripts", name="esper")
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            script.load()([str(argument) for argument in arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        gc.enable()  # the command turns it off
    texts = []
    for stream in (output, errors):
        stream.seek(0)
        texts.append(stream.read())
    return Done(code, *texts)


def shown(run: Path) -> Any:
    done = esper("show", run, "--json")
    assert done.code == 0, done.errors
    return json.loads(done.output)


def page(run: Path) -> str:
    done = esper("show", run, "--width", 120)
    assert done.code == 0, done.errors
    return done.words


def ends(record: Any) -> list[tuple[Any, ...]]:
    """Seed, blueprint, first and last epoch, and stage at the end."""
    names = ("seed_id", "blueprint", "germinated_epoch", "ended_epoch", "final_stage")
    return [tuple(seed[name] for name in names) for seed in record["seeds"]]


def stages(record: Any, slot: str) -> list[str]:
    return [epoch["slots"][slot] for epoch in record["epochs"]["grown"]]


@pytest.fixture
def copy_of(tmp_path: Path) -> Any:
    """Copy a frozen run to where it may be written, without some of its files."""

    def copy(name: str, *without: str) -> Path:
        run = tmp_path / "runs" / name
        shutil.copytree(RUNS / name, run)
        for file in without:
            (run / file).unlink()
        return run

    return copy


def test_nobody_has_edited_them() -> None:
    files = [path for path in sorted(RUNS.rglob("*")) if path.is_file()]
    found = {path.relative_to(RUNS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found == DIGESTS, "put the frozen runs back as they were; freeze new ones in a folder of their own"


DIGITS_1_ENDS = [("block1-0", "conv-light", 1, 9, "FOSSILIZED"), ("block0-0", "conv-light", 2, 10, "FOSSILIZED")]
DIGITS_2_ENDS = [("block1-0", "conv-light", 1, None, "BLENDING"), ("block0-0", "conv-light", 2, None, "BLENDING")]
TEACHER_1_ENDS = [
    ("block1-0", "conv-heavy", 0, 3, "CULLED"),
    ("block0-0", "group-norm", 1, 4, "CULLED"),
    ("block1-1", "conv-heavy", 9, 10, "CULLED"),
    ("block0-1", "squeeze-excite", 13, 14, "CULLED"),
]


@pytest.mark.parametrize(
    ("name", "outcome", "epochs", "seeds"),
    [
        ("digits-1", "completed", 12, DIGITS_1_ENDS),
        ("digits-2", "interrupted", 5, DIGITS_2_ENDS),
        ("teacher-1", "completed", 16, TEACHER_1_ENDS),
    ],
)
def test_a_run_is_read_whole(name: str, outcome: str, epochs: int, seeds: list[tuple[Any, ...]]) -> None:
    record = shown(RUNS / name)
    assert (record["outcome"], record["missing_data"]) == (outcome, [])
    assert [epoch["epoch"] for epoch in record["epochs"]["grown"]] == [*range(epochs)]
    assert len(record["epochs"]["twin"]) == epochs
    assert ends(record) == seeds


@pytest.mark.parametrize(("name", "seeds"), [("digits-1", DIGITS_1_ENDS), ("teacher-1", TEACHER_1_ENDS)])
def test_the_event_log_alone_tells_what_became_of_the_seeds(name: str, seeds: Any, copy_of: Any) -> None:
    record = shown(copy_of(name, "result.json", "config.toml"))
    assert ends(record) == seeds
    assert len(record["epochs"]["grown"]) == {"digits-1": 12, "teacher-1": 16}[name]


def test_stages_verdicts_and_reasons_are_read() -> None:
    record = shown(RUNS / "digits-1")
    blended, kept = ["BLENDING"] * 4, ["FOSSILIZED"] * 3
    assert stages(record, "block1") == ["DORMANT", "TRAINING", *blended, *["PROBATIONARY"] * 3, *kept]
    assert {"DORMANT", "CULLED", "EMBARGOED"} < {*stages(shown(RUNS / "teacher-1"), "block0")}
    text = page(RUNS / "digits-1")
    assert "conv-light: PROBATIONARY → FOSSILIZED, by action: it has passed its last gate" in text
    assert "G5 passed: contribution +0.4472 nats, lower bound +0.3924 > 0.01 (confidence 0.95)" in text
    followed = esper("show", RUNS / "teacher-1", "--slot", "block0", "--width", 120)
    assert "group-norm: BLENDING → CULLED, by action: drawn at random" in followed.words
    assert "G3 not passed: the ramp is not done" in followed.words


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("digits-1", ["+4.4 points", "16 of 360", "+744", "+0.117 ± 0.020", "+0.446 ± 0.034", "94.7 %", "90.3 %"]),
        ("digits-2", ["-0.3 points", "1 of 360", "+744", "+0.063 ± 0.018", "85.3 %", "85.6 %"]),
        ("teacher-1", ["-0.1 points", "2 of 2,000", "+0.002 ± 0.001", "94.7 %", "94.8 %", "+0.217 ± 0.016"]),
    ],
)
def test_the_verdict_has_its_figures(name: str, figures: list[str]) -> None:
    text = page(RUNS / name)
    assert [figure for figure in figures if figure not in text] == []


def test_they_are_listed() -> None:
    done = esper("runs", "--runs", RUNS, "--json")
    assert done.code == 0, done.errors
    names = ("outcome", "task", "policy", "epochs", "planned_epochs", "parameters")
    assert {row["name"]: tuple(row[name] for name in names) for row in json.loads(done.output)} == {
        "digits-1": ("completed", "digits", "heuristic", 12, 12, 1182),
        "digits-2": ("interrupted", "digits", "heuristic", 5, 12, 1182),
        "teacher-1": ("completed", "teacher", "random", 16, 16, 393),
    }
    assert "+4.4 points" in esper("runs", "--runs", RUNS).words


def test_the_tensors_are_exported_as_they_are(copy_of: Any) -> None:
    run = copy_of("digits-1")
    done = esper("export", run, "--format", "safetensors")
    assert done.code == 0, done.errors
    exported, written = (load_file(run / name) for name in ("export/digits-1.safetensors", "weights.safetensors"))
    assert exported.keys() == written.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in written.items())
    card = " ".join((run / "export" / "MODEL_CARD.md").read_text().split())
    assert "+4.4 points" in card
    assert "1,182" in card


@pytest.mark.slow
def test_the_rebuilt_network_computes_what_it_computed(copy_of: Any) -> None:
    run = copy_of("digits-1")
    done = esper("export", run, "--format", "torch-export")
    assert done.code == 0, done.errors
    network = torch.export.load(run / "export" / "digits-1.pt2").module()
    inputs = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    torch.testing.assert_close(network(inputs), torch.tensor(LOGITS), rtol=1e-4, atol=1e-4)


def test_live_seeds_are_known_as_such(copy_of: Any) -> None:
    run = copy_of("digits-2")
    refused = esper("export", run, "--format", "safetensors")
    assert (refused.code, "E507" in refused.errors) == (2, True), refused.errors
    assert esper("export", run, "--format", "safetensors", "--live", "remove").code == 0
    tensors = load_file(run / "export" / "digits-2.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == 438


def test_the_checkpoint_is_read() -> None:
    checkpoint = load_checkpoint(RUNS / "digits-2" / CHECKPOINT)
    assert (checkpoint.epoch, checkpoint.sequence, checkpoint.healthy) == (5, 23, True)
    assert {*checkpoint.hosts} == {*checkpoint.loop} == {"grown", "twin"}
    model = {name: it for name, it in checkpoint.hosts["grown"].tensors.items() if name.startswith("model/")}
    weights = load_file(RUNS / "digits-2" / "weights.safetensors")
    assert model.keys() == {f"model/{name}" for name in weights}
    assert all(torch.equal(model[f"model/{name}"], tensor) for name, tensor in weights.items())


def test_a_run_of_other_code_does_not_go_on(copy_of: Any) -> None:
    run = copy_of("digits-2")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["core"]["digest"] = "0" * 64  # until the core has changed, it is the one that the run began with
    (run / "manifest.json").write_text(json.dumps(manifest))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = esper("run", "--resume", run)
    assert (done.code, "error[E511] esper-core is not what it was when the run began" in done.errors) == (4, True), done
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("run", ["digits-1", "digits-2", "teacher-1"])
def test_every_event_is_as_the_schema_of_today_says(run: str) -> None:
    validator = Draft202012Validator(event_schema(closed=True))
    lines = [json.loads(line) for line in (RUNS / run / "events.jsonl").read_text().splitlines()]
    assert len(lines) > 10
    assert [f"{it['kind']} {e.json_path}: {e.message}" for it in lines for e in validator.iter_errors(it)] == []
    lines[1]["data"]["unheard_of"] = 1
    assert [*validator.iter_errors(lines[1])]
