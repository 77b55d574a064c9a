"""The handle on a user's own network as it grows: the user keeps model, loop and optimizer."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import asdict, define, field, frozen
from torch import Tensor, nn

from esper_core.growing.user_data import Batches, Loss, UserCriterion, as_samples, per_sample
from esper_core.kasmina.cost import parameter_count, seed_cost
from esper_core.kasmina.export import Live, export_network
from esper_core.kasmina.gated import Share
from esper_core.kasmina.groups import clip_grad_norm_by_origin_, host_groups, seed_ids, set_seed_lr
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.preserving import growth_record, restore_growth
from esper_core.kasmina.schedules import restarted_cosine
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.actions import Action, GovernorMode, Op, Transition, Verdict
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics, Evidence, SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.protocols import Actor, Resumable
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FieldReport, HostReport
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.stages import Stage
from esper_core.leyline.structure import structure
from esper_core.tamiyo.masks import GrowthLimits, Sizes, action_masks
from esper_core.tamiyo.sense import observe
from esper_core.tolaria.acting import execute
from esper_core.tolaria.config import SeedSchedule
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.gathering import gather
from esper_core.tolaria.governor import Governor
from esper_core.tolaria.training import GRADIENT_STRIDE, GradientWatch

#: What a saved state holds.
_STATE = ("epoch", "steps", "steps_per_epoch", "sites", "growth", "governor", "history", "actor")

_UNKNOWN = EpochMetrics(loss=float("nan"), accuracy=float("nan"), samples=0)


@frozen(kw_only=True)
class EpochOutcome:
    """What `GrowthHandle.epoch_end` saw and did.

    Attributes:
        evidence: what was measured.
        action: what the policy decided.
        verdict: the governor's answer.
        transitions: every change of a stage, the action's and those that came by themselves.
    """

    evidence: Evidence
    action: Action
    verdict: Verdict
    transitions: tuple[Transition, ...]


@define(kw_only=True)
class GrowthHandle:
    """Grows a model inside a training loop that stays the user's.

    Attributes:
        model: the module to train: the one that was given, or its replacement if that was a `nn.Sequential`.
        optimizer: the user's.
        epochs: length of the training.
        epoch: epochs that are over.
        requests: the sites that were asked for.
        build: makes the growth, once the sites are confirmed.
        seed_rate: the learning rate that a seed begins with.
        seed_schedule: how it goes on from there; the host's schedule is the user's.
        seed_lr_multiplier: a seed's learning rate relative to the host's.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    catalogue: Catalogue
    actor: Actor
    limits: GrowthLimits
    seed_rate: float
    seed_schedule: SeedSchedule
    seed_lr_multiplier: float
    requests: tuple[SiteRequest, ...]
    build: Callable[[Sequence[Site]], Growth]
    epoch: int = 0
    _growth: Growth | None = None
    _steps: int = 0
    _steps_per_epoch: int | None = None
    _history: list[Evidence] = field(factory=list)
    _governor: Governor = field(factory=lambda: Governor(random_guess_loss=0.0))
    _watch: GradientWatch | None = None
    _forks: ForkMap = field(factory=ForkMap)
    _handles: list[Any] = field(factory=list)
    _waiting: Any = None
    _warned: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.actor.reset(1)
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]

    @property
    def growth(self) -> Growth:
        """The slots and seeds.

        Raises:
            EsperError: E402 before the model has run once, if no sample was given.
        """
        if self._growth is None:
            raise EsperError(
                "E402",
                "the sites of the model are not confirmed yet",
                why="no sample was given, and the model has not run since",
                fix="grow(..., sample=inputs), or run one batch first",
            )
        return self._growth

    @property
    def begun(self) -> bool:
        """The sites are confirmed."""
        return self._growth is not None

    @property
    def slots(self) -> tuple[SlotState, ...]:
        """Every slot as it stands before the next epoch."""
        return self.growth.states(self.epoch)

    @property
    def reports(self) -> list[FieldReport]:
        """Field reports of every seed so far."""
        return self.growth.final_reports(self.epoch)

    def epoch_end(
        self,
        validation: Batches | None = None,
        loss: Loss | None = None,
        *,
        train_loss: float | None = None,
        train_accuracy: float | None = None,
        metric: Callable[[Any, Tensor], Tensor] | None = None,
    ) -> EpochOutcome:
        """Measure, decide, grow, cull. Call it after every epoch of training.

        Args:
            validation: pairs (inputs, targets) of held-out data, the same every time. The model is called with the
                inputs: a tensor, several in a tuple, or several by name in a mapping. Without it nothing is measured
                per sample, and no seed leaves TRAINING.
            loss: ``loss(outputs, targets)``, the one that the model is trained with.
            train_loss: mean training loss of the epoch, in nats.
            train_accuracy: training accuracy of the epoch, 0 to 1. Policies that ask whether the host underfits need
                it.
            metric: how right each sample is, (B,), 0 to 1; by default whether the largest output is the target.
        """
        growth = self.growth
        self._steps_per_epoch, self._steps = self._steps or None, 0
        validated, seeds = self._measure(growth, validation, loss, metric)
        trained = EpochMetrics(loss=_known(train_loss), accuracy=_known(train_accuracy), samples=validated.samples)
        evidence = self._evidence(growth, trained, validated, seeds)
        growth.judge(seeds, None if validated is _UNKNOWN else validated.accuracy)
        if validated is not _UNKNOWN:
            self._governor.observe(validated if train_loss is None else trained, validated)
        self._history.append(evidence)
        self.epoch += 1
        action, verdict, transitions = self._decide(growth)
        return EpochOutcome(
            evidence=evidence,
            action=action,
            verdict=verdict,
            transitions=(*transitions, *growth.tick(self.epoch)),
        )

    def clip_grad_norm_(self, max_norm: float) -> dict[str, Tensor]:
        """Clip gradients, the host's and each seed's by itself, and return the norms before, by origin.

        The host's are clipped bit for bit as ``clip_grad_norm_(model.parameters(), max_norm)`` would without seeds.
        """
        host = self._growth.bed.host_parameters if self._growth is not None else None
        return clip_grad_norm_by_origin_(self.optimizer, max_norm, host)

    def export(self, *, live: Live = "refuse") -> nn.Module:
        """Return the network without slots: fossilized seeds are plain modules. See `kasmina.export`."""
        return export_network(self.model, live=live)

    def state_dict(self) -> dict[str, Any]:
        """Return what the handle knows, as plain data. Save it beside the model's and the optimizer's own states."""
        return {
            "epoch": self.epoch,
            "steps": self._steps,
            "steps_per_epoch": self._steps_per_epoch,
            "sites": [plain(site) for site in self.growth.sites],
            "growth": growth_record(self.growth),
            "governor": {**asdict(self._governor), "mode": self._governor.mode.value},
            "history": [plain(evidence) for evidence in self._history],
            "actor": dict(self.actor.state()) if isinstance(self.actor, Resumable) else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rebuild the topology of a saved state; load the model's and the optimizer's states *afterwards*.

        Where the sites are not confirmed yet, those of the state are taken. In the middle of an epoch, what was seen
        of gradients in its first part is not part of the state.

        Raises:
            EsperError: E502 if it is no such state, or does not fit the model, the sites that were asked for, the
                catalogue, or a policy that has a memory.
        """
        if missing := [key for key in _STATE if key not in state]:
            why, fix = f"it has no {', '.join(missing)}", "give what handle.state_dict() has returned"
            raise EsperError("E502", "this is not the state of a growing network", why=why, fix=fix)
        if isinstance(self.actor, Resumable) and state["actor"] is None:
            why, fix = "it holds nothing of what this policy remembers", "give the policy that it was grown with"
            raise EsperError("E502", "the saved state is another policy's", where="grow(policy=...)", why=why, fix=fix)
        if self._growth is None:
            self.begin(self._recorded_sites(state["sites"]))
        restore_growth(self.growth, state["growth"])
        self.epoch, self._steps, self._steps_per_epoch = state["epoch"], state["steps"], state["steps_per_epoch"]
        self._governor = Governor(**{**state["governor"], "mode": GovernorMode(state["governor"]["mode"])})
        self._history = [structure(Evidence, dict(evidence)) for evidence in state["history"]]
        if isinstance(self.actor, Resumable):
            self.actor.restore(state["actor"])
        self._watch = GradientWatch(self.growth)
        self.growth.set_alphas(self.epoch, self._reached(1) if self._steps else 0.0)

    def close(self) -> None:
        """Let go of the optimizer; the model stays as it is."""
        self._stop_waiting()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def begin(self, sites: Sequence[Site]) -> None:
        """Make the slots, once the sites are confirmed."""
        self._stop_waiting()
        self._growth = self.build(sites)
        self._watch = GradientWatch(self._growth)

    def begin_at_first_batch(self) -> None:
        """Confirm the sites in front of the model's first forward pass, and begin."""

        def confirm(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # Copies of the model share this hook. In inference mode tensors do not tell whether they are overwritten.
            if module is self.model and not torch.is_inference_mode_enabled():
                # Of a model that was compiled before its first batch, Dynamo would trace the tracing of the sites.
                compiled = "torch._dynamo" in sys.modules
                (torch.compiler.disable(self._confirm) if compiled else self._confirm)(args, kwargs)  # type: ignore[no-untyped-call]

        self._waiting = self.model.register_forward_pre_hook(confirm, with_kwargs=True)

    def _confirm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._stop_waiting()
        self.begin(confirm_sites(self.model, self.requests, lambda model: model(*args, **kwargs)))

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.remove()
            self._waiting = None

    def _recorded_sites(self, record: Sequence[Mapping[str, Any]]) -> list[Site]:
        sites = [structure(Site, dict(site)) for site in record]
        saved, asked = {site.path for site in sites}, {request.path for request in self.requests}
        if saved != asked:
            raise EsperError(
                "E502",
                "the saved state has other sites than were asked for",
                why=f"saved {', '.join(sorted(saved))}; asked for {', '.join(sorted(asked))}",
                fix="ask for the same sites as when the state was saved",
            )
        return sites

    def _measure(
        self, growth: Growth, validation: Batches | None, loss: Loss | None, metric: Any
    ) -> tuple[EpochMetrics, tuple[SeedEvidence, ...]]:
        gradients = self._watch.read() if self._watch is not None else {}
        self._watch = GradientWatch(growth)
        if validation is None or loss is None:
            self._warn_once("nothing is measured per sample without validation data and a loss: no seed will be kept")
            return _UNKNOWN, growth.evidence(self.epoch)
        gathered = gather(
            growth,
            UserCriterion(loss=per_sample(loss), metric=metric),
            as_samples(validation, next(self.model.parameters()).device),
            self._forks,
            epoch=self.epoch,
            fossils=self.epoch + 1 == self.epochs,
            gradients=gradients,
            twin_losses=None,
        )
        return gathered.metrics, gathered.seeds

    def _evidence(
        self, growth: Growth, trained: EpochMetrics, validated: EpochMetrics, seeds: Sequence[SeedEvidence]
    ) -> Evidence:
        return Evidence(
            host="model",
            epoch=self.epoch,
            train=trained,
            validation=validated,
            seeds=tuple(seeds),
            parameters=parameter_count(self.model),
            host_parameters=sum(p.numel() for p in growth.bed.host_parameters),
        )

    def _decide(self, growth: Growth) -> tuple[Action, Verdict, tuple[Transition, ...]]:
        report = self._report(growth)
        observation = observe(self._history, report, epochs=self.epochs)
        if observation.host.train_accuracy is None:
            self._warn_once("train_accuracy was not given: a policy that asks whether the host underfits will wait")
        (action,) = self.actor.decide([observation], [report.masks])
        verdict = self._governor.review(action, report.masks)
        done = execute(growth, action, self.epoch) if verdict.allowed and action.op is not Op.WAIT else ()
        return action, verdict, done

    def _report(self, growth: Growth) -> HostReport:
        host_parameters = sum(p.numel() for p in growth.bed.host_parameters)
        states = growth.states(self.epoch)
        sizes = Sizes(
            host_parameters=host_parameters,
            seed_parameters=lambda site, name: seed_cost(growth.recipes[name].build, site).parameters,
            share_parameters=lambda site: seed_cost(Share, site).parameters,
        )
        return HostReport(
            host="model",
            epoch=self.epoch,
            states=states,
            masks=action_masks(states, self.catalogue, governor=self._governor.mode, limits=self.limits, sizes=sizes),
            governor=self._governor.mode,
            governor_reason=self._governor.reason,
            parameters=parameter_count(self.model),
            host_parameters=host_parameters,
        )

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        if self.seed_schedule is SeedSchedule.KEEP:
            rate = float(host_groups(self.optimizer)[0]["lr"]) * self.seed_lr_multiplier
            for seed_id in seed_ids(self.optimizer):
                set_seed_lr(self.optimizer, seed_id, rate)
        if self._watch is None or self._steps % GRADIENT_STRIDE:
            return None
        return _looking(self._watch, args, kwargs)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Time within an epoch: alphas and rates of seeds move on with every step."""
        self._steps += 1
        growth = self._growth
        if growth is None or self._steps_per_epoch is None:
            return
        fraction = self._reached()
        growth.set_position(self.epoch * self._steps_per_epoch + self._steps)
        growth.set_alphas(self.epoch, self._reached(1))
        if self.seed_schedule is SeedSchedule.KEEP:
            return
        for slot, life in growth.lives.items():
            if growth.bed.seed_parameters(slot) and life.stage is not Stage.CULLED:
                factor = restarted_cosine(self.epoch + fraction, life.germinated_epoch, self.epochs)
                set_seed_lr(self.optimizer, life.seed_id, self.seed_rate * factor)

    def _reached(self, more: int = 0) -> float:
        """How much of the epoch is over, 0 to 1, after so many more steps; 0 where its length is not known."""
        return min(1.0, (self._steps + more) / self._steps_per_epoch) if self._steps_per_epoch else 0.0

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=4)


def _looking(watch: GradientWatch, args: Any, kwargs: Any) -> Any:
    """Look at the gradients; where the step's closure makes them, let it be a closure that looks behind it."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        watch.look()
        return None

    def looked_at() -> Any:
        result = closure()
        watch.look()
        return result

    return (args[0], *args[2:]), {**kwargs, "closure": looked_at}


def _known(value: float | None) -> float:
    return float("nan") if value is None else value
