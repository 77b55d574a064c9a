"""A model for a config: with random weights, or with those of a local directory."""

from collections.abc import Iterable
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from esper_core.api import EsperError
from esper_host_hf.config import HfConfig
from esper_host_hf.configuring import describe, directory
from esper_host_hf.heads import Head


def make_model(options: HfConfig, config: PretrainedConfig, head: Head) -> PreTrainedModel:
    """Return the model in training mode. Random weights come from torch's global generator.

    Raises:
        EsperError: E301 if there are no weights in `path`, E302 if they cannot be read, E402 if no model can be built
            from the config or the weights do not fit it.
    """
    # Some models are looked up by `architectures`, which fails if it is None.
    config.architectures = config.architectures or []
    attention = {} if options.attention is None else {"attn_implementation": options.attention.value}
    model = _loaded(options, config, head, attention) if options.pretrained else _random(config, head, attention)
    # The cache is only useful for generation, which has its own setting; training would fill it for nothing.
    model.config.use_cache = False
    model.config.return_dict = True
    model.train()
    return model


def _random(config: PretrainedConfig, head: Head, attention: dict[str, str]) -> PreTrainedModel:
    try:
        model: PreTrainedModel = head.value.from_config(config, trust_remote_code=False, **attention)
    except Exception as error:  # the constructors of hundreds of models refuse a config in many ways
        raise _unfit(config, error) from error
    return model


def _loaded(options: HfConfig, config: PretrainedConfig, head: Head, attention: dict[str, str]) -> PreTrainedModel:
    try:
        model, found = head.value.from_pretrained(
            directory(options.path or ""),
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            # Heads of a different size are initialised again; anything else of a different size is refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **attention,
        )
    except OSError as error:
        raise EsperError(
            "E301",
            f'there are no weights in "{options.path}"',
            where="host.pretrained",
            why=describe(error),
            fix="save weights there with `save_pretrained`, or set host.pretrained to false; nothing is downloaded",
        ) from error
    except Exception as error:  # there are several file formats, and each fails in its own way
        raise EsperError(
            "E302",
            f'the weights in "{options.path}" cannot be read',
            where="host.pretrained",
            why=describe(error),
        ) from error
    _check_loaded(options, model, found)
    loaded: PreTrainedModel = model
    return loaded


def _check_loaded(options: HfConfig, model: PreTrainedModel, found: dict[str, Any]) -> None:
    """Refuse a network that is random where it should be pretrained. A head may be new, and so may its pooler."""
    mismatched = [key for key, *_ in found["mismatched_keys"]]
    new = [key for key in (*mismatched, *found["missing_keys"]) if _is_body(key, model)]
    if new:
        raise EsperError(
            "E402",
            f'the weights in "{options.path}" do not fit the model',
            where="host.path, host.settings",
            why=f"{_few(new)} would be random",
            fix="remove settings that change sizes, use data of the size that the model was trained on, "
            "or set host.pretrained to false",
        )


def _is_body(key: str, model: PreTrainedModel) -> bool:
    body = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    return key.startswith(body) and "pooler" not in key.split(".")


def _few(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    return f"{first} and {len(rest)} more" if rest else first


def _unfit(config: PretrainedConfig, error: Exception) -> EsperError:
    return EsperError(
        "E402",
        f"no {config.model_type} model can be built from this config",
        where="host.settings",
        why=describe(error),
        fix="correct host.settings",
    )
