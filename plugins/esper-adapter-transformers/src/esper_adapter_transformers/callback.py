"""A callback with which the Trainer of transformers grows the model that it trains."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from esper_adapter_transformers.losses import Loss, SampleLoss
from esper_adapter_transformers.refusing import refuse
from esper_core.adapting import DeferredWeights, TrainingMeter
from esper_core.api import EsperError, SiteRequest, to_json
from esper_distributed import grow
from esper_growing import EpochOutcome, GrowthHandle


class EsperCallback(TrainerCallback, ExportableState):
    """Grows the Trainer's model while the Trainer trains it. It adds itself to the Trainer.

    After each epoch's evaluation the seeds are measured on the evaluation data and judged, and the policy decides. What
    has grown is saved in each checkpoint's ``trainer_state.json``, and ``train(resume_from_checkpoint=...)`` rebuilds
    it. With several evaluation data sets the first one counts.

    In several processes, as torchrun or accelerate start them, the model grows alike in all of them; see
    `esper_distributed.grow`. Each one measures the share of the evaluation data that the Trainer gives it, and where
    they do not divide evenly, the Trainer gives some samples to two of them.

    Args:
        trainer: has a model, evaluates once per epoch, and runs on one device in each of its processes.
        sites: names or globs of submodules, or site requests; None: ask the plugins who knows the model
            (``pip install esper-host-hf``).
        loss: ``loss(logits, labels)``, one per sample or a mean; None: the one that belongs to the model's class.
        accuracy: how right each sample is, (B,), 0 to 1; likewise.
        epochs: length of the training; None: the Trainer's.
        growing: everything else that `esper_core.grow` takes: policy, blueprints, gates, settings, seed, sinks, ...

    Attributes:
        handle: slots, reports, export; None before training.
        outcomes: what was seen and done after each epoch of this training.

    Raises:
        EsperError: E402 for a Trainer in which nothing can grow, E202 for a model whose loss is not known.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        sites: Iterable[str | SiteRequest] | None = None,
        loss: Loss | None = None,
        accuracy: Loss | None = None,
        epochs: int | None = None,
        **growing: Any,
    ) -> None:
        refuse(trainer)
        self.handle: GrowthHandle | None = None
        self.outcomes: list[EpochOutcome] = []
        self._trainer = trainer
        self._model: nn.Module = trainer.model
        self._label = _only_label(trainer)
        self._criterion = SampleLoss(self._model, loss, accuracy)
        self._meter = TrainingMeter(self._criterion)
        self._epochs = epochs
        self._sites = sites
        self._growing = growing
        self._evaluation_due = False
        self._max_grad_norm: float | None = None
        self._clip = trainer.accelerator.clip_grad_norm_
        # The Trainer keeps an optimizer that is there, and loads the states of weights and optimizer, in this order,
        # before it tells a callback that training begins.
        self._optimizer = trainer.create_optimizer()
        self._weights = DeferredWeights(self._model)
        self._hooks: list[RemovableHandle] = [
            self._optimizer.register_load_state_dict_pre_hook(self._before_optimizer_state)
        ]
        trainer.add_callback(self)

    def state(self) -> dict[str, Any]:
        """Return what goes into ``trainer_state.json``; as text, since the file sorts what is in a mapping."""
        begun = self.handle is not None and self.handle.begun
        return {"args": {}, "attributes": {"record": to_json(self.handle.state_dict()) if begun else None}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the model growable, unless that was done when a checkpoint was loaded."""
        if self.outcomes:
            raise EsperError(
                "E402",
                "the model has been grown by this Trainer already",
                where="Trainer.train",
                fix="make a new Trainer and a new callback, and resume from a checkpoint",
            )
        if self.handle is None:
            self._begin()
        # A checkpoint from before there was a callback knows nothing of it, and the Trainer would miss it when saving.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self._hooks.append(self._model.register_forward_hook(_watching(self._model, self._see), with_kwargs=True))
        self._trainer.accelerator.clip_grad_norm_ = self._norm_of_host
        if args.load_best_model_at_end:
            before = _watching(self._model, lambda *_: self._before_best_weights(state))
            self._hooks.append(self._model.register_load_state_dict_pre_hook(before))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the Trainer from clipping host and seeds as one."""
        if args.max_grad_norm:
            self._max_grad_norm, args.max_grad_norm = args.max_grad_norm, 0.0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Clip host and seeds, each by itself."""
        if self._max_grad_norm is not None:
            args.max_grad_norm, self._max_grad_norm = self._max_grad_norm, None
            self._handle.clip_grad_norm_(args.max_grad_norm)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait for the evaluation; where it is left out (`eval_delay`), nothing is measured."""
        self._evaluation_due = control.should_evaluate
        if not control.should_evaluate:
            self._epoch_end(None)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure on the evaluation data, decide, grow, cull: before the Trainer saves."""
        if self._evaluation_due:
            self._evaluation_due = False
            self._epoch_end(kwargs["eval_dataloader"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the record, and let go of model and optimizer; what has grown stays."""
        for hook in self._hooks:
            hook.remove()
        self._trainer.accelerator.clip_grad_norm_ = self._clip
        self._handle.close()

    @property
    def _handle(self) -> GrowthHandle:
        assert self.handle is not None, "training has begun"
        return self.handle

    def _begin(self) -> None:
        trainer = self._trainer
        self.handle = grow(
            self._model,
            optimizer=self._optimizer,
            scheduler=trainer.lr_scheduler,
            epochs=self._epochs or _epochs(trainer.state),
            sites=self._sites,
            **self._growing,
        )
        if self._handle.model is not self._model:
            raise EsperError(
                "E402",
                f"a {type(self._model).__name__} cannot be grown in place",
                why="growing replaces a Sequential, and the Trainer would go on with the one that it has",
                fix="hold it in a module of your own",
            )
        self._restore(trainer.state)
        self._weights.give(self._model)

    def _norm_of_host(self, parameters: Iterable[Tensor], *rest: Any, **named: Any) -> Any:
        """The Trainer takes a norm to log in each step, by scaling all gradients by 1: by NaN, if one is not finite."""
        return self._clip(self._handle.without_seeds(parameters), *rest, **named)

    def _restore(self, state: TrainerState) -> None:
        if record := _record(state.stateful_callbacks, type(self).__name__):
            self._handle.load_state_dict(json.loads(record))

    def _before_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """The scheduler has been made by now, without groups of seeds; a state with more groups is a checkpoint's."""
        if self.handle is None and len(state["param_groups"]) > len(optimizer.param_groups):
            self._begin()

    def _before_best_weights(self, state: TrainerState) -> None:
        """Rebuild what had grown when the best weights were saved."""
        if state.best_model_checkpoint is not None:
            best = Path(state.best_model_checkpoint, TRAINER_STATE_NAME)
            self._restore(TrainerState.load_from_json(str(best)))

    def _see(self, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        labels = kwargs.get(self._label)
        if self._model.training and torch.is_grad_enabled() and labels is not None:
            self._meter.add(output, labels)

    def _epoch_end(self, loader: Iterable[Mapping[str, Any]] | None) -> None:
        loss, accuracy = self._meter.read()
        self.outcomes.append(
            self._handle.epoch_end(
                None if loader is None else self._pairs(loader),
                self._criterion.losses,
                train_loss=loss,
                train_accuracy=accuracy,
                metric=self._criterion.correct,
            )
        )

    def _pairs(self, loader: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, Any]]:
        for batch in loader:
            if self._label not in batch:
                raise EsperError(
                    "E302",
                    f'the evaluation data have no "{self._label}"',
                    why=f"a batch has {', '.join(batch)}",
                    fix="name the labels: TrainingArguments(label_names=[...])",
                )
            inputs = {name: value for name, value in batch.items() if name != self._label}
            yield inputs, batch[self._label]


def _watching(model: nn.Module, see: Any) -> Any:
    """A hook that is a function: copies of the model share it, and are not looked at."""
    return lambda module, *rest: see(*rest) if module is model else None


def _record(callbacks: Mapping[str, Any], name: str) -> str | None:
    return callbacks.get(name, {}).get("attributes", {}).get("record")


def _epochs(state: TrainerState) -> int:
    if state.num_train_epochs >= sys.maxsize:
        raise EsperError(
            "E202",
            "it is not known how many epochs the training has",
            why="the training data have no length",
            fix="EsperCallback(trainer, epochs=...)",
        )
    return int(state.num_train_epochs)


def _only_label(trainer: Trainer) -> str:
    names = trainer.label_names
    if len(names) != 1:
        raise EsperError(
            "E402",
            f"{type(trainer.model).__name__} has not one kind of labels",
            where="Trainer.label_names",
            why=f"its labels are {', '.join(names) or 'not known'}",
            fix='a model with one kind of labels: TrainingArguments(label_names=["labels"])',
        )
    return str(names[0])
