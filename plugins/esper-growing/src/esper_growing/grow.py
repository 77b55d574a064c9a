"""`esper_core.grow`: let seeds grow in a network of the user's own, in the user's own training loop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from esper_core.assembling.components import build_components
from esper_core.assembling.options import Options
from esper_core.kasmina.groups import unwrapped
from esper_core.kasmina.root_module import prepare_root
from esper_core.leyline.diagnostics import Diagnostic
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Actor, Evaluator, Sink
from esper_core.leyline.records import plain
from esper_core.leyline.sites import SiteRequest
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.tamiyo.policy import Policy
from esper_growing.following.schedulers import follow, follow_attached, peak_lr
from esper_growing.handle import GrowthHandle
from esper_growing.run_record import RunRecord
from esper_growing.session import GrowPlan
from esper_growing.settings import GrowSettings, check_numbers, check_settings
from esper_growing.sites.axes import traced
from esper_growing.sites.confirming import confirm
from esper_growing.sites.requests import site_requests


def grow(
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    sites: str | SiteRequest | Iterable[str | SiteRequest] | None = None,
    sample: Any = None,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    policy: str | Options | Actor | Policy = "heuristic",
    blueprints: Sequence[str] | Mapping[str, Options] | None = None,
    gates: str | Options = "standard",
    evaluators: Sequence[str | Options | Evaluator] | None = None,
    settings: Options | GrowSettings | None = None,
    seed: int = 0,
    sinks: Sequence[str | Options | Sink] = (),
    diagnostics: Sequence[str | Options | Diagnostic] = (),
    run_directory: str | Path | None = None,
    plugins: PluginSet | None = None,
    handle: Callable[..., GrowthHandle] = GrowthHandle,
) -> GrowthHandle:
    """Make a network growable. The model, the loop and the optimizer stay the caller's.

    Clip and scale gradients as ever: those of live seeds are kept aside until the optimizer's step, and get the factor
    by which the host's were scaled.

    A component is given by its name, or as a mapping with its name and options: ``{"name": "standard", "G2": {...}}``.

    Args:
        model: the network. A root `nn.Sequential` is replaced: go on with ``handle.model``.
        optimizer: trains it; seeds bring parameter groups of their own and leave with them. Where the whole model is
            frozen, torch takes no empty list, but a group without parameters: ``AdamW([{"params": []}])``.
        epochs: length of the training.
        sites: names or globs of submodules (``layer*``), or site requests, whose path may be a glob too; None: ask the
            plugins who knows the model.
        sample: one batch of inputs for tracing; None: the first batch that the model is trained on.
        scheduler: the caller's; it goes on seeing the host's groups only. One that is not named is looked for.
        policy: a policy by name, with its options, or an actor; a `Policy` is an actor with what it declares.
        blueprints: the catalogue, in order: names, or a mapping from names to options; None: those of
            `esper-standard`.
        gates: the gate set, with options of its gates by level.
        evaluators: vote on the network after every epoch, for the governor: by name, with options, or built; None:
            the standard ones that are installed. A loss that is not finite stops the growing in any case.
        settings: `lifecycle`, `limits`, `optimizer` (learning rates of seeds) and `random_guess_loss`; see
            `GrowSettings`.
        seed: of everything random about the seeds.
        sinks: where events go: sinks by name, with options, or sinks that are built.
        diagnostics: what looks into the network after each epoch with validation data: by name, with options, or built.
        run_directory: a new directory for manifest, event log and result, which ``esper show`` reads.
        plugins: loaded plugins; None: all that are installed.
        handle: its class; `esper_distributed.grow` has one that grows the network alike in all processes.

    Raises:
        EsperError: E401, E402 for a model or site that cannot be grown, E404 for a catalogue that fits no site, E406
            for an optimizer that cannot train seeds, E204 for a name that is not known, E201 for an option that nothing
            takes, E405 for a scheduler that cannot be followed, E202 for any other value that is
            not valid, E102 for a run directory without esper-app, E530 for an actor with a memory that it does not
            declare.
    """
    check_numbers(epochs, seed)
    _require("optimizer", optimizer, torch.optim.Optimizer)
    optimizer = unwrapped(optimizer)
    chosen = check_settings({} if settings is None else settings)
    plugins = load_plugins() if plugins is None else plugins
    if run_directory is not None and not any(_is_event_log(sink) for sink in sinks):
        sinks = [*sinks, "jsonl"]
    parts = build_components(
        plugins,
        blueprints=blueprints,
        gates=gates,
        evaluators=evaluators,
        policy=policy,
        sinks=sinks,
        diagnostics=diagnostics,
    )
    requests = site_requests(model, sites, plugins)
    record = RunRecord(
        name=type(getattr(model, "_orig_mod", model)).__name__,
        config={"seed": seed, "epochs": epochs, **parts.config, **plain(chosen)},
        catalogue=[{"name": name, "options": dict(made.entry.options)} for name, made in parts.seed_factories.items()],
        plugins=plugins,
        used=parts.used,
        path=None if run_directory is None else Path(run_directory),
    )
    root = prepare_root(model)
    if scheduler is not None:
        follow(scheduler, optimizer)
    follow_attached(optimizer)
    plan = GrowPlan(
        epochs=epochs,
        seed=seed,
        requests=requests,
        parts=parts,
        settings=chosen,
        seed_rate=peak_lr(optimizer, scheduler) * chosen.optimizer.seed_lr_multiplier,
    )
    return _begun(handle(root, optimizer, plan, record), plan, sample)


def _begun(handle: GrowthHandle, plan: GrowPlan, sample: Any) -> GrowthHandle:
    if sample is not None:
        handle.begin(confirm(handle.model, plan.requests, traced(sample)))
    return handle


def _is_event_log(sink: str | Options | Sink) -> bool:
    return (sink.get("name") if isinstance(sink, Mapping) else sink) == "jsonl"


def _require(argument: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise EsperError(
            "E202",
            f'the value of "{argument}" is not valid',
            where=f"grow({argument}=...)",
            why=f"expected a {kind.__name__}, got {value!r}",
        )
