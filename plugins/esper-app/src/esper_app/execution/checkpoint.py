"""Checkpoints: a run as of now in one safetensors file, whole or absent, with a digest of everything in it."""

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
from esper_core.leyline.learning import PolicyState
from esper_core.leyline.reports import HostState
from esper_core.simic.state import LoopState
from esper_runs.run_directory import write_atomically

#: Version of the format. Files of version 1 are read as well, those of a higher one are refused.
FORMAT = 2

FOLDER = "checkpoints"
_SUFFIX = ".safetensors"
_HOST, _LOOP, _POLICY = "host", "loop", "policy"


@frozen(kw_only=True)
class Checkpoint:
    """A run before one of its epochs. Its size does not depend on how many epochs are over.

    Attributes:
        epoch: the next epoch.
        round: the round that it belongs to, from 0.
        hosts: the state of every host, by name.
        loop: what the loop knows of each cohort, by the name of its first host.
        policies: what the policy of each cohort remembers, if it does, by the same name.
        sequence: number of the next event.
        healthy: no governor had anything to object.
        sinks: what became of every sink's events so far, as plain data.
    """

    epoch: int
    round: int = 0
    hosts: Mapping[str, HostState]
    loop: Mapping[str, LoopState]
    policies: Mapping[str, PolicyState]
    sequence: int
    healthy: bool
    sinks: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint and prune the folder: the newest `keep` stay, and the newest healthy one always does.

    Raises:
        OSError: if it cannot be written; the earlier ones are still there then.
    """
    tensors = dict(_named(checkpoint))
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    header: dict[str, Any] = {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "round": checkpoint.round,
        "sequence": checkpoint.sequence,
        "healthy": checkpoint.healthy,
        "sinks": checkpoint.sinks,
        "loop": {name: state.record for name, state in checkpoint.loop.items()},
        "hosts": _records(checkpoint.hosts),
        "policies": _records(checkpoint.policies),
        "channels_last": sorted(name for name, tensor in tensors.items() if _is_channels_last(tensor)),
    }
    header["digest"] = _digest(header, contiguous)
    folder.mkdir(exist_ok=True)
    of_round = f"round-{checkpoint.round:06d}-" if checkpoint.round else ""
    path = folder / f"{of_round}epoch-{checkpoint.epoch:06d}{_SUFFIX}"
    write_atomically(path, save(contiguous, metadata={"esper": json.dumps(header)}))
    _prune(folder, keep)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        EsperError: E509 if it is damaged, E510 if its format is another one.
    """
    header = _header(path)
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    said = {} if header["format"] == 1 else header  # the digest of version 1 is that of the tensors alone
    if _digest(said, tensors) != header.get("digest"):
        raise _damaged(path, "its content does not have the digest that was written with it")
    if header["format"] == 1:
        header, tensors = _of_version_1(header, tensors)
    for name in header["channels_last"]:
        tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    return Checkpoint(
        epoch=header["epoch"],
        round=header["round"],
        hosts={
            host: HostState(tensors=_part(tensors, _HOST, host), **saved) for host, saved in header["hosts"].items()
        },
        policies={
            name: PolicyState(tensors=_part(tensors, _POLICY, name), **saved)
            for name, saved in header["policies"].items()
        },
        loop={
            name: LoopState(tensors=_part(tensors, _LOOP, name), record=record)
            for name, record in header["loop"].items()
        },
        sequence=header["sequence"],
        healthy=header["healthy"],
        sinks=header["sinks"],
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, None if there is none."""
    return max(_checkpoints(folder), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    """All of a folder; their names are in the order in which they were written."""
    return [*folder.glob(f"epoch-*{_SUFFIX}"), *folder.glob(f"round-*-epoch-*{_SUFFIX}")]


def _named(checkpoint: Checkpoint) -> Iterable[tuple[str, Tensor]]:
    """Every tensor under the name that it has in the file."""
    parts: tuple[tuple[str, Mapping[str, HostState | LoopState | PolicyState]], ...]
    parts = ((_HOST, checkpoint.hosts), (_LOOP, checkpoint.loop), (_POLICY, checkpoint.policies))
    for part, states in parts:
        for owner, state in states.items():
            yield from ((f"{part}//{owner}//{name}", tensor) for name, tensor in state.tensors.items())


def _records(states: Mapping[str, HostState | PolicyState]) -> dict[str, Any]:
    return {owner: {"version": state.version, "record": state.record} for owner, state in states.items()}


def _part(tensors: Mapping[str, Tensor], part: str, owner: str) -> dict[str, Tensor]:
    prefix = f"{part}//{owner}//"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _header(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()["esper"])
            written = header["format"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if written not in range(1, FORMAT + 1):
        raise EsperError(
            "E510",
            f'"{path.name}" was written by a newer Esper',
            where=str(path),
            why=f"its format is {written}, this Esper reads up to {FORMAT}",
            fix="pip install -U esper-app",
        )
    return header


def _of_version_1(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Tensors were hosts' only, policies had theirs in the loop's record, sinks were counted from the last resume."""
    channels_last = [f"{_HOST}//{name}" for name in header["channels_last"]]
    named = {f"{_HOST}//{name}": tensor for name, tensor in tensors.items()}
    return {**header, "channels_last": channels_last, "sinks": {}, "policies": {}, "round": 0}, named


def _prune(folder: Path, keep: int) -> None:
    newest_first = sorted(_checkpoints(folder), reverse=True)
    kept = set(newest_first[:keep])
    if not any(_header(path)["healthy"] for path in newest_first[:keep]):
        kept |= set(_first_healthy(newest_first[keep:]))
    for path in newest_first:
        if path not in kept:
            path.unlink()


def _first_healthy(paths: Iterable[Path]) -> list[Path]:
    return next(([path] for path in paths if _header(path)["healthy"]), [])


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the header, all but the digest itself, and every tensor with its name, type and shape."""
    said = {key: value for key, value in header.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode() if said else b"")
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
