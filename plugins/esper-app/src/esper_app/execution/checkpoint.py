"""Checkpoints: everything a run is between two epochs, in one file, written whole or not at all.

A file is a safetensors file: tensors, and a header with plain data. Nothing in it is code. The header carries a digest
of the tensors, since the format has none, and each tensor's memory format, which it would lose.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.reports import HostState
from esper_runs.run_directory import write_atomically

#: Version of the format; a file of a higher version is refused.
FORMAT = 1

FOLDER = "checkpoints"
_SUFFIX = ".safetensors"


@frozen(kw_only=True)
class Checkpoint:
    """A run before one of its epochs.

    Attributes:
        epoch: the next epoch.
        hosts: the state of every host, by name.
        loop: what the loop knows, as plain data.
        sequence: number of the next event.
        healthy: no governor had anything to object.
    """

    epoch: int
    hosts: Mapping[str, HostState]
    loop: Mapping[str, Any]
    sequence: int
    healthy: bool


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint and prune the folder: the newest `keep` stay, and the newest healthy one always does.

    Raises:
        OSError: if it cannot be written; the earlier ones are still there then.
    """
    tensors = {f"{host}//{name}": t for host, state in checkpoint.hosts.items() for name, t in state.tensors.items()}
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "sequence": checkpoint.sequence,
        "healthy": checkpoint.healthy,
        "loop": checkpoint.loop,
        "hosts": {host: {"version": state.version, "record": state.record} for host, state in checkpoint.hosts.items()},
        "channels_last": sorted(name for name, tensor in tensors.items() if _is_channels_last(tensor)),
        "digest": _digest(contiguous),
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"epoch-{checkpoint.epoch:06d}{_SUFFIX}"
    write_atomically(path, save(contiguous, metadata={"esper": json.dumps(header)}))
    _prune(folder, keep)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        EsperError: E509 if it is damaged, E510 if its format is newer than this one.
    """
    header = _header(path)
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if _digest(tensors) != header["digest"]:
        raise _damaged(path, "its tensors do not have the digest that was written with them")
    for name in header["channels_last"]:
        tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    hosts = {
        host: HostState(
            tensors={n.removeprefix(f"{host}//"): t for n, t in tensors.items() if n.startswith(f"{host}//")},
            record=saved["record"],
            version=saved["version"],
        )
        for host, saved in header["hosts"].items()
    }
    return Checkpoint(
        epoch=header["epoch"],
        hosts=hosts,
        loop=header["loop"],
        sequence=header["sequence"],
        healthy=header["healthy"],
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, None if there is none."""
    return max(folder.glob(f"epoch-*{_SUFFIX}"), default=None)


def _header(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()["esper"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if header.get("format", 0) > FORMAT:
        raise EsperError(
            "E510",
            f'"{path.name}" was written by a newer Esper',
            where=str(path),
            why=f"its format is {header['format']}, this Esper reads up to {FORMAT}",
            fix="pip install -U esper-core",
        )
    return header


def _prune(folder: Path, keep: int) -> None:
    newest_first = sorted(folder.glob(f"epoch-*{_SUFFIX}"), reverse=True)
    kept = set(newest_first[:keep])
    if not any(_header(path)["healthy"] for path in newest_first[:keep]):
        kept |= set(_first_healthy(newest_first[keep:]))
    for path in newest_first:
        if path not in kept:
            path.unlink()


def _first_healthy(paths: Iterable[Path]) -> list[Path]:
    return next(([path] for path in paths if _header(path)["healthy"]), [])


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _is_channels_last(tensor: Tensor) -> bool:
    return (
        tensor.ndim == 4
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and not tensor.is_contiguous(memory_format=torch.contiguous_format)
    )


def _damaged(path: Path, why: str) -> EsperError:
    return EsperError(
        "E509",
        f'checkpoint "{path.name}" is damaged',
        where=str(path),
        why=why,
        fix="remove it to go on from the one before it",
    )
