"""Adapters as files, in PEFT's format: ``adapter_config.json`` and ``adapter_model.safetensors``."""

import json
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from attrs import frozen
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from esper_core.api import EsperError

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

#: How PEFT calls what it wraps.
_PREFIX = "base_model.model."

#: What a configuration may say beside ranks, scale, dropout and targets, each with the only values that are understood.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "lora_bias": (False, None),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "alora_invocation_tokens": (None,),
    # Others begin with another weight of the layer itself, which the file does not hold.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}


@frozen(kw_only=True)
class AdapterFile:
    """An adapter as files hold it.

    Attributes:
        layers: down, up (as `LowRank` has them) and scale, by path.
        dropout: of the inputs.
    """

    layers: Mapping[str, tuple[Tensor, Tensor, float]]
    dropout: float


def write_adapter(folder: Path, adapter: AdapterFile) -> None:
    """Write an adapter. Raises EsperError E501 if the folder cannot be written."""
    tensors: dict[str, Tensor] = {}
    for path, (down, up, _) in adapter.layers.items():
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = down.cpu().contiguous()
        whole = up[..., None, None] if down.ndim == 4 else up
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = whole.cpu().contiguous()
    ranks = {path: len(down) for path, (down, _, _) in adapter.layers.items()}
    alphas = {path: scale * ranks[path] for path, (_, _, scale) in adapter.layers.items()}
    config = {
        "peft_type": "LORA",
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "rank_pattern": {f"^{re.escape(path)}": rank for path, rank in ranks.items()},
        "alpha_pattern": {f"^{re.escape(path)}": alpha for path, alpha in alphas.items()},
        "target_modules": sorted(ranks),
        "lora_dropout": adapter.dropout,
        "bias": "none",
        "inference_mode": True,
    }
    files = {TENSORS: save(tensors, metadata={"format": "pt"}), CONFIG: f"{json.dumps(config, indent=2)}\n".encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.new").write_bytes(content)
        # Who is killed in between leaves an adapter without a configuration, not one with that of another.
        (folder / CONFIG).unlink(missing_ok=True)
        for name in files:
            (folder / f"{name}.new").replace(folder / name)
    except OSError as error:
        why = error.strerror or str(error)
        raise EsperError("E501", f'"{folder}" cannot be written', why=why, fix="choose another place") from error


def read_adapter(folder: Path) -> AdapterFile:
    """Read an adapter that `write_adapter` or PEFT has written.

    Raises:
        EsperError: E648 if the files are missing or damaged, or say something that is not understood.
    """
    config, tensors = _read(folder)
    for key, values in _ONLY.items():
        if key in config and config[key] not in values:
            raise _unreadable(folder, f"it says {key} = {config[key]!r}, which is not understood")
    rows: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path, dot, part = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if part not in ("lora_A", "lora_B") or not dot or not name.endswith(".weight"):
            raise _unreadable(folder, f"it has a tensor {name}, which is not understood")
        rows.setdefault(path, {})[part] = tensor
    layers = {}
    for path, row in rows.items():
        if len(row) < 2 or row["lora_A"].shape[:1] != row["lora_B"].shape[1:2]:
            raise _unreadable(folder, f"the factors of {path} do not belong together")
        layers[path] = row["lora_A"], row["lora_B"].flatten(1), _scale(folder, config, path, len(row["lora_A"]))
    if not layers:
        raise _unreadable(folder, "it has no tensors")
    dropout = config.get("lora_dropout") or 0.0
    if not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise _unreadable(folder, f"lora_dropout is {dropout!r}")
    return AdapterFile(layers=layers, dropout=float(dropout))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(folder, f"{type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise _unreadable(folder, f"{CONFIG} holds no object")
    return config, tensors


def _scale(folder: Path, config: Mapping[str, Any], path: str, rank: int) -> float:
    try:
        alpha = _of_path(config.get("alpha_pattern") or {}, path, config.get("lora_alpha"))
    except (AttributeError, TypeError, re.error) as error:
        raise _unreadable(folder, f"its alpha_pattern is not understood: {error}") from error
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not isfinite(alpha):
        raise _unreadable(folder, f"lora_alpha is {alpha!r}")
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def _of_path(pattern: Mapping[str, Any], path: str, otherwise: Any) -> Any:
    """Return what a pattern says of a path. PEFT reads its keys as expressions for whole paths, or their ends."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", path):
            return value
    return otherwise


def _unreadable(folder: Path, why: str) -> EsperError:
    return EsperError(
        "E648",
        f'"{folder}" is no adapter that can be read',
        why=why,
        fix="give the folder that save() or PEFT's save_pretrained() has written",
    )
