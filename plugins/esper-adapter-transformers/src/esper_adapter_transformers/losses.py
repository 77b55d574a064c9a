"""The loss and accuracy of single samples, for the kinds of models whose loss the library itself computes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from esper_core.api import EsperError
from esper_growing import UserCriterion

#: ``loss(logits, labels)``: a mean over the batch, or one loss per sample; an accuracy gives one number per sample.
Loss = Callable[[Tensor, Tensor], Tensor]

#: What is not to be predicted.
IGNORED = -100

_CLASSIFIERS = {
    "ForSequenceClassification",
    "ForImageClassification",
    "ForVideoClassification",
    "ForAudioClassification",
}
_TOKEN_BY_TOKEN = {"ForMaskedLM", "ForTokenClassification"}


class SampleLoss:
    """Loss and accuracy of each sample, from what a model returns and the labels.

    Args:
        model: its class says what is predicted: the next token, masked tokens, a class for each token, or a class,
            several classes or numbers for each sample.
        loss: in place of the one that belongs to the class.
        accuracy: how right each sample is, 0 to 1, likewise.

    Raises:
        EsperError: E202 for a model of another kind if no loss is given.
    """

    def __init__(self, model: torch.nn.Module, loss: Loss | None, accuracy: Loss | None) -> None:
        kind = getattr(model, "loss_type", None)
        own = _own(model, kind)
        if own is None and loss is None:
            raise EsperError(
                "E202",
                f"it is not known how {type(model).__name__} computes the loss of one sample",
                where="EsperCallback(loss=...)",
                why=f"its loss is of the kind {kind}",
                fix="give loss(logits, labels), which returns one loss per sample or a mean",
            )
        self._criterion = None if loss is None else UserCriterion(loss=loss, metric=accuracy)
        self._loss = own[0] if own is not None else None
        self._accuracy = accuracy or (own[1] if own is not None else None)

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the loss of each sample, (B,), in nats."""
        if self._criterion is not None:
            return self._criterion.losses(logits_of(outputs), targets)
        assert self._loss is not None
        return self._loss(logits_of(outputs), targets)

    def countable(self, targets: Tensor) -> Tensor:
        """Return which samples count, (B,) of bool: those of which something is to be predicted."""
        if self._criterion is not None:
            return self._criterion.countable(targets)
        return (targets != IGNORED).reshape(len(targets), -1).any(1)

    def correct(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return how right each sample is, (B,), NaN where there is no right and wrong."""
        if self._accuracy is not None:
            return self._accuracy(logits_of(outputs), targets)
        assert self._criterion is not None
        return self._criterion.correct(logits_of(outputs), targets)


def logits_of(outputs: Any) -> Tensor:
    """Return the logits among what a model has returned.

    Raises:
        EsperError: E402 if there are none.
    """
    if isinstance(outputs, Mapping):
        found = outputs.get("logits")
    else:
        # With labels, the loss stands first.
        parts = outputs if isinstance(outputs, tuple | list) else [outputs]
        found = next((part for part in parts if isinstance(part, Tensor) and part.ndim > 1), None)
    if not isinstance(found, Tensor):
        raise EsperError(
            "E402",
            "the model returns no logits",
            why=f"it returns {', '.join(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__}",
            fix="use a model with a head",
        )
    return found


def _own(model: torch.nn.Module, kind: str | None) -> tuple[Loss, Loss] | None:
    if not isinstance(model, PreTrainedModel):
        return None
    # Some models that predict the next token, GPT-2 among them, have a class whose name does not say it.
    if kind == "ForCausalLM" or (kind is None and type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        return _next_token(_token_losses), _next_token(_token_accuracy)
    if kind in _TOKEN_BY_TOKEN:
        return _token_losses, _token_accuracy
    return _classification(model.config) if kind in _CLASSIFIERS else None


def _next_token(of_tokens: Loss) -> Loss:
    """Position t is asked for the label at t + 1."""
    return lambda logits, labels: of_tokens(logits[:, :-1], labels[:, 1:])


def _token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    losses = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return _mean(losses, labels)


def _token_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return _mean((logits.argmax(-1) == labels).float(), labels)


def _mean(values: Tensor, labels: Tensor) -> Tensor:
    asked = labels != IGNORED
    return (values * asked).sum(1) / asked.sum(1).clamp(min=1)


def _classification(config: Any) -> tuple[Loss, Loss]:
    """As `transformers.loss` decides it, which writes its decision into the config at the first batch."""

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        kind = _problem(config, labels)
        if kind == "regression":
            return mse_loss(logits.float(), labels.float().view_as(logits), reduction="none").mean(1)
        if kind == "single_label_classification":
            return cross_entropy(logits.float(), labels.view(-1), reduction="none")
        return binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none").mean(1)

    def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
        kind = _problem(config, labels)
        if kind == "regression":
            return _unknown(logits, labels)
        if kind == "single_label_classification":
            return (logits.argmax(-1) == labels.view(-1)).float()
        return ((logits > 0) == (labels > 0)).float().mean(1)

    return losses, accuracy


def _problem(config: Any, labels: Tensor) -> str:
    if config.problem_type is not None:
        return str(config.problem_type)
    if config.num_labels == 1:
        return "regression"
    return "single_label_classification" if not labels.is_floating_point() else "multi_label_classification"


def _unknown(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.full((len(labels),), float("nan"), device=labels.device)
