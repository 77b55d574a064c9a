"""Options of the host `hf`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import Attribute, converters, field, frozen, validators


class Attention(StrEnum):
    """Which implementation of attention a model uses."""

    SDPA = "sdpa"
    EAGER = "eager"


@frozen(kw_only=True)
class HfConfig:
    """Options of the host `hf`. Either `path` or `architecture` selects the model.

    With neither it is a GPT-2 with two layers, four heads and 64 features.

    Attributes:
        path: a local directory with a ``config.json``, and with weights if `pretrained`.
        architecture: a model type of transformers: ``gpt2``, ``llama``, ``vit``, ``bert``, …
        settings: values in the model's config that replace those of `path`, or the defaults of `architecture`.
        pretrained: load the weights in `path`; otherwise all weights are random.
        blocks: where slots may act: a glob pattern for names of submodules of the model. ``*`` does not match dots,
            and the name of a list stands for its members. None: the model's list of blocks.
        attention: ``sdpa`` (torch's fused attention) or ``eager``. None: the first one that the model supports.
    """

    path: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    architecture: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    settings: Mapping[str, Any] = field(factory=dict)
    pretrained: bool = field(default=False, validator=validators.instance_of(bool))
    blocks: str | None = field(default=None, validator=validators.optional(validators.min_len(1)))
    attention: Attention | None = field(default=None, converter=converters.optional(Attention))

    @architecture.validator
    def _is_the_only_source(self, _: "Attribute[str | None]", value: str | None) -> None:
        if value is not None and self.path is not None:
            raise ValueError("'architecture' and 'path' both select a model; give only one of them")

    @pretrained.validator
    def _has_weights(self, _: "Attribute[bool]", value: bool) -> None:
        if value and self.path is None:
            raise ValueError("'pretrained' is true, but there is no 'path' to load weights from")
