"""The examples are run, and give what they say they show."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from esper_core.leyline.stages import Stage

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reached(growth):
    return {stage for report in growth.reports for stage in report.epochs_by_stage}


@pytest.mark.slow
def test_plain_loop(capsys):
    module = example("plain_loop")
    shown = module.main()
    printed = capsys.readouterr().out
    assert "saved, with a live seed in layer" in printed
    assert shown.same
    assert shown.resumed.growth.epoch == shown.run.growth.epoch == 30
    assert Stage.FOSSILIZED in {slot.stage for slot in shown.resumed.growth.slots}
    assert shown.difference < 1e-5
    assert not hasattr(shown.plain, "esper")
    assert sum(p.numel() for p in shown.plain.parameters()) > sum(p.numel() for p in module.ResNet().parameters())
    assert shown.accuracy > 0.8


@pytest.mark.slow
def test_gpt2_transformers(capsys):
    shown = example("gpt2_transformers").main()
    printed = capsys.readouterr().out
    assert "TRAINING -> BLENDING" in printed
    assert {"TRAINING", "BLENDING"} <= reached(shown.grown.growth)
    assert shown.grown.loss < 2.6  # 5.5 for one who knows nothing
    assert shown.twin.loss < 2.6
    assert not any(name.startswith("esper") for name in shown.twin.model.state_dict())
    plain, grown = shown.plain.eval(), shown.grown.model.eval()
    with torch.no_grad():
        assert torch.allclose(plain(shown.held_out).logits, grown(shown.held_out).logits, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blueprints", "cached"),
    [(("mlp", "attention", "lora"), False), (("mlp", "lora"), True)],
    ids=["attention", "position by position"],
)
def test_frozen_gpt2(blueprints, cached):
    module = example("frozen_gpt2")
    with pytest.warns(UserWarning, match="no parameter of the model is trained"):
        shown = module.main(blueprints)
    kept = {report.blueprint for report in shown.growth.reports if report.final_stage is Stage.FOSSILIZED}
    assert kept == set(blueprints)
    assert 0 < shown.added <= module.BUDGET
    after = shown.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in shown.before.items())
    assert shown.loaded.config.use_cache is cached
    assert torch.equal(shown.text, shown.uncached)
    # What was loaded has grown: it is what was trained, not the model that was pretrained.
    pretrained = type(shown.model)(shown.model.config).eval()
    pretrained.load_state_dict(shown.before)
    with torch.no_grad():
        loaded, grown, own = (model(shown.text).logits for model in (shown.loaded, shown.model, pretrained))
    assert torch.allclose(loaded, grown, atol=1e-4)
    assert not torch.allclose(loaded, own, atol=1e-1)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_listed(path):
    assert len(path.read_text().splitlines()) <= 120
    assert f"]({path.name})" in (EXAMPLES / "README.md").read_text()


@pytest.mark.slow
def test_ray_tune_gates(tmp_path, monkeypatch, capsys):
    import ray
    from ray import cloudpickle

    monkeypatch.setenv("RAY_worker_niceness", "0")  # on a busy machine a trial would otherwise never begin
    monkeypatch.setenv("RAY_ADDRESS", "local")  # not the cluster that another test has begun on this machine
    module = example("ray_tune_gates")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    cloudpickle.register_pickle_by_value(module)
    try:
        shown = module.main(contributions=(0.0, 10.0), storage=str(tmp_path))
    finally:
        ray.shutdown()
    assert "best: " in capsys.readouterr().out
    assert shown[0.0]["kept"] == 1
    assert shown[10.0]["kept"] == 0
