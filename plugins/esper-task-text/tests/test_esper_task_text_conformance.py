"""task-text against the conformance suite."""

from esper_core.testing import Check, TaskSubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_task_text.config import TextConfig
from esper_task_text.plugin import esper_tasks

(PLUGIN,) = find_plugins("esper-task-text")
SPECS = {spec.name: spec for spec in esper_tasks()}


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPECS["text"])
def test_text(check: Check) -> None:
    config = TextConfig(max_bytes=400_000, context=32, train_sequences=64, validation_sequences=16, test_sequences=16)
    check(TaskSubject(spec=SPECS["text"], config=config))
