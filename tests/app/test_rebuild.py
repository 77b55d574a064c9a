"""A run's files give its network back, exactly; and say what is wrong if they cannot."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from esper_app.api import rebuild_network, rebuild_run
from esper_app.cli.root import cli
from esper_core.leyline.errors import EsperError
from esper_core.plugins.discovery import installed_plugins
from esper_core.plugins.loader import load_plugins
from esper_core.tolaria.host import GrowingHost
from esper_export.network import slots_of
from esper_runs.run_directory import find_run

torch.set_num_threads(1)

SETTINGS = [
    "policy.germinate_until=0.5",
    "policy.fit_accuracy=1.0",
    'policy.blueprints=["conv-light", "group-norm"]',
    "gates.name=permissive",
    "twin=none",
    "host.widths=[4, 8]",
]


def run(runs, *settings):
    """Run on digits; return the directory, and the grown network's outputs on the test split as it ended."""
    seen = []
    finish = GrowingHost.finish

    def watched(host):
        final = finish(host)
        inputs = host.plan.splits.test.inputs
        with torch.no_grad():
            seen.append((inputs, host.model.eval()(inputs), host.model))
        return final

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrowingHost, "finish", watched)
        sets = [part for setting in (*SETTINGS, *settings, f"runs={runs}") for part in ("--set", setting)]
        done = CliRunner().invoke(cli, ["run", "digits", *sets])
    assert done.exit_code == 0, done.output
    return find_run(runs / "last"), *seen[0]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that ends with a fossilized seed in each slot."""
    return run(
        tmp_path_factory.mktemp("runs"), "epochs=12", "lifecycle.ramp_epochs=1", "blueprints.conv-light.kernel=5"
    )


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy of the run's files, to be damaged."""
    return find_run(shutil.copytree(finished[0].path, tmp_path / "digits-1"))


class TestExactly:
    def test_a_network_with_fossils(self, finished, plugins):
        directory, inputs, outputs, model = finished
        network = rebuild_network(directory, plugins)
        assert {slot.forward_mode.value for slot in slots_of(network).values()} == {"fossil"}
        with torch.no_grad():
            assert torch.equal(network(inputs), outputs)
        assert not any(module.training for module in network.modules())
        before, after = model.state_dict(), network.state_dict()
        assert before.keys() == after.keys()
        for name in before:
            assert torch.equal(before[name], after[name])
            assert before[name].stride() == after[name].stride()

    @pytest.mark.parametrize(
        ("settings", "regime", "alphas"),
        [
            (["lifecycle.incubation_epochs=9", "lifecycle.training_timeout_epochs=9"], "straight-through", {0.0}),
            (["lifecycle.ramp_epochs=8"], "isolated", {0.625, 0.75}),
            (["lifecycle.ramp_epochs=8", "lifecycle.isolate=false"], "open", {0.625, 0.75}),
        ],
        ids=["training", "isolated", "open"],
    )
    def test_a_network_with_live_seeds(self, settings, regime, alphas, plugins, tmp_path):
        directory, inputs, outputs, _ = run(tmp_path, "epochs=8", *settings)
        network = rebuild_network(directory, plugins)
        slots = slots_of(network)
        assert {slot.forward_mode.value for slot in slots.values()} == {regime}
        assert {slot.alpha.item() for slot in slots.values()} == alphas
        with torch.no_grad():
            assert torch.equal(network(inputs), outputs)

    def test_a_contiguous_network(self, plugins, tmp_path):
        directory, inputs, outputs, model = run(
            tmp_path, "epochs=12", "lifecycle.ramp_epochs=1", "host.channels_last=false"
        )
        network = rebuild_network(directory, plugins)
        assert slots_of(network)
        with torch.no_grad():
            assert torch.equal(network(inputs), outputs)
        for name, tensor in model.state_dict().items():
            assert network.state_dict()[name].stride() == tensor.stride()

    def test_random_numbers_of_others_stay_what_they_are(self, finished, plugins):
        before = torch.random.get_rng_state()
        rebuild_network(finished[0], plugins)
        assert torch.equal(torch.random.get_rng_state(), before)


def edit(directory, name, change):
    """Change the data in one of a run's JSON files."""
    path = directory.path / name
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def refused(directory, plugins, code="E508"):
    with pytest.raises(EsperError) as caught:
        rebuild_network(directory, plugins)
    assert caught.value.code == code
    assert caught.value.fix
    return str(caught.value)


class TestDamage:
    @pytest.mark.parametrize("name", ["weights.safetensors", "topology.json", "manifest.json", "config.toml"])
    @pytest.mark.parametrize("how", ["missing", "empty", "cut", "noise"])
    def test_every_file_is_named(self, damaged, plugins, name, how):
        path = damaged.path / name
        content = path.read_bytes()
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "cut": _cut(content), "noise": b"\x00\xff" * 99}[how])
        assert name in refused(damaged, plugins)

    def test_a_run_that_never_ended_is_to_be_resumed(self, damaged, plugins):
        for name in ("weights.safetensors", "topology.json", "result.json"):
            (damaged.path / name).unlink()
        text = refused(damaged, plugins)
        assert "has not come to its end" in text
        assert f"esper run --resume {damaged.path}" in text

    def test_json_of_another_shape(self, damaged, plugins):
        (damaged.path / "topology.json").write_text("[1, 2]")
        assert "it holds a list, not an object" in refused(damaged, plugins)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: t["slots"][0].update(width=99), ["block0", "width 99"]),
            (lambda t: t["slots"][0].update(path="elsewhere"), ["elsewhere"]),
            (lambda t: t["slots"][0].update(slot="block7"), ["block7", "no such site"]),
            (lambda t: t["slots"][0].update(regime="sideways"), ["regime", "sideways"]),
            (lambda t: t["slots"][0].update(colour="red"), ["colour"]),
            (lambda t: t["slots"][0].update(blueprint="foo"), ["foo", "catalogue"]),
            (lambda t: t["slots"][0].update(options={"kernel": 7}), ["config.toml", "conv-light", "options"]),
            (lambda t: t["catalogue"].reverse(), ["digest"]),
            (lambda t: t["catalogue"][0]["options"].update(kernel=7), ["digest"]),
        ],
        ids=["width", "path", "slot", "regime", "unknown-key", "blueprint", "options", "order", "catalogue"],
    )
    def test_a_topology_that_is_not_the_runs(self, damaged, plugins, change, words):
        edit(damaged, "topology.json", change)
        text = refused(damaged, plugins)
        assert all(word in text for word in words), text

    @pytest.mark.parametrize("change", ["shape", "missing", "more"])
    def test_weights_of_another_network(self, damaged, plugins, change):
        path = damaged.path / "weights.safetensors"
        weights = load_file(path)
        if change == "shape":
            weights["head.weight"] = weights["head.weight"][:, :-1].clone()
        elif change == "missing":
            del weights["head.weight"]
        else:
            weights["tail.weight"] = torch.zeros(2)
        save_file(weights, path)
        text = refused(damaged, plugins)
        assert "weights.safetensors" in text
        assert ("tail.weight" if change == "more" else "head.weight") in text

    def test_a_configuration_of_another_host(self, damaged, plugins):
        path = damaged.path / "config.toml"
        text = path.read_text()
        assert "channels_last = true" in text
        path.write_text(text.replace("channels_last = true", "chanels_last = true"))
        assert "chanels_last" in refused(damaged, plugins, "E201")
        path.write_text(text.partition("[host]")[0])
        assert "it names no host" in refused(damaged, plugins)


class TestPlugins:
    @staticmethod
    def without(distribution):
        return load_plugins(
            sources=[found for found in installed_plugins() if found.origin.distribution != distribution]
        )

    @pytest.mark.parametrize("name", ["esper-blueprint-conv-light", "esper-host-cnn", "esper-task-vision"])
    def test_a_missing_one_is_named_with_the_line_that_installs_it(self, finished, name):
        text = refused(finished[0], self.without(name), "E204")
        assert f"fix: pip install {name}==0.1.0" in text

    @pytest.mark.parametrize("name", ["esper-policy-heuristic", "esper-gates-standard", "esper-sink-jsonl"])
    def test_what_only_training_needs_is_not_needed(self, finished, name):
        _, inputs, outputs, _ = finished
        with torch.no_grad():
            assert torch.equal(rebuild_network(finished[0], self.without(name))(inputs), outputs)

    def test_one_of_somebody_else_is_named_as_the_run_recorded_it(self, damaged, plugins):
        def sell(manifest):
            for entry in manifest["plugins"]:
                if entry["distribution"] == "esper-blueprint-conv-light":
                    entry.update(distribution="acme-blueprints", plugin="acme", version="2.5")

        edit(damaged, "manifest.json", sell)
        edit(damaged, "topology.json", lambda t: t["catalogue"][0].update(distribution="acme-blueprints"))
        assert "fix: pip install acme-blueprints==2.5" in refused(damaged, plugins, "E204")

    def test_one_file_plugins_are_named_by_their_file(self, damaged):
        def move(manifest):
            for entry in manifest["plugins"]:
                if entry["distribution"] == "esper-blueprint-conv-light":
                    entry.update(distribution=None, plugin="mine", version=None, file="mine.py")

        edit(damaged, "manifest.json", move)
        edit(damaged, "topology.json", lambda t: t["catalogue"][0].update(distribution=""))
        plugins = self.without("esper-blueprint-conv-light")
        assert "fix: --plugin-path mine.py" in refused(damaged, plugins, "E204")

    def test_other_versions_are_told(self, damaged, plugins):
        assert rebuild_run(damaged, plugins).changed == ()

        def age(manifest):
            manifest["core"]["version"] = "0.0.1"
            for entry in manifest["plugins"]:
                entry["version"] = "0.0.2"

        edit(damaged, "manifest.json", age)
        changed = " ".join(rebuild_run(damaged, plugins).changed)
        assert "esper-core is" in changed
        assert "the run began with 0.0.1" in changed
        assert "esper-blueprint-conv-light is 0.1.0, the run began with 0.0.2" in changed
        assert "policy" not in changed


def test_sample_inputs_are_what_a_network_takes(finished, plugins):
    rebuilt = rebuild_run(finished[0], plugins)
    inputs = rebuilt.sample_inputs(3)
    assert inputs.shape == (3, 1, 8, 8)
    assert torch.equal(inputs, rebuilt.sample_inputs(3))
    assert rebuilt.network(inputs).shape == (3, rebuilt.shape.outputs)
    assert rebuilt.no_export == {}


def _cut(content: bytes) -> bytes:
    """Half of it, up to the middle of a value: TOML that ends between two lines is whole again."""
    return content[: content.index(b"= ", len(content) // 2) + 2] if b"= " in content else content[: len(content) // 2]
