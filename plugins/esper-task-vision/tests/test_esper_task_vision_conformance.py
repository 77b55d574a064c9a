"""task-vision against the conformance suite."""

from pathlib import Path

from esper_core.testing import Check, TaskSubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_task_vision.config import FashionMnistConfig
from esper_task_vision.plugin import esper_tasks

(PLUGIN,) = find_plugins("esper-task-vision")
SPECS = {spec.name: spec for spec in esper_tasks()}


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPECS["digits"])
def test_digits(check: Check) -> None:
    check(TaskSubject(spec=SPECS["digits"]))


@conformance(SPECS["fashion-mnist"])
def test_fashion_mnist(check: Check, idx_folder: Path) -> None:
    config = FashionMnistConfig(directory=str(idx_folder), train_samples=60, validation_samples=20)
    check(TaskSubject(spec=SPECS["fashion-mnist"], config=config))
