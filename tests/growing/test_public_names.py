"""What a user of `grow` types: names that can be imported, and what is printed."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import esper_core
from esper_core.leyline.actions import Transition
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.stages import Cause, Stage
from esper_growing import EpochOutcome, GrowSettings

PUBLIC = ("esper_growing", "esper_core.api", "torch", "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "typing")


def test_what_the_signatures_of_grow_name_can_be_imported_from_public_modules():
    annotations = [*inspect.get_annotations(esper_core.grow).values(), *inspect.get_annotations(GrowSettings).values()]
    named = {word for one in map(inspect.formatannotation, annotations) for word in re.findall(r"\w+(?:\.\w+)*", one)}
    ours = {name.rpartition(".")[2] for name in named if name.startswith("esper_")}
    public = {name for module in PUBLIC for name in dir(importlib.import_module(module))}
    assert {"SiteRequest", "GrowSettings", "PluginSet", "LifecycleConfig", "GrowthLimits"} <= ours <= public
    assert "Options" in public  # an alias: annotations show what it stands for


def test_dir_shows_grow_before_it_is_loaded():
    code = "import sys, esper_core; assert 'grow' in dir(esper_core); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("accuracy", "told"), [(0.75, "training loss 0.5 accuracy 75.0 %"), (float("nan"), "training loss 0.5")]
)
def test_an_outcome_is_printed_in_a_line(accuracy, told):
    nothing = EpochMetrics(loss=float("nan"), accuracy=float("nan"), samples=0)
    metrics = EpochMetrics(loss=0.5, accuracy=accuracy, samples=10)
    change = Transition(
        slot="a",
        seed_id="a-0",
        blueprint="mlp",
        source=Stage.TRAINING,
        target=Stage.BLENDING,
        epoch=2,
        epochs_in_source=1,
        cause=Cause.GATE,
    )
    evidence = Evidence(host="model", epoch=2, train=metrics, validation=nothing)
    outcome = EpochOutcome(evidence=evidence, decision=None, verdicts=(), transitions=(change,))
    assert str(outcome) == f"epoch 3: {told}; a mlp TRAINING -> BLENDING"
