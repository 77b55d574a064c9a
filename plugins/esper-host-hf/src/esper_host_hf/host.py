"""The host: wraps a transformers model so that it takes a task's inputs and returns logits."""

from collections.abc import Iterable, Iterator

import torch
from attrs import evolve
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from transformers import PreTrainedModel

from esper_core.api import DataShape, EsperError, HostBuild, SiteRequest
from esper_core.specs import Capability
from esper_host_hf.blocks import find_blocks, named_blocks
from esper_host_hf.config import HfConfig
from esper_host_hf.configuring import configure, describe, text_config
from esper_host_hf.heads import Head
from esper_host_hf.loading import make_model
from esper_host_hf.probing import (
    Call,
    Probe,
    draw_images,
    draw_padding,
    draw_tokens,
    draws_random_numbers,
    probe_size,
)
from esper_host_hf.tied import save_tied_weights_once


class HfHost(nn.Module):
    """The host: images (B, C, H, W) or tokens (B, T) -> logits (B, classes), or (B, T, vocabulary).

    Args:
        model: a transformers model; it is the submodule `model`.
        head: the kind of its output. A model that classifies tokens gets a padding mask. For a model that predicts the
            next token every token counts; padding after a sequence has no effect on it.
    """

    def __init__(self, model: PreTrainedModel, head: Head) -> None:
        super().__init__()
        self.model = model
        save_tied_weights_once(self)
        self.head = head
        padding: int | None = getattr(text_config(model.config), "pad_token_id", None)
        self.padding = padding if head is Head.TOKENS_CLASS else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.model(**self._arguments(inputs)).logits
        return logits

    def _arguments(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.head is Head.IMAGE_CLASS:
            return {"pixel_values": inputs}
        if self.padding is None:
            return {"input_ids": inputs}
        return {"input_ids": inputs, "attention_mask": inputs != self.padding}


def build(config: HfConfig, data: DataShape) -> HostBuild:
    """Build the host for this data, with a site ``block0``, ``block1``, … after each block of the model.

    Raises:
        EsperError: E201, E202, E301, E302 if there is no such model, E401 if `blocks` matches nothing, E402 if the
            model does not fit the data or cannot be grown.
    """
    model_config, head = configure(config, data)
    # Running the blocks shows what they return and see; that needs values, which the meta device does not have.
    with torch.device("cpu"):
        host = HfHost(make_model(config, model_config, head), head)
        call, probe = _checked(host, data), _probe(host, data)
        sites = _sites(host, config.blocks, call, probe)
        capabilities = frozenset(_capabilities(host, call, probe))
    host.to(torch.get_default_device())
    host.model.tie_weights()  # a move to the meta device unties them
    return HostBuild(module=host, sites=sites, capabilities=capabilities)


def _sites(host: HfHost, blocks: str | None, call: Call, probe: Probe) -> tuple[SiteRequest, ...]:
    """Return the sites, with the paths of the submodules in the host; ids come from the paths in the model."""
    found = find_blocks(host.model, call, probe) if blocks is None else named_blocks(host.model, blocks, call, probe)
    if host.head is Head.NEXT_TOKEN:
        _check_causal(found)
    return tuple(evolve(site, path=f"model.{site.path}", id=site.id or site.path.replace(".", "_")) for site in found)


def _probe(host: HfHost, data: DataShape) -> Probe:
    size = probe_size(data.input_shape[0])
    if host.head is Head.IMAGE_CLASS:
        return Probe(inputs=draw_images(size, data.input_shape), size=size)
    vocabulary = text_config(host.model.config).vocab_size
    inputs, altered, split = draw_tokens(size, data.input_shape[0], vocabulary, host.padding)
    real = None if host.padding is None else draw_padding(size, data.input_shape[0])
    padded = None if real is None else torch.where(real, inputs, host.padding)
    return Probe(inputs=inputs, altered=altered, padded=padded, real=real, size=size, split=split)


def _checked(host: HfHost, data: DataShape) -> Call:
    """Return a function that calls the host, and raises E402 if it cannot run on the data or returns a wrong shape."""

    def call(inputs: Tensor) -> Tensor:
        try:
            logits: Tensor = host(inputs)
        except Exception as error:  # hundreds of models raise different errors on inputs that they do not support
            raise _unfit(host, data, describe(error)) from error
        positions = data.input_shape if host.head is Head.NEXT_TOKEN else ()
        if logits.shape != (len(inputs), *positions, data.outputs):
            raise _unfit(host, data, f"its logits have the shape {tuple(logits.shape)}")
        return logits

    return call


def _unfit(host: HfHost, data: DataShape, why: str) -> EsperError:
    positions = getattr(text_config(host.model.config), "max_position_embeddings", None) or 0
    short = host.head is not Head.IMAGE_CLASS and 0 < positions < data.input_shape[0]
    return EsperError(
        "E402",
        f"{type(host.model).__name__} cannot run on {data.kind} of shape {data.input_shape}",
        where="host hf",
        why=f"it has positions for {positions} tokens" if short else why,
        fix=f"set host.settings.max_position_embeddings to {data.input_shape[0]} or more, or use shorter sequences"
        if short
        else "correct host.settings, or choose another model",
    )


def _check_causal(sites: Iterable[SiteRequest]) -> None:
    for site in sites:
        if not site.causal:
            raise EsperError(
                "E402",
                "a model that predicts the next token must not see it",
                where=site.path,
                why="changing the tokens in the second half of a sequence changes its output in the first half",
                fix="choose a decoder, such as host.architecture=gpt2, or other host.blocks",
            )


def _capabilities(host: HfHost, call: Call, probe: Probe) -> Iterator[Capability]:
    if draws_random_numbers(host, call, probe):
        yield Capability.RANDOM
    if any(isinstance(part, _NormBase) and part.track_running_stats for part in host.modules()):
        yield Capability.BATCH_STATISTICS
