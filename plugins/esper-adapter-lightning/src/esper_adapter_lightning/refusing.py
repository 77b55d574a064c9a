"""What a growing network cannot be trained with in Lightning: refused before training, by name."""

from collections.abc import Iterator
from typing import Any

from esper_core.api import EsperError


def refuse(trainer: Any, module: Any) -> None:
    """Raise the first reason why a module cannot grow in this Trainer.

    Raises:
        EsperError: E402.
    """
    for what, why, fix in _problems(trainer, module):
        raise EsperError("E402", f"the module cannot grow with {what}", where="Trainer", why=why, fix=fix)


def refuse_optimizers(trainer: Any) -> None:
    """Raise, once they are made, if there are several optimizers or schedulers.

    Raises:
        EsperError: E402.
    """
    if len(trainer.optimizers) != 1:
        why = f"configure_optimizers gives {len(trainer.optimizers)}, and a seed belongs to one"
        raise EsperError("E402", "the module cannot grow with other than one optimizer", why=why, fix="give one")
    if len(trainer.lr_scheduler_configs) > 1:
        why = f"configure_optimizers gives {len(trainer.lr_scheduler_configs)}"
        fix = "join them in a SequentialLR or a ChainedScheduler"
        raise EsperError("E402", "the module cannot grow with several schedulers", why=why, fix=fix)


def _problems(trainer: Any, module: Any) -> Iterator[tuple[str, str, str]]:
    strategy = type(trainer.strategy).__name__
    if strategy not in ("SingleDeviceStrategy", "DDPStrategy"):
        why = "it shards parameters, or runs the network in a way in which seeds have no place"
        yield f"the strategy {strategy}", why, 'Trainer(strategy="ddp"), or Trainer(devices=1)'
    if not module.automatic_optimization:
        why = "a step may be any part of what is trained"
        yield "manual optimization", why, "use `esper_core.grow` in training_step yourself"
    if trainer.check_val_every_n_epoch != 1 or trainer.val_check_interval != 1.0:
        why = "seeds are judged once per epoch, at its end"
        yield "this validation", why, "Trainer(check_val_every_n_epoch=1, val_check_interval=1.0), the defaults"
