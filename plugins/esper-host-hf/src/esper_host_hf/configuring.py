"""From options and the shape of the data to a transformers config, using only files on this machine."""

import json
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import evolve
from transformers import CONFIG_MAPPING, PretrainedConfig

from esper_core.api import DataShape, EsperError, did_you_mean
from esper_host_hf.config import HfConfig
from esper_host_hf.heads import Head, choose_head

#: Ids of tokens that have a special meaning to a tokenizer.
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")

#: The model that is built by default.
_DEFAULT_MODEL = "gpt2"
_DEFAULT_SETTINGS = {"n_layer": 2, "n_embd": 64, "n_head": 4}


def configure(options: HfConfig, data: DataShape) -> tuple[PretrainedConfig, Head]:
    """Return the model's config, adapted to the data, and the kind of output.

    Raises:
        EsperError: E201, E202 if the options do not describe a transformers model, E301, E302 if there is none in
            `path`, E402 if the config cannot fit the data.
    """
    if options.path is None and options.architecture is None:
        settings = _DEFAULT_SETTINGS | dict(options.settings)
        options = evolve(options, architecture=_DEFAULT_MODEL, settings=settings)
    raw = _read(options.path) if options.path is not None else {}
    config = _build(_config_class(options, raw), raw, options.settings)
    head = choose_head(config, data)
    _fit(config, head, options, data)
    return config, head


def directory(path: str) -> Path:
    """Return the directory that the option `path` names."""
    return Path(path).expanduser().absolute()


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the part of a config that describes the text side of a model; for a text model that is all of it."""
    try:
        text: PretrainedConfig = config.get_text_config()
    except ValueError:  # several parts describe some text
        return config
    return text


def _read(path: str) -> dict[str, Any]:
    """Read the config in a directory, without the dtype of the stored weights: networks train in float32."""
    file = directory(path) / "config.json"
    if not file.is_file():
        raise EsperError(
            "E301",
            f'there is no model in "{path}"',
            where="host.path",
            why=f"{file} does not exist",
            fix="give a directory that `save_pretrained` has written, or host.architecture; nothing is downloaded",
        )
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return {key: value for key, value in raw.items() if key not in ("dtype", "torch_dtype")}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise EsperError(
            "E302", f"{file} is not a transformers config", where="host.path", why=describe(error)
        ) from error


def _config_class(options: HfConfig, raw: Mapping[str, Any]) -> type[PretrainedConfig]:
    name = str(options.architecture if options.path is None else raw.get("model_type"))
    if name in CONFIG_MAPPING:
        config_class: type[PretrainedConfig] = CONFIG_MAPPING[name]
        return config_class
    near = get_close_matches(name, [*CONFIG_MAPPING.keys()], n=1)
    raise EsperError(
        "E202" if options.path is None else "E302",
        f"transformers has no model type {name!r}",
        where="host.architecture" if options.path is None else f"model_type in {options.path}/config.json",
        why="only models in the transformers library are built; code next to the weights is not run",
        fix=f'did you mean "{near[0]}"?' if near else "a model type is a word such as gpt2, llama, vit or bert",
    )


def _build(
    config_class: type[PretrainedConfig], raw: Mapping[str, Any], settings: Mapping[str, Any]
) -> PretrainedConfig:
    """Build a config from the values that were read and the settings that replace them; derived sizes are updated."""
    _check_names(config_class, settings)
    names = config_class.attribute_map
    replaced = {names.get(key, key): value for key, value in settings.items()}
    try:
        return config_class.from_dict({"dtype": "float32"} | dict(raw) | replaced)
    except Exception as error:  # the configs of hundreds of models validate themselves, each in its own way
        raise EsperError(
            "E202",
            f"these settings are not valid for a {config_class.model_type} model",
            where="host.settings",
            why=describe(error),
            fix="correct host.settings",
        ) from error


def _check_names(config_class: type[PretrainedConfig], settings: Mapping[str, Any]) -> None:
    """Refuse keys that the config does not know: transformers would store them and not use them."""
    default = config_class()
    known = {*default.to_dict(), *default.attribute_map}
    for key in settings:
        if key not in known:
            raise EsperError(
                "E201",
                f'unknown key "host.settings.{key}"',
                where=f"the config of a {config_class.model_type} model",
                fix=did_you_mean(key, known),
            )


def _fit(config: PretrainedConfig, head: Head, options: HfConfig, data: DataShape) -> None:
    """Set the sizes in the config that the data determine."""
    if head is Head.NEXT_TOKEN:
        text = text_config(config)
        _take(text, "vocab_size", data.outputs, options)
        _drop_special_tokens(text, options)
        return
    _take(config, "num_labels", data.outputs, options, set_by="id2label")
    if head is Head.IMAGE_CLASS:
        _fit_images(config, data.input_shape, options)


def _take(config: PretrainedConfig, key: str, value: Any, options: HfConfig, set_by: str | None = None) -> None:
    """Set a value that the data determine; the settings (`key` itself, or `set_by`) must not contradict it."""
    present = getattr(config, key, None)
    present = tuple(present) if isinstance(present, list) else present
    setting = next((name for name in (key, set_by) if name in options.settings), None)
    if setting is not None and present != value:
        raise EsperError(
            "E402",
            f"the host hf does not fit the data: {key} is {present} in its settings and {value} in the data",
            where=f"host.settings.{setting}",
            why="the data determine this value",
            fix="remove the setting",
        )
    setattr(config, key, value)


def _drop_special_tokens(config: PretrainedConfig, options: HfConfig) -> None:
    """Unset special tokens: in a vocabulary other than the model's own, no token is special unless the settings say so.

    The embedding of a padding token is zero and gets no gradient; here it would belong to an ordinary token of the
    data.
    """
    if options.pretrained:
        return
    for name in _SPECIAL_TOKENS:
        if name not in options.settings and hasattr(config, name):
            # A few configs require a value; the settings can provide it.
            with suppress(Exception):
                setattr(config, name, None)


def _fit_images(config: PretrainedConfig, shape: tuple[int, ...], options: HfConfig) -> None:
    channels, height, width = shape
    if hasattr(config, "num_channels"):
        _take(config, "num_channels", channels, options)
    if hasattr(config, "image_size"):
        _check_patches(config, height, width)
        _take(config, "image_size", height if height == width else (height, width), options)


def _check_patches(config: PretrainedConfig, height: int, width: int) -> None:
    patch = getattr(config, "patch_size", None)
    patch_height, patch_width = patch if isinstance(patch, list | tuple) else (patch or 1, patch or 1)
    if height % patch_height or width % patch_width:
        raise EsperError(
            "E402",
            f"images of {height}x{width} pixels cannot be cut into patches of {patch_height}x{patch_width}",
            where="host.settings.patch_size",
            why="the pixels at the border would not be in any patch",
            fix=f"set host.settings.patch_size to a divisor of {height} and {width}, or use images of another size",
        )


def describe(error: Exception) -> str:
    """Return the kind and the message of an error, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
