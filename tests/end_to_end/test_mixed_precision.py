"""Runs in bfloat16: with every blueprint, recorded, and gone on with in the same precision only."""

import json

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli

SETTINGS = [
    "policy.name=periodic",
    "policy.first_epoch=1",
    "policy.every_epochs=2",
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
    "twin=none",
    'sinks.names=["jsonl"]',
]
#: Not flex-attention, which is refused on the CPU, nor noop, which no policy germinates.
BLUEPRINTS = {
    "digits": ["conv-light", "conv-heavy", "depthwise", "bottleneck", "group-norm", "squeeze-excite"],
    "text": ["attention", "layer-norm", "lora"],
    "diabetes": ["mlp"],
}
SMALL = {
    "digits": [],
    "text": [
        "task.context=16",
        "task.train_sequences=64",
        "task.validation_sequences=16",
        "task.test_sequences=16",
        "host.width=32",
        "host.layers=1",
    ],
    "diabetes": [],
}


def esper(*arguments, runs, settings):
    sets = [part for setting in (*SETTINGS, *settings, f"runs={runs}") for part in ("--set", setting)]
    return CliRunner().invoke(cli, ["run", *arguments, *sets])


def events(run, kind):
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "blueprint"), [(task, one) for task, some in BLUEPRINTS.items() for one in some])
def test_every_blueprint_lives_in_bfloat16(task, blueprint, tmp_path):
    settings = [f'policy.blueprints=["{blueprint}"]', f"policy.blueprint={blueprint}", "epochs=6", *SMALL[task]]
    done = esper(task, "--precision", "bf16", runs=tmp_path, settings=settings)
    assert done.exit_code == 0, done.output
    run = tmp_path / f"{task}-1"
    seen = {(e["data"]["blueprint"], e["data"]["target"]) for e in events(run, "seed_transition")}
    assert (blueprint, "TRAINING") in seen
    assert (blueprint, "BLENDING") in seen
    evidence = [seed for e in events(run, "epoch_completed") for seed in e["data"]["seeds"]]
    assert all(seed["finite"] for seed in evidence)
    assert all(seed["isolated"] for seed in evidence if seed["stage"] == "TRAINING")
    assert all(seed["gradients_finite"] is not False for seed in evidence)


def test_the_precision_is_recorded_and_a_resume_with_another_one_is_refused(tmp_path):
    done = esper("digits", "--precision", "bf16", runs=tmp_path, settings=["epochs=1", "name=half"])
    assert done.exit_code == 0, done.output
    run = tmp_path / "half"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["training"]["precision"] == "bf16"
    assert json.loads((run / "result.json").read_text())["hosts"]["grown"]["numerics"]["precision"] == "bf16"
    (run / "result.json").unlink()  # as if it had been killed
    path = run / "config.toml"
    path.write_text(path.read_text().replace('precision = "bf16"', 'precision = "fp32"'))
    refused = CliRunner().invoke(cli, ["run", "--resume", str(run)])
    assert refused.exit_code == 2
    assert 'E515] "training.precision" is not what it was when the run began' in refused.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "fp16"], '"fp16" is for cuda, and the device is "cpu"'),
        (["--precision", "fp16", "--device", "mps"], 'device "mps" is not available'),
        (["--compile", "trunk", "--set", "training.compile_backend=eagr"], 'did you mean "eager"?'),
        (["--set", "training.compile_backend=eager"], 'set compile = "trunk"'),
    ],
)
def test_what_cannot_be_computed_is_refused_before_anything_is_loaded(arguments, said, tmp_path):
    refused = esper("digits", *arguments, runs=tmp_path, settings=[])
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_memory_format_of_the_run_goes_before_the_hosts(memory_format, tmp_path):
    host = f"host.channels_last={'true' if memory_format == 'contiguous' else 'false'}"
    done = esper("digits", "--memory-format", memory_format, runs=tmp_path, settings=["epochs=1", host])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "digits-1" / "result.json").read_text())
    assert result["hosts"]["grown"]["numerics"]["memory_format"] == memory_format
