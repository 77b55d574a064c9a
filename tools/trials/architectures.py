"""Architectures of transformers, in small configurations that need no download."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from trials.growing import Batches, grown
from trials.trial import Trial

_SAMPLES, _BATCH, _LENGTH, _VOCABULARY = 16, 4, 8, 32
_DECODER = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "head_dim": 8,
}
_ENCODER = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_stride": (4, 2),
    "conv_kernel": (8, 4),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "mask_time_prob": 0.0,
}


@frozen(kw_only=True)
class Architecture:
    """A model of transformers.

    Attributes:
        name: as its authors write it.
        kind: its model type.
        settings: what makes it small.
        auto: name of the class that builds it: ``AutoModelFor...``.
        sites: where it may grow; None: a plugin finds that out.
        blueprint: what is to grow there.
        refused: code of the error with which it is refused.
        wrapped: it is held in a module of somebody's own.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    auto: str = "AutoModelForCausalLM"
    sites: tuple[str, ...] | None = None
    blueprint: str = "mlp"
    refused: str = ""
    wrapped: bool = False


_CLASSES, _IMAGES = "AutoModelForSequenceClassification", "AutoModelForImageClassification"
_PATCHES = {"image_size": 16, "patch_size": 4, "num_channels": 3}

ARCHITECTURES = (
    Architecture(
        name="GPT-2",
        kind="gpt2",
        settings={"n_layer": 2, "n_embd": 16, "n_head": 2, "resid_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    Architecture(name="Llama", kind="llama", settings=_DECODER),
    Architecture(name="Mistral", kind="mistral", settings=_DECODER),
    Architecture(name="Gemma 2", kind="gemma2", settings=_DECODER),
    Architecture(name="Qwen 2", kind="qwen2", settings=_DECODER),
    Architecture(
        name="Mixtral", kind="mixtral", settings={**_DECODER, "num_local_experts": 2, "num_experts_per_tok": 1}
    ),
    Architecture(name="Mamba", kind="mamba", settings={"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}),
    Architecture(
        name="RWKV",
        kind="rwkv",
        settings={"hidden_size": 16, "attention_hidden_size": 16, "num_hidden_layers": 2, "context_length": 16},
    ),
    Architecture(name="Falcon", kind="falcon", settings=_ENCODER),
    Architecture(
        name="OPT",
        kind="opt",
        settings={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "word_embed_proj_dim": 16,
        },
    ),
    Architecture(name="BLOOM", kind="bloom", settings={"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    Architecture(name="BERT", kind="bert", auto=_CLASSES, settings=_ENCODER),
    Architecture(
        name="DistilBERT",
        kind="distilbert",
        auto=_CLASSES,
        settings={"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    ),
    Architecture(name="DeBERTa v2", kind="deberta-v2", auto=_CLASSES, settings=_ENCODER),
    Architecture(
        name="T5",
        kind="t5",
        auto="AutoModelForSeq2SeqLM",
        settings={"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    ),
    Architecture(
        name="BART",
        kind="bart",
        auto="AutoModelForSeq2SeqLM",
        settings={
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
        },
    ),
    Architecture(name="ViT", kind="vit", auto=_IMAGES, settings={**_ENCODER, **_PATCHES}),
    Architecture(
        name="Swin",
        kind="swin",
        auto=_IMAGES,
        settings={**_PATCHES, "embed_dim": 16, "depths": [2], "num_heads": [2], "window_size": 2},
    ),
    Architecture(
        name="ConvNeXt",
        kind="convnext",
        auto=_IMAGES,
        settings={"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 16},
        sites=("convnext.encoder.stages.*",),
        blueprint="conv-light",
    ),
    Architecture(
        name="ResNet",
        kind="resnet",
        auto=_IMAGES,
        settings={"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8, "layer_type": "basic"},
        sites=("resnet.encoder.stages.*",),
        blueprint="conv-light",
    ),
    Architecture(
        name="Wav2Vec2",
        kind="wav2vec2",
        auto="AutoModelForAudioClassification",
        settings=_SPEECH,
        sites=("wav2vec2.encoder.layers.*.feed_forward",),
    ),
    Architecture(
        name="Whisper",
        kind="whisper",
        auto="AutoModelForSpeechSeq2Seq",
        settings={
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "num_mel_bins": 8,
            "max_source_positions": 8,
            "max_target_positions": 8,
        },
        sites=("model.decoder.layers.*.fc2",),
    ),
    Architecture(
        name="ALBERT", kind="albert", auto=_CLASSES, settings={**_ENCODER, "embedding_size": 8}, refused="E401"
    ),
    Architecture(
        name="Funnel",
        kind="funnel",
        auto=_CLASSES,
        settings={"block_sizes": [1, 1], "num_decoder_layers": 1, "d_model": 16, "n_head": 2, "d_head": 8},
        refused="E401",
    ),
    Architecture(
        name="XLNet",
        kind="xlnet",
        auto=_CLASSES,
        settings={"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
        refused="E401",
    ),
    Architecture(
        name="Segformer",
        kind="segformer",
        auto=_IMAGES,
        settings={
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [1, 1],
            "hidden_sizes": [8, 16],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "num_attention_heads": [1, 1],
            "mlp_ratios": [2, 2],
            "image_size": 16,
        },
        refused="E401",
    ),
    Architecture(
        name="CLIP's vision tower in a module of one's own",
        kind="clip_vision_model",
        auto="AutoModel",
        settings={**_ENCODER, **_PATCHES},
        refused="E401",
        wrapped=True,
    ),
)


class Tower(nn.Module):
    """A model of transformers inside of a module of somebody's own, with a head."""

    def __init__(self, tower: nn.Module, features: int = 16) -> None:
        super().__init__()
        self.tower, self.head = tower, nn.Linear(features, 4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Images -> logits, (B, 4)."""
        logits: Tensor = self.head(self.tower(pixel_values=pixel_values).pooler_output)
        return logits


def trials() -> list[Trial]:
    """One trial for each architecture."""
    how: Callable[[Architecture], str] = lambda it: (  # noqa: E731
        "" if it.refused else ", sites found by themselves" if it.sites is None else f", sites `{it.sites[0]}`"
    )
    return [
        Trial(
            "Architectures of transformers",
            f"{it.name}{how(it)}",
            partial(_grow, it),
            needs=("transformers",),
            refused=it.refused,
        )
        for it in ARCHITECTURES
    ]


def build(it: Architecture) -> nn.Module:
    """Return the model, with random weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(it.kind, **_vocabulary(it), **it.settings)
    if it.auto != "AutoModel":
        config.num_labels = 4
    config.pad_token_id = getattr(config, "pad_token_id", None)
    model: nn.Module = getattr(transformers, it.auto).from_config(config)
    return Tower(model) if it.wrapped else model


def _vocabulary(it: Architecture) -> dict[str, Any]:
    if it.auto == _IMAGES or it.wrapped or it.kind == "wav2vec2":
        return {}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 1}
    return {"vocab_size": _VOCABULARY, **special}


def data(it: Architecture, model: nn.Module) -> Batches:
    """Return batches of made-up inputs, by name, with classes."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4, (_SAMPLES,), generator=generator)
    tokens = torch.randint(3, _VOCABULARY, (_SAMPLES, _LENGTH), generator=generator)
    inputs = {"input_ids": tokens}
    if it.auto == "AutoModelForSeq2SeqLM":
        inputs["decoder_input_ids"] = tokens
    elif it.auto == _IMAGES or it.wrapped:
        inputs = {"pixel_values": torch.randn(_SAMPLES, 3, 16, 16, generator=generator)}
    elif it.kind == "wav2vec2":
        inputs = {"input_values": torch.randn(_SAMPLES, 128, generator=generator)}
    elif it.kind == "whisper":
        features = torch.randn(_SAMPLES, 8, 16, generator=generator)
        inputs = {"input_features": features, "decoder_input_ids": tokens}
    parts = [{name: value[at : at + _BATCH] for name, value in inputs.items()} for at in range(0, _SAMPLES, _BATCH)]
    return [*zip(parts, targets.split(_BATCH), strict=True)]


def _grow(it: Architecture) -> str:
    model = build(it)
    return grown(model, data(it, model), sites=it.sites and [*it.sites], blueprint=it.blueprint)
