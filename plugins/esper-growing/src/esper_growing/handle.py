"""The handle on a user's own network as it grows: the user keeps model, loop and optimizer."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from esper_core.kasmina.growth import Growth
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.observation import SlotState
from esper_core.leyline.optional import optional_part
from esper_core.leyline.records import with_numbers
from esper_core.leyline.reports import FieldReport, FinalReport
from esper_core.leyline.sites import Site
from esper_core.leyline.structure import structure
from esper_growing.following.first_batch import FirstBatch
from esper_growing.following.notices import Notices
from esper_growing.following.optimizer_hooks import OptimizerHooks
from esper_growing.following.restoring import all_or_nothing, go_on
from esper_growing.following.schedulers import follow_attached
from esper_growing.following.seed_gradients import SeedGradients
from esper_growing.measuring.description import described
from esper_growing.measuring.epoch_outcome import EpochOutcome
from esper_growing.measuring.numbers import number, share
from esper_growing.measuring.sample_accuracy import Metric
from esper_growing.measuring.sample_loss import Loss
from esper_growing.measuring.user_data import Batches
from esper_growing.measuring.user_host import UserHost
from esper_growing.run_record import RunRecord
from esper_growing.session import VERSION, GrowPlan, GrowSession, make_grower, refuse_other_states
from esper_growing.sites.axes import TracedBatch
from esper_growing.sites.confirming import Confirmation, confirm


class GrowthHandle:
    """Grows a model inside a training loop that stays the user's.

    The policy decides before each epoch: before the first one in front of the first forward pass that trains, later in
    `epoch_end`. Use it as a context manager, or call `finish` or `close` at the end.

    Args:
        model: the module to train: the one that was given, or its replacement if that was a `nn.Sequential`.
        optimizer: the user's.
        plan: what was chosen.
        record: what is written about the training.

    Attributes:
        model, optimizer: to train with.
        epochs: length of the training.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: GrowPlan, record: RunRecord) -> None:
        self.model = model
        self.optimizer = optimizer
        self.epochs = plan.epochs
        self._plan = plan
        self._record = record
        self._session: GrowSession | None = None
        self._closed, self._notices = False, Notices()
        rates = plan.settings.optimizer
        self._hooks = OptimizerHooks(
            optimizer=optimizer,
            epochs=plan.epochs,
            seed_rate=plan.seed_rate,
            schedule=rates.seed_schedule,
            multiplier=rates.seed_lr_multiplier,
        )
        self._first_batch = FirstBatch(model, self._begin_with)
        self._first_batch.wait()

    @property
    def growth(self) -> Growth:
        """The slots and seeds.

        Raises:
            EsperError: E402 before the model has been trained on a batch, if no sample was given.
        """
        return self._known.host.grower.growth

    @property
    def begun(self) -> bool:
        """The sites are confirmed."""
        return self._session is not None

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return 0 if self._session is None else self._session.epoch

    @property
    def slots(self) -> tuple[SlotState, ...]:
        """Every slot as it stands before the next epoch."""
        return self.growth.states(self.epoch)

    @property
    def governor(self) -> GovernorMode:
        """Whether the network may grow; a change is warned of."""
        return self._known.host.grower.governor.mode

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
        metric: Metric | None = None,
    ) -> EpochOutcome:
        """Measure and judge the epoch, then decide, grow and cull for the next one. Call it after every epoch.

        Afterwards the network is as the next epoch's first step finds it, ramps a step further than what was measured.

        Args:
            validation: pairs (inputs, targets) of held-out data, the same every time. The model is called with the
                inputs: a tensor, several in a tuple, or several by name in a mapping. Without it nothing is measured
                per sample, and no seed leaves TRAINING.
            loss: ``loss(outputs, targets)``, the one that the model is trained with.
            train_loss: mean training loss of the epoch, in nats.
            train_accuracy: training accuracy of the epoch, 0 to 1. Policies ask by it, or by the loss, who underfits.
            metric: how right each sample is, (B,), 0 to 1; by default whether the largest output is the target.

        Raises:
            EsperError: E402 before the sites are confirmed, and after `finish` or `close`; E302 for data that cannot
                be measured on; E406 where the optimizer took no step.
        """
        train_loss = number("train_loss", train_loss)
        train_accuracy = share("train_accuracy", train_accuracy)
        session = self._open
        if not session.in_epoch:
            self._begin_epoch()
        self._notices.missing(data=validation is None or loss is None)
        self._notices.overflowed(self._hooks.end_epoch())
        session.host.measure(validation, loss, metric, train_loss=train_loss, train_accuracy=train_accuracy)
        report = session.conclude()
        self._notices.concluded(report, session.host)
        assert report.evidence is not None
        if report.epoch < self.epochs:
            self._begin_epoch()
        decided = session.decided()
        return EpochOutcome(
            evidence=report.evidence,
            decision=decided.decision if decided else None,
            verdicts=tuple(result.verdict for result in decided.applied) if decided else (),
            transitions=session.take_transitions(),
        )

    def finish(
        self,
        test: Batches | None = None,
        loss: Loss | None = None,
        *,
        metric: Metric | None = None,
    ) -> FinalReport:
        """Sum the training up: measure a test split if there is one, end the record, and close the sinks.

        The model stays as it is; the handle lets go of it and of the optimizer.

        Args:
            test: pairs (inputs, targets) that nothing else has seen.
            loss, metric: as for `epoch_end`.

        Raises:
            EsperError: E402 before the model has been trained on a batch, and if the training was summed up already.
        """
        session = self._open
        if not session.started:
            raise EsperError("E402", "there is no training to sum up", why="no epoch has begun", fix="close() instead")
        if test is not None and loss is not None:
            session.host.test(test, loss, metric)
        self._release()
        return session.finish()

    def close(self) -> None:
        """End the record as it stands, and let go of model and optimizer. A second call does nothing."""
        if self._closed or self._session is None or not self._session.started:
            self._release()
        else:
            self.finish()

    def __repr__(self) -> str:
        """What was found out about the model, its loss and its metric, for ``print(handle)``."""
        return f"GrowthHandle of {type(self.model).__name__}\n" + (
            "  its sites are not confirmed yet" if self._session is None else described(self._session.host)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def clip_grad_norm_(self, max_norm: float) -> dict[str, Tensor]:
        """Clip gradients, the host's and each seed's by itself, and return the norms before, by origin.

        The host's are clipped bit for bit as ``clip_grad_norm_(model.parameters(), max_norm)`` would without seeds.
        """
        return self._hooks.clip_grad_norm_(max_norm)

    def without_seeds(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """Return those of the model's parameters that are the host's own."""
        if not self.begun:
            return [*parameters]
        slot_set = self.growth.slot_set
        seeds = {id(p) for slot in slot_set.slots for p in slot_set.seed_parameters(slot)}
        return [it for it in parameters if id(it) not in seeds]

    def train_seeds(self) -> None:
        """Put all seeds into training mode, where a framework has done so with the modules that it knew before."""
        if self.begun:
            for slot in self.growth.slot_set.slots.values():
                slot.train()

    def export(self, *, live: Literal["refuse", "remove"] = "refuse") -> nn.Module:
        """Return the network without slots: fossilized seeds are plain modules. See `esper_export.export_network`.

        Raises:
            EsperError: E507 for live seeds that are not to be removed, E190 if esper-export is not installed.
        """
        exporting = optional_part("esper_export", "a network cannot be exported", where="handle.export()")
        return cast(nn.Module, exporting.export_network(self.model, live=live))

    def state_dict(self) -> dict[str, Any]:
        """Return what the handle knows, as plain data, at any time. Save it beside model's and optimizer's states."""
        steps = {"steps": self._hooks.steps, "steps_per_epoch": self._hooks.steps_per_epoch}
        return {"version": VERSION, **steps, **self._known.state(closed=self._closed)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rebuild the topology of a saved state; load the model's and the optimizer's states *afterwards*.

        Where the sites are not confirmed yet, those of the state are taken. Sinks and observers learn that the
        training goes on.

        Raises:
            EsperError: E502 if it is not such a state, is damaged, or does not fit the model, the sites that were asked
                for, the catalogue, or a policy that has a memory. The handle is as it was, then."""
        with all_or_nothing(self):
            refuse_other_states(state, self._plan)
            state = with_numbers(state)
            if self._session is None:
                sites = tuple(structure(Site, dict(site)) for site in state["sites"])
                self.begin(Confirmation(sites=sites, fixed_batch=state["fixed_batch"]))
            go_on(self, state)
        (self._first_batch.stop if self._known.in_epoch or self.epoch >= self.epochs else self._first_batch.wait)()

    def begin(self, confirmed: Confirmation) -> None:
        """Make the slots, once the sites are confirmed."""
        grower = make_grower(self.model, self.optimizer, self._plan, confirmed)
        self._session = GrowSession(UserHost(grower, self.epochs, self._plan.look), self._plan, self._record)
        self._hooks.grower, self._hooks.seeds = grower, SeedGradients(grower.growth)
        self._notices.frozen(self._session.host)

    @property
    def _known(self) -> GrowSession:
        if self._session is None:
            raise EsperError(
                "E402",
                "the sites of the model are not confirmed yet",
                why="no sample was given, and the model has not been trained on a batch since",
                fix="train handle.model on one batch (a root nn.Sequential is replaced), or grow(..., sample=inputs)",
            )
        return self._session

    @property
    def _open(self) -> GrowSession:
        if self._closed:
            why = "finish() or close() was called"
            raise EsperError("E402", "the growth of this model is over", why=why, fix="go on with a new handle")
        return self._known

    def _begin_epoch(self) -> None:
        self._first_batch.stop()
        if self.epoch >= self.epochs:
            self._notices.once(f"the training was to last {self.epochs} epochs: nothing more is decided")
        self._open.begin_epoch()
        self._notices.begun(self._open.host, self._open.decided())
        self._hooks.begin_epoch()

    def _begin_with(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._session is None:
            self.begin(confirm(self.model, self._plan.requests, TracedBatch(args, kwargs)))
        follow_attached(self.optimizer)  # one may have been made since
        self._begin_epoch()

    def _release(self) -> None:
        self._closed = True
        self._first_batch.stop()
        self._hooks.remove()
