"""Which kind of output a model needs for a task."""

from enum import Enum

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)

from esper_core.api import DataShape, EsperError, TaskKind


class Head(Enum):
    """The kind of a model's output; the value is the transformers class that builds such a model."""

    NEXT_TOKEN = AutoModelForCausalLM
    TOKENS_CLASS = AutoModelForSequenceClassification
    IMAGE_CLASS = AutoModelForImageClassification


_MODELS = {
    Head.NEXT_TOKEN: MODEL_FOR_CAUSAL_LM_MAPPING,
    Head.TOKENS_CLASS: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    Head.IMAGE_CLASS: MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
}


def choose_head(config: PretrainedConfig, data: DataShape) -> Head:
    """Return the head for this data.

    A model for tokens predicts the next token or a class. If the config names a class in `architectures`, that class
    decides; otherwise a bidirectional model such as BERT classifies, and any other predicts the next token.

    Raises:
        EsperError: E402 if the model has no head for this data.
    """
    fitting = [head for head in _candidates(config, data) if type(config) in _MODELS[head]]
    if not fitting:
        raise EsperError(
            "E402",
            f"a {config.model_type} model cannot take {data.kind} of shape {data.input_shape}",
            where="host hf",
            why="it takes images (channels, height, width) or tokens (length,) if transformers has a head for them",
            fix="choose another host.architecture or host.path, or another task",
        )
    named = set(config.architectures or ())
    return next((head for head in fitting if named & _class_names(config, head)), fitting[0])


def _candidates(config: PretrainedConfig, data: DataShape) -> tuple[Head, ...]:
    """Return the heads that are possible for this data, the likeliest first."""
    if data.kind is TaskKind.IMAGES and len(data.input_shape) == 3:
        return (Head.IMAGE_CLASS,)
    if data.kind is not TaskKind.TOKENS or len(data.input_shape) != 1:
        return ()
    bidirectional = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    return (Head.TOKENS_CLASS, Head.NEXT_TOKEN) if bidirectional else (Head.NEXT_TOKEN, Head.TOKENS_CLASS)


def _class_names(config: PretrainedConfig, head: Head) -> set[str]:
    models = _MODELS[head][type(config)]
    return {model.__name__ for model in (models if isinstance(models, list | tuple) else [models]) if model}
