"""A user's training as a run: when its sinks open, what begins and ends an epoch, and its saved state."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import frozen
from torch import nn

from esper_core.assembling.components import Components
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.root_module import refuse_several_processes
from esper_core.leyline.actions import Transition
from esper_core.leyline.diagnostics import Finding, NetworkView
from esper_core.leyline.errors import EsperError
from esper_core.leyline.executors import Plan
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport, HostReport, HostState
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import Capability
from esper_core.simic.rollout import Decided, Rollout
from esper_core.simic.serialization import loop_of, loop_record, policy_of, policy_record
from esper_core.tolaria.diagnosing import examine
from esper_core.tolaria.executors import OneHost
from esper_core.tolaria.governor import Governor, GovernorRules
from esper_core.tolaria.grower import Grower
from esper_growing.measuring.description import sites_in_words
from esper_growing.measuring.user_host import UserHost
from esper_growing.run_record import RunRecord
from esper_growing.settings import GrowSettings
from esper_growing.sites.confirming import Confirmation
from esper_nissa.context import RunContext
from esper_nissa.hub import Hub

#: The network's name in events.
_HOST = "model"

#: What a saved state holds of the optimizer's steps.
STEPS = ("version", "steps", "steps_per_epoch")
#: The version of that.
VERSION = 1
#: What else it holds.
_STATE = ("sites", "fixed_batch", "host", "rollout", "in_epoch", "next_event")


@frozen(kw_only=True)
class GrowPlan:
    """Everything that was chosen for a growing network.

    Attributes:
        epochs: length of the training.
        seed: of everything random about the seeds.
        requests: the sites that were asked for.
        parts: catalogue, gates, policy and sinks.
        settings: how seeds live.
        seed_rate: the learning rate that a seed begins with.
    """

    epochs: int
    seed: int
    requests: tuple[SiteRequest, ...]
    parts: Components
    settings: GrowSettings
    seed_rate: float

    def look(self, view: NetworkView) -> tuple[Finding, ...]:
        """Let the diagnostics look into the network. Raises EsperError E530 if one has changed it."""
        return examine(self.parts.diagnostics, view, self.seed)


class GrowSession:
    """One training: the host, and the rollout that it is a part of.

    Sinks open when the first epoch begins, not before: the training may go on from a saved state instead.

    Args:
        host: the user's network, its sites confirmed.
        plan: what was chosen.
        record: what is written about the training.

    Attributes:
        in_epoch: an epoch has begun, and is not concluded.
    """

    def __init__(self, host: UserHost, plan: GrowPlan, record: RunRecord) -> None:
        self.host = host
        self.in_epoch = False
        self._plan = plan
        self._record = record
        self._rollout: Rollout | None = None
        self._context: RunContext | None = None
        self._unseen: tuple[Transition, ...] = ()
        self._completed = False

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return self.host.grower.epoch

    @property
    def started(self) -> bool:
        """An epoch has begun, in this process or before the state was saved that it goes on from."""
        return self._rollout is not None

    def begin_epoch(self) -> None:
        """Decide and let time pass. After the planned epochs nothing more is decided."""
        if self._rollout is None:
            self._context = context = self._make_context(first_event=0)
            context.run_start(self._record.begin(sites_in_words(self.host.grower.growth.sites)))
            self._rollout = self._make_rollout(context)
        refuse_several_processes(self.host.grower.growth.slot_set.model)
        # Seeds are made in the host's own precision, also under autocast.
        with torch.autocast(self.host.device.type, enabled=False):
            if self.epoch < self._plan.epochs:
                self._rollout.decide()
            self.host.begin_epoch()
        self._unseen, self.in_epoch = (*self._unseen, *self._opening()), True

    def conclude(self) -> HostReport:
        """End the epoch that the host has measured."""
        assert self._rollout is not None, "an epoch has begun"
        begun = len(self.host.grower.transitions)
        (report,) = self._rollout.conclude([self.host.epoch()])
        self._unseen = (*self._unseen, *report.transitions[begun:])
        self.in_epoch, self._completed = False, self._completed or report.epoch >= self._plan.epochs
        return report

    def decided(self) -> Decided | None:
        """What was decided for the present epoch."""
        return self._rollout.decided[0] if self._rollout is not None and self._rollout.decided else None

    def take_transitions(self) -> tuple[Transition, ...]:
        """Return the transitions since the last time."""
        unseen, self._unseen = self._unseen, ()
        return unseen

    def finish(self) -> FinalReport:
        """Sum the training up, end the record, and close the sinks."""
        assert self._rollout is not None
        assert self._context is not None
        (final,) = self._rollout.finish()
        outcome = "stopped" if self.host.grower.stopped else "completed" if self._completed else "interrupted"
        result, context = self._record.result(final, outcome, self.host.measured.how), self._context
        context.run_finish(result)
        self._record.finish(result | context.record())
        return final

    def state(self, *, closed: bool) -> dict[str, Any]:
        """Return everything that is not a tensor, as plain data; `closed`: the sinks are closed already."""
        if self._context is not None and not closed:
            self._context.hub.flush()
        return {
            "sites": [plain(site) for site in self.host.grower.growth.sites],
            "fixed_batch": self.host.grower.forks.fixed_batch,
            "host": dict(self.host.capture().record),
            "rollout": None
            if self._rollout is None
            else {"loop": loop_record(self._rollout.state()), "policy": policy_record(self._rollout.policy_state())},
            "in_epoch": self.in_epoch,
            "next_event": 0 if self._context is None else self._context.hub.next_number,
            "telemetry": {} if self._context is None else plain(self._context.hub.telemetry),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, which `refuse_other_states` let through. Raises EsperError E502."""
        saved = HostState(tensors={}, record=state["host"])
        if state["rollout"] is None:
            self.host.restore(saved)
        else:
            context = self._context or self._make_context(first_event=state["next_event"])
            rollout = self._rollout or self._make_rollout(context)
            policy = policy_of(state["rollout"]["policy"])
            rollout.restore([saved], loop_of(state["rollout"]["loop"]), policy)
            context.hub.restore_telemetry(state.get("telemetry", {}))
            if self._rollout is None:
                context.run_resume(self._record.resume(self.epoch, state["next_event"]))
            self._context, self._rollout = context, rollout
        self.in_epoch, self._completed = state["in_epoch"], self._completed or self.epoch >= self._plan.epochs
        self._unseen = self._opening() if self.epoch == 0 else ()

    def _opening(self) -> tuple[Transition, ...]:
        """Changes of stages with which the present epoch has begun."""
        decided = self.decided()
        return (*(decided.transitions if decided else ()), *self.host.grower.transitions)

    def _make_context(self, *, first_event: int) -> RunContext:
        used = frozenset(registered.origin.plugin for registered in self._plan.parts.used)
        return RunContext(Hub(self._plan.parts.sinks, first=first_event), self._record.plugins, used)

    def _make_rollout(self, context: RunContext) -> Rollout:
        return Rollout(
            OneHost(self.host),
            self._plan.parts.policy,
            plans=[Plan(name=self.host.grower.name, seed=self._plan.seed, config=self._plan.parts.config)],
            epochs=self._plan.epochs,
            random_guess_loss=self._plan.settings.random_guess_loss,
            services=context,
        )


def make_grower(model: nn.Module, optimizer: torch.optim.Optimizer, plan: GrowPlan, confirmed: Confirmation) -> Grower:
    """Make the growing part of a user's network.

    Raises:
        EsperError: E404 if no blueprint of the catalogue fits any of its sites.
    """
    growth = Growth(
        model,
        confirmed.sites,
        optimizer,
        plan.parts.seed_factories,
        plan.parts.gates,
        plan.settings.lifecycle,
        plan.seed,
        plan.seed_rate,
    )
    # The weights are the user's: nothing takes them back unasked.
    rules = GovernorRules(max_rollbacks=0)
    governor = Governor(plan.settings.random_guess_loss or 0.0, plan.parts.evaluators, rules)
    grower = Grower(_HOST, growth, governor, plan.settings.limits, fixed_batch=confirmed.fixed_batch)
    if grower.catalogue.entries and not any(map(grower.catalogue.fitting, confirmed.sites)):
        fits = [f"{it.name} is for {', '.join(sorted(it.layouts))}" for it in grower.catalogue.entries if it.learnable]
        sites = ", ".join(f"{site.id} is {site.layout} of width {site.width}" for site in confirmed.sites)
        raise EsperError(
            "E404",
            "no blueprint of the catalogue fits any site of the network",
            where="grow(blueprints=...)",
            why=f"{'; '.join(fits) or 'none of them learns'}; site {sites}",
            fix="name blueprints for these layouts, or other sites",
        )
    return grower


def refuse_other_states(state: Mapping[str, Any], plan: GrowPlan) -> None:
    """Check that a state is one of this training, before anything is touched.

    Raises:
        EsperError: E502 if it is not such a state, or has other sites or another kind of policy.
    """
    if missing := [key for key in (*STEPS, *_STATE) if key not in state]:
        why, fix = f"it has no {', '.join(missing)}", "give what handle.state_dict() has returned"
        raise EsperError("E502", "this is not the state of a growing network", why=why, fix=fix)
    if state["version"] != VERSION:
        why, fix = f"it is {state['version']!r:.40}, this Esper reads {VERSION}", "pip install -U esper-core"
        raise EsperError("E502", "the saved state has another version", why=why, fix=fix)
    rollout = state["rollout"]
    remembers = Capability.STATEFUL in plan.parts.policy.capabilities
    if remembers and rollout is not None and rollout["policy"] is None:
        why, fix = "it holds nothing of what this policy remembers", "give the policy that it was grown with"
        raise EsperError("E502", "the saved state is another policy's", where="grow(policy=...)", why=why, fix=fix)
    saved, asked = {site["path"] for site in state["sites"]}, {request.path for request in plan.requests}
    if saved != asked:
        raise EsperError(
            "E502",
            "the saved state has other sites than were asked for",
            why=f"saved {', '.join(sorted(saved))}; asked for {', '.join(sorted(asked))}",
            fix="ask for the same sites as when the state was saved",
        )
