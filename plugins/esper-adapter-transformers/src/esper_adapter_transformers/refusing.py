"""What a growing network cannot be trained with in the Trainer: refused before training, by name."""

from collections.abc import Iterator

from transformers import Trainer
from transformers.trainer_utils import IntervalStrategy

from esper_core.api import EsperError


def refuse(trainer: Trainer) -> None:
    """Raise the first reason why a model cannot grow in this Trainer.

    Raises:
        EsperError: E402.
    """
    for what, why, fix in _problems(trainer):
        raise EsperError("E402", f"the model cannot grow with {what}", where="Trainer", why=why, fix=fix)


def _problems(trainer: Trainer) -> Iterator[tuple[str, str, str]]:
    args = trainer.args
    one_process = "train in one process on one device"
    if args.n_gpu > 1:
        yield "DataParallel", "it copies modules in every forward pass", "make one device visible to the process"
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        yield "DeepSpeed or FSDP", "they shard parameters when training begins; seeds come later", one_process
    if args.eval_strategy != IntervalStrategy.EPOCH:
        why = f"eval_strategy is {args.eval_strategy}, and seeds are judged on validation data once per epoch"
        yield "this evaluation", why, 'TrainingArguments(eval_strategy="epoch", ...)'
    if args.auto_find_batch_size:
        yield "auto_find_batch_size", "it begins again with a network that has grown", "give the batch size"
    if args.restore_callback_states_from_checkpoint:
        why = "it replaces callbacks by new ones, which would know nothing of the model"
        yield "restore_callback_states_from_checkpoint", why, "leave it off; what has grown is restored anyway"
    if trainer.model_init is not None:
        yield "model_init", "each training would begin with another model", "give the model"
    if getattr(getattr(trainer.model, "config", None), "is_encoder_decoder", False):
        why = "without labels, which measuring keeps to itself, it does not run"
        yield "an encoder and a decoder", why, "use `esper_core.grow` in a loop of your own"
    if trainer.compute_loss_func is not None or trainer.label_smoother is not None:
        why = "the Trainer keeps the labels from the model, and nobody sees how right it is in training"
        yield "compute_loss_func or label smoothing", why, "let the model compute its loss, or override compute_loss"
