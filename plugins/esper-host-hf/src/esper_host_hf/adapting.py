"""Sites for a transformers model that the user has built."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from esper_core.api import SiteRequest
from esper_host_hf.blocks import find_blocks
from esper_host_hf.configuring import text_config
from esper_host_hf.probing import Probe, draw_images, draw_padding, draw_tokens

#: Length of made-up sequences.
_LENGTH = 8


def adapt(model: PreTrainedModel) -> tuple[SiteRequest, ...] | None:
    """Return a site after each block of a model; None if it is unclear how to call it, or it has no list of blocks.

    The model is called on two small batches and left unchanged. For a model with an encoder and a decoder the larger
    list of blocks counts, which is the decoder's.
    """
    try:
        probe = _probe(model)
        return None if probe is None else find_blocks(model, lambda inputs: model(**inputs), probe)
    except Exception:  # the model cannot run on made-up inputs, so the user has to name its sites
        return None


def _probe(model: PreTrainedModel) -> Probe | None:
    if model.main_input_name == "input_ids":
        return _token_probe(model)
    if model.main_input_name == "pixel_values":
        return _image_probe(model)
    return None


def _token_probe(model: PreTrainedModel) -> Probe:
    text, size = text_config(model.config), 2
    tokens, altered, split = draw_tokens(size, _LENGTH, text.vocab_size, getattr(text, "pad_token_id", None))
    tokens, altered = tokens.to(model.device), altered.to(model.device)
    inputs: dict[str, Any] = {"input_ids": tokens}
    # Only the decoder is causal; the encoder sees its whole input.
    prefix = "decoder_" if model.config.is_encoder_decoder else ""
    changed, real = f"{prefix}input_ids", draw_padding(size, _LENGTH)
    inputs[changed] = tokens
    return Probe(
        inputs=inputs,
        altered=inputs | {changed: altered},
        padded=None if real is None else inputs | {f"{prefix}attention_mask": real.to(model.device).long()},
        real=real,
        size=size,
        split=split,
    )


def _image_probe(model: PreTrainedModel) -> Probe:
    config, size = model.config, 2
    side = getattr(config, "image_size", None) or 224
    height, width = side if isinstance(side, list | tuple) else (side, side)
    images: Tensor = draw_images(size, (getattr(config, "num_channels", 3), height, width))
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return Probe(inputs={"pixel_values": images.to(model.device, floating)}, size=size)
