"""The host `grown`: the topology of a run, with new weights."""

import json

import pytest
import torch

from esper_app.api import execute, load_plugins, rebuild_network, resolve_run
from esper_core.api import DataShape, EsperError, TaskKind
from esper_host_cnn.cnn import build as build_cnn
from esper_host_cnn.config import CnnConfig
from esper_host_grown.config import GrownConfig
from esper_host_grown.network import build
from esper_host_grown.plugin import esper_hosts
from esper_runs.run_directory import find_run

DIGITS = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=10)

#: Seeds act at once and are kept as soon as they may be.
EAGER = {
    "epochs": 8,
    "gates.name": "permissive",
    "lifecycle.incubation": "none",
    "lifecycle.ramp_epochs": 0,
    "policy.name": "periodic",
    "policy.blueprint": "conv-light",
    "policy.first_epoch": 1,
    "policy.every_epochs": 20,
}


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def grown(plugins, tmp_path_factory):
    """A run in which a seed was kept."""
    return run(plugins, tmp_path_factory.mktemp("runs"), **EAGER)


def run(plugins, runs, **settings):
    quiet = {"twin": "none", "sinks.names": [], "checkpoints.every": 0, "runs": str(runs)}
    return execute(resolve_run("digits", plugins, settings={**quiet, **settings}), plugins)


def built(directory, seed=0):
    torch.manual_seed(seed)
    return build(GrownConfig(run=str(directory.path)), DIGITS).module


def parameters(module):
    return sum(it.numel() for it in module.parameters())


def test_descriptor_names_the_factory_and_its_options():
    (spec,) = esper_hosts()
    assert (spec.name, spec.factory) == ("grown", f"{build.__module__}:{build.__qualname__}")


def test_it_has_what_was_kept_and_none_of_the_weights(grown, plugins):
    directory, result = grown.directory, grown.result
    assert [seed["final_stage"] for seed in result["seeds"]] == ["FOSSILIZED"]
    network, trained = built(directory), rebuild_network(directory, plugins)
    assert parameters(network) == result["hosts"]["grown"]["parameters"] == parameters(trained)
    bare = CnnConfig(widths=(4, 4))
    assert parameters(network) > parameters(build_cnn(bare, DIGITS).module)
    head, learned = network.head.weight, trained.head.weight
    assert not torch.equal(head, learned)
    # The host is drawn first, as a bare one is, and what has grown adds nothing at birth.
    torch.manual_seed(0)
    host, images = build_cnn(bare, DIGITS).module, torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(network(images), host(images))


def test_the_random_seed_decides_the_weights(grown):
    one, same, other = (built(grown.directory, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_all_of_it_is_trained_and_nothing_grows_in_it(grown, plugins, tmp_path):
    host = {"host.name": "grown", "host.run": str(grown.directory.path), "policy.name": "null", "epochs": 2}
    trained = run(plugins, tmp_path, **host)
    found = trained.result["hosts"]["grown"]
    assert found["parameters"] == grown.result["hosts"]["grown"]["parameters"]
    assert json.loads((trained.directory.path / "topology.json").read_text())["slots"] == []
    network, after = built(grown.directory), rebuild_network(find_run(trained.directory.path), plugins)
    before = dict(network.named_parameters())
    assert before.keys() == dict(after.named_parameters()).keys()
    still = [name for name, it in after.named_parameters() if torch.equal(it, before[name])]
    assert not still


def test_seeds_whose_fate_is_open_are_left_out(plugins, tmp_path):
    open_ = run(plugins, tmp_path, **{**EAGER, "epochs": 3})
    assert open_.result["seeds"][0]["final_stage"] not in ("FOSSILIZED", "CULLED")
    assert parameters(built(open_.directory)) == parameters(build_cnn(CnnConfig(widths=(4, 4)), DIGITS).module)


def test_a_run_must_be_named_be_there_and_have_the_same_shape(grown, tmp_path):
    other = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 28, 28), outputs=10)
    for config, shape, code in (
        (GrownConfig(), DIGITS, "E402"),
        (GrownConfig(run=str(tmp_path / "none")), DIGITS, "E505"),
        (GrownConfig(run=str(grown.directory.path)), other, "E402"),
        (GrownConfig(run=str(grown.directory.path), host="other"), DIGITS, "E505"),
    ):
        with pytest.raises(EsperError) as caught:
            build(config, shape)
        assert caught.value.code == code


def test_what_acted_at_the_end_is_a_part_of_it_where_that_is_asked_for(plugins, tmp_path):
    """A static control must have what the grown network was tested with."""
    found = run(plugins, tmp_path, **(EAGER | {"epochs": 3}))
    assert [seed["final_stage"] for seed in found.result["seeds"]] == ["PROBATIONARY"]
    bare = parameters(build_cnn(CnnConfig(widths=(4, 4)), DIGITS).module)
    path, sizes = str(found.directory.path), []
    for live in ("remove", "keep"):
        torch.manual_seed(0)
        network = build(GrownConfig(run=path, live=live), DIGITS).module
        sizes.append(parameters(network))
    assert sizes == [bare, found.result["hosts"]["grown"]["parameters"]]
    torch.manual_seed(0)
    host, images = build_cnn(CnnConfig(widths=(4, 4)), DIGITS).module, torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(network(images), host(images))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(images).logsumexp(1).sum().backward()
    optimizer.step()
    assert not torch.allclose(network(images), host(images))
