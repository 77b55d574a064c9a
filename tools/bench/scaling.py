"""Whether costs are linear in the work: in slots, and in epochs."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from bench.comparing import Effort, Row, row_of
from esper_app.api import list_plugins, resolve_run
from esper_app.execution.assembly import assemble
from esper_app.execution.checkpoint import save_checkpoint
from esper_app.execution.run_parts import RunParts

#: Settings of a run that is small and grows nothing, so that only what the epochs cost in themselves is seen.
_SETTINGS = ("policy.name=null", "twin=none", "sinks.names=[]", "task.train_samples=64", "task.validation_samples=256")


def scaling(effort: Effort) -> Iterator[Row]:
    """Yield time of an epoch and size of a checkpoint late in a run over early in it."""
    plugins, epochs = list_plugins(), effort.of(2000, 20)
    with TemporaryDirectory() as folder:
        resolved = resolve_run("fashion-mnist", plugins, sets=(*_SETTINGS, f"epochs={epochs}", f"runs={folder}"))
        assembly = assemble(resolved.config, plugins)
        parts = RunParts.of(assembly, plugins, first_event=0, strict=True, watch=None, policy=assembly.policy())
        parts.context.run_start({})
        part = epochs // 20
        spent: list[float] = []
        sizes = []
        for epoch in range(epochs):
            began = process_time()
            parts.rollout.step()
            spent.append(process_time() - began)
            if epoch in (part, epochs - 1):
                saved = save_checkpoint(Path(folder, "checkpoints"), parts.checkpoint(epoch), keep=1)
                sizes.append(saved.stat().st_size)
        early, late = (
            median(spent[part : 2 * part]),
            [second / median(spent[part : 2 * part]) for second in spent[-part:]],
        )
        assert early > 0
        yield row_of(f"epoch {epochs}", late, against="one of the first epochs", target=1.1)
        yield row_of(f"checkpoint after {epochs} epochs", [sizes[1] / sizes[0]], against="an early one", target=1.1)
