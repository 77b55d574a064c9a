"""How a network grows while Lightning trains it, for the callbacks of both of Lightning's packages."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from esper_adapter_lightning.refusing import refuse, refuse_optimizers
from esper_core.adapting import DeferredWeights, TrainingMeter
from esper_core.api import EsperError, SiteRequest, to_json
from esper_distributed import grow
from esper_growing import EpochOutcome, GrowthHandle, UserCriterion


class Growing:
    """Grows a LightningModule's network while a Trainer of Lightning trains it.

    After each epoch's validation, before checkpoints are saved, the seeds are measured on the validation data and
    judged, and the policy decides. What has grown is saved with the callback's state, and ``fit(ckpt_path=...)``
    rebuilds it. Of several validation loaders the first one counts.

    With ``strategy="ddp"`` the network grows alike in all processes; see `esper_distributed.grow`. Each one measures
    the share of the validation data that its sampler gives it.

    Args:
        sites: names or globs of submodules of the network, or site requests; None: ask the plugins who knows it.
        loss: ``loss(outputs, targets)``, one per sample or a mean: what is trained with.
        network: name of the submodule that is the network, such as ``net``; empty: the LightningModule itself, if
            ``training_step`` calls ``self(inputs)``.
        metric: how right each sample is, (B,), 0 to 1; None: whether the largest output is the target.
        unpack: gives (inputs, targets) of a batch; None: a batch is that pair.
        epochs: length of the training; None: the Trainer's ``max_epochs``.
        growing: everything else that `esper_core.grow` takes: policy, blueprints, gates, settings, seed, sinks, ...

    Attributes:
        handle: slots, reports, export; None before training.
        outcomes: what was seen and done after each epoch of this training.
    """

    def __init__(
        self,
        sites: Iterable[str | SiteRequest] | None = None,
        *,
        loss: Callable[[Any, Tensor], Tensor],
        network: str = "",
        metric: Callable[[Any, Tensor], Tensor] | None = None,
        unpack: Callable[[Any], tuple[Any, Tensor]] | None = None,
        epochs: int | None = None,
        **growing: Any,
    ) -> None:
        super().__init__()
        self.handle: GrowthHandle | None = None
        self.outcomes: list[EpochOutcome] = []
        self._loss = loss
        self._metric = metric
        self._meter = TrainingMeter(UserCriterion(loss=loss, metric=metric))
        self._network = network
        self._unpack = unpack
        self._epochs = epochs
        self._sites = sites
        self._growing = growing
        self._record: str | None = None
        self._weights: DeferredWeights | None = None
        self._hook: RemovableHandle | None = None
        self._output: Any = None
        self._measured = False
        self._clip_norm: float | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Keep the weights of seeds, which Lightning loads before there is an optimizer."""
        if stage != "fit":
            return
        if self.handle is not None:
            raise EsperError(
                "E402",
                "the network has been grown by this callback already",
                where="Trainer.fit",
                fix="make a new module, Trainer and callback, and give fit a checkpoint",
            )
        refuse(trainer, pl_module)
        self._weights = DeferredWeights(self._found(pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Return what goes into a checkpoint."""
        begun = self.handle is not None and self.handle.begun
        return {"record": to_json(self.handle.state_dict())} if self.handle is not None and begun else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was in a checkpoint, until the optimizer has been made."""
        self._record = state_dict.get("record")

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the network growable, and rebuild what had grown: its optimizer's state is loaded next."""
        refuse_optimizers(trainer)
        scheduler = next((config.scheduler for config in trainer.lr_scheduler_configs), None)
        network = self._found(pl_module)
        self.handle = handle = grow(
            network,
            optimizer=trainer.optimizers[0],
            scheduler=scheduler,
            epochs=self._epochs or _epochs(trainer),
            sites=self._sites,
            **self._growing,
        )
        if handle.model is not network:
            pl_module.set_submodule(self._network, handle.model)
        if self._record is not None:
            handle.load_state_dict(json.loads(self._record))
        assert self._weights is not None, "set up for fitting"
        self._weights.give(handle.model)
        self._hook = handle.model.register_forward_hook(_watching(handle.model, self._see))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch: seeds that came during validation are not among what Lightning puts into training mode."""
        self._measured = False
        self._handle.train_seeds()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Clip host and seeds each by itself, in place of Lightning, which would clip them as one."""
        clip = trainer.gradient_clip_val
        if clip and _clips_by_norm(trainer, pl_module):
            self._clip_norm, trainer.gradient_clip_val = clip, None
            self._handle.clip_grad_norm_(float(clip))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take in how right the network was."""
        if self._clip_norm is not None:
            trainer.gradient_clip_val, self._clip_norm = self._clip_norm, None
        if self._output is None:
            raise EsperError(
                "E402",
                "training_step has not called the network that is to grow",
                where=f"{type(pl_module).__name__}.{self._network or 'forward'}",
                why="no forward pass of it was seen",
                fix='name the submodule that is called: EsperCallback(network="net", ...)',
            )
        _, targets = self._pair(batch)
        self._meter.add(self._output, targets)
        self._output = None

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure on the validation data, decide, grow, cull: before Lightning's checkpoint callbacks save."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            # Validation runs in inference mode, in which no parameter can be made that learns.
            with torch.inference_mode(False), torch.enable_grad():
                self._epoch_end(self._validation(trainer))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Count an epoch without validation: nothing is measured in it."""
        if not self._measured:
            self._epoch_end(None)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """End the record, and let go of network and optimizer; what has grown stays."""
        if stage == "fit":
            if self._hook is not None:
                self._hook.remove()
            if self.handle is not None:
                self.handle.close()

    @property
    def _handle(self) -> GrowthHandle:
        assert self.handle is not None, "fitting has begun"
        return self.handle

    def _found(self, pl_module: nn.Module) -> nn.Module:
        try:
            return pl_module.get_submodule(self._network)
        except AttributeError:
            raise EsperError(
                "E402",
                f'{type(pl_module).__name__} has no submodule "{self._network}"',
                where="EsperCallback(network=...)",
                fix=f"one of {', '.join(name for name, _ in pl_module.named_children())}",
            ) from None

    def _see(self, args: Any, output: Any) -> None:
        if self._handle.model.training and torch.is_grad_enabled():
            self._output = output

    def _pair(self, batch: Any) -> tuple[Any, Tensor]:
        pair = batch if self._unpack is None else self._unpack(batch)
        if isinstance(pair, Mapping) or not isinstance(pair, tuple | list) or len(pair) != 2:
            raise EsperError(
                "E302",
                "a batch is not a pair (inputs, targets)",
                why=f"it is a {type(pair).__name__}",
                fix="say how to make one: EsperCallback(unpack=lambda batch: (inputs, targets), ...)",
            )
        inputs, targets = pair
        return inputs, targets

    def _validation(self, trainer: Any) -> Iterator[tuple[Any, Tensor]]:
        loaders = trainer.val_dataloaders
        first = loaders[0] if isinstance(loaders, list | tuple) else loaders
        batches = trainer.num_val_batches[0]
        convert = trainer.precision_plugin.convert_input
        first = map(convert, first)
        return map(self._pair, first if batches == float("inf") else islice(first, int(batches)))

    def _epoch_end(self, validation: Iterator[tuple[Any, Tensor]] | None) -> None:
        self._measured = True
        loss, accuracy = self._meter.read()
        self.outcomes.append(
            self._handle.epoch_end(
                validation, self._loss, train_loss=loss, train_accuracy=accuracy, metric=self._metric
            )
        )


def _watching(network: nn.Module, see: Callable[[Any, Any], None]) -> Any:
    """A hook that is a function: copies of the network share it, and are not looked at."""
    return lambda module, args, output: see(args, output) if module is network else None


def _clips_by_norm(trainer: Any, pl_module: Any) -> bool:
    """Clipping by value is the same for each parameter, and a module may clip as it likes."""
    own = pl_module.configure_gradient_clipping.__func__.__module__.partition(".")[0]
    return trainer.gradient_clip_algorithm in (None, "norm") and own in ("pytorch_lightning", "lightning")


def _epochs(trainer: Any) -> int:
    if not trainer.max_epochs or trainer.max_epochs < 1:
        raise EsperError(
            "E202",
            "it is not known how many epochs the training has",
            why=f"max_epochs is {trainer.max_epochs}",
            fix="Trainer(max_epochs=...), or EsperCallback(epochs=...)",
        )
    return int(trainer.max_epochs)
