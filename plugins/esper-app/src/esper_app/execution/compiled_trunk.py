"""Compiling what does not change as seeds live: the trunk of a host, and what has become part of it.

A *region* is a submodule without a site inside of it. Its forward is compiled, and nothing else is: hooks, and with
them all that live seeds do, run outside of it. So a seed that comes or goes changes no compiled code. A region is one
graph or it is not compiled at all: what Dynamo cannot take runs as it is, and the run says why.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from esper_core.kasmina.compiled import mark_hooked
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import SEEDS
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import summary

#: Graphs that one region may have: two shapes of batches, and what may come to be or not to be trained.
_MOST_GRAPHS = 16


def regions(model: nn.Module, sites: list[str]) -> dict[str, nn.Module]:
    """Return the largest submodules without a site inside of them, by path. Single layers of torch's own are not worth
    a graph, and the live seeds are no part of the trunk."""
    found: dict[str, nn.Module] = {}

    def walk(path: str, module: nn.Module) -> None:
        if path == SEEDS:
            return
        inside = any(site.startswith(f"{path}." if path else "") and site != path for site in sites)
        if inside or isinstance(module, nn.ModuleList | nn.ModuleDict):
            for name, child in module.named_children():
                walk(f"{path}.{name}" if path else name, child)
        elif module not in found.values() and not _single(module):
            found[path] = module

    walk("", model)
    return found


def _single(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.") and not any(True for _ in module.children())


@define
class Region:
    """The forward of a submodule, compiled when it is first called.

    Attributes:
        path: its place.
        module: the submodule.
        reason: why it is not compiled any more; "" while it is.
    """

    path: str
    module: nn.Module
    compiled: Any
    eager: Any
    reason: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the submodule's forward."""
        if not self.reason:
            try:
                return self.compiled(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                # It is one graph, so nothing of it has been computed yet.
                self.reason = summary(error)
        return self.eager(*args, **kwargs)


@define
class CompiledTrunk:
    """Runs a host's forward pass with compiled regions; outside of that the host is as it was.

    On CUDA with ``inductor`` the regions are captured as CUDA graphs (``reduce-overhead``). A capture needs fixed
    shapes, hence a graph for each, and lets the next step overwrite what this one gave, hence the mark in front of
    each. What is kept longer than a step, sums and the proof of isolation, is computed outside of the regions.

    Attributes:
        backend: of torch.compile.
        graphs: how many graphs were compiled.
        changes: how many graphs were compiled in which topology: slots with what they do, and the number.
    """

    backend: str
    graphs: int = 0
    changes: list[dict[str, Any]] = field(factory=list)
    _regions: dict[str, Region] = field(factory=dict)
    _classes: list[type] = field(factory=list)
    _told: list[str] = field(factory=list)
    _new: int = 0

    def forward(self, slot_set: SlotSet, inputs: Tensor) -> Any:
        """Return what the host makes of a batch."""
        self._find(slot_set)
        before = _graphs()
        if self._captured(inputs):
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with self._installed():
            outputs = slot_set.model(inputs)
        if made := _graphs() - before:
            self._count(made, {name: held.forward_mode.value for name, held in slot_set.slots.items()})
        return outputs

    def notices(self) -> tuple[str, ...]:
        """Return what was compiled and what was not since the last time."""
        new, self._new = self._new, 0
        seeds = ", ".join(f"{slot} {mode}" for slot, mode in self.changes[-1]["seeds"].items()) if new else ""
        made = [f"torch.compile made {new} graphs of the trunk ({seeds or 'no seeds'})"] if new else []
        failed = [it for it in self._regions.values() if it.reason and it.path not in self._told]
        self._told += [it.path for it in failed]
        return (*made, *(f'"{it.path}" is not compiled: {it.reason}' for it in failed))

    def summary(self) -> dict[str, Any]:
        """Return what is compiled, as plain data."""
        return {
            "backend": self.backend,
            "regions": [path for path, region in self._regions.items() if not region.reason],
            "not_compiled": {path: region.reason for path, region in self._regions.items() if region.reason},
            "graphs": self.graphs,
            "changes": list(self.changes),
        }

    def record(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"graphs": self.graphs, "changes": list(self.changes)}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on counting from what was recorded."""
        self.graphs, self.changes = record["graphs"], [dict(change) for change in record["changes"]]

    def _find(self, slot_set: SlotSet) -> None:
        """Find the regions: those of the host once, and the seeds that have become part of it."""
        if not self._regions:
            paths = [site.path for site in slot_set.sites.values()]
            for path, module in regions(slot_set.model, paths).items():
                self._regions[path] = self._region(path, module)
        fossils = {
            f"{SEEDS}.{name}.seed": held.seed
            for name, held in slot_set.slots.items()
            if held.forward_mode is ForwardMode.FOSSIL
        }
        for path in [path for path in self._regions if path.startswith(f"{SEEDS}.") and path not in fossils]:
            del self._regions[path]  # an earlier state was restored
        for path, seed in fossils.items():
            if path not in self._regions or self._regions[path].module is not seed:
                self._regions[path] = self._region(path, seed)
        for site in slot_set.sites.values():
            # A site is of a class of its own while it has a slot: that would be another graph. Here it always is.
            if site.path in self._regions:
                mark_hooked(self._regions[site.path].module)
                self._classes.append(type(self._regions[site.path].module))
        self._classes = [*dict.fromkeys(self._classes)]

    def _region(self, path: str, module: nn.Module) -> Region:
        device = next((p.device.type for p in module.parameters()), "cpu")
        options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "backend": self.backend}
        if self.backend == "inductor" and device == "cuda":
            options["mode"] = "reduce-overhead"
        newer = {"recompile_limit": _MOST_GRAPHS, "isolate_recompiles": True}
        known = inspect.signature(torch.compile).parameters
        options |= {name: value for name, value in newer.items() if name in known}
        return Region(path=path, module=module, compiled=torch.compile(module.forward, **options), eager=module.forward)

    def _captured(self, inputs: Tensor) -> bool:
        return inputs.is_cuda and self.backend == "inductor"

    @contextmanager
    def _installed(self) -> Iterator[None]:
        """A forward of the instance's own, taken away again: copies and measurements do not see it."""
        try:
            for region in self._regions.values():
                region.module.__dict__["forward"] = region
            yield
        finally:
            for region in self._regions.values():
                region.module.__dict__.pop("forward", None)

    def _count(self, made: int, seeds: dict[str, str]) -> None:
        self.graphs += made
        self._new += made
        if not self.changes or self.changes[-1]["seeds"] != seeds:
            self.changes.append({"seeds": seeds, "graphs": 0})
        self.changes[-1]["graphs"] += made


def _graphs() -> int:
    """How many graphs this process has compiled."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
