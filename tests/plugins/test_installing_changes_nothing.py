import json
from pathlib import Path

import pytest

#: Offers something of every sort under the names that a run uses, and would leave traces if it were asked.
MEDDLER = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, GateLevel, GateSpec, Layout, SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="aaa", summary="-", layouts=(Layout.NCHW,), factory="acme_meddler.plugin:refuse")


@hookimpl
def esper_gates():
    for level in GateLevel:
        name = "never-" + level.lower()
        yield GateSpec(name=name, summary="-", level=level, gate_set="never", factory="acme_meddler.plugin:refuse")


@hookimpl
def esper_telemetry_sinks():
    yield SinkSpec(name="meddler", summary="-", factory="acme_meddler.plugin:refuse")


@hookimpl
def esper_run_start(manifest):
    refuse()


@hookimpl(specname="esper_epoch_end")
def meddle():
    import torch

    torch.manual_seed(1)


def refuse(*arguments):
    raise AssertionError("this run does not name me")
"""

RUN = (
    "run", "digits", "--set", "epochs=4", "--set", "twin=false", "--set", "sinks.names=['jsonl']",
    "--set", "policy.blueprints=['depthwise', 'conv-light']",
)  # fmt: skip


def numbers(run: Path) -> dict:
    result = json.loads((run / "result.json").read_text())
    (host,) = result["hosts"].values()
    return {key: value for key, value in host.items() if "seconds" not in key}


@pytest.mark.slow
def test_the_same_weights_with_and_without_a_plugin_that_nobody_names(esper, install):
    done = esper(*RUN, "--set", "name=without")
    assert done.returncode == 0, done.stderr
    install("acme-meddler", code=MEDDLER)
    done = esper(*RUN, "--set", "name=with")
    assert done.returncode == 0, done.stderr
    without, with_it = esper.cwd / "runs" / "without", esper.cwd / "runs" / "with"
    assert (without / "weights.safetensors").read_bytes() == (with_it / "weights.safetensors").read_bytes()
    assert (without / "topology.json").read_bytes() == (with_it / "topology.json").read_bytes()
    assert numbers(without) == numbers(with_it)


@pytest.mark.slow
def test_naming_it_makes_it_take_part(esper, install):
    install("acme-meddler", code=MEDDLER)
    done = esper(*RUN, "--set", "epochs=1", "--plugins", "auto,acme-meddler")
    assert done.returncode == 0, done.stderr
    result = json.loads((esper.cwd / "runs" / "last" / "result.json").read_text())
    assert result["observer_failures"] == {"acme-meddler": 1}


def test_what_is_switched_off_cannot_be_used(esper):
    done = esper("run", "digits", "--no-plugin", "policy-heuristic")
    assert done.returncode == 2
    assert done.stderr.startswith('error[E204] policy "heuristic" cannot be used')
    assert "is blocked" in done.stderr
    assert not (esper.cwd / "runs").exists()


@pytest.mark.slow
def test_what_is_broken_and_needed_is_an_error_of_the_plugin(esper, install):
    install("acme-blueprint-foo", files={"module.py": "import nobodys_module\n"})
    done = esper("run", "digits", "--set", "policy.blueprints=['foo']", "--set", "epochs=1")
    assert done.returncode == 4
    assert done.stderr.splitlines()[0].startswith('error[E160] the factory of blueprint "foo" of plugin "acme-bl')
    assert "nobodys_module" in done.stderr
    assert not (esper.cwd / "runs").exists()
