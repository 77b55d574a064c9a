"""Checkpoints: a run as of now in one safetensors file, whole or absent, with a digest of everything in it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen, validators
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from esper_app.execution.tensor_file import memory, safetensors_parts
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import PolicyState
from esper_core.leyline.reports import HostState
from esper_core.leyline.structure import structure
from esper_core.simic.state import LoopState
from esper_runs.reading import parse_object, read_regular, refuse_links, refuse_other_kinds, why_unreadable
from esper_runs.run_directory import write_atomically

#: Version of the format. Files of version 1 are read as well, those of a higher one are refused.
FORMAT = 2

#: Version of the state of a host.
_STATE_VERSION = HostState(tensors={}, record={}).version

FOLDER = "checkpoints"

#: What to do about a damaged one.
REMOVE = "remove it to go on from the one before it"

#: The largest file that is read, in bytes, and the largest number of an epoch, a round or an event.
_LARGEST, _MOST = 1 << 40, 1 << 62
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
        telemetry: what became of the run's events before any sink, as plain data; empty where it was not written.
    """

    epoch: int
    round: int = 0
    hosts: Mapping[str, HostState]
    loop: Mapping[str, LoopState]
    policies: Mapping[str, PolicyState]
    sequence: int
    healthy: bool
    sinks: Mapping[str, Any]
    telemetry: Mapping[str, Any] = field(factory=dict)


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
        "telemetry": checkpoint.telemetry,
        "loop": {name: state.record for name, state in checkpoint.loop.items()},
        "hosts": _records(checkpoint.hosts),
        "policies": _records(checkpoint.policies),
        "channels_last": sorted(name for name, tensor in tensors.items() if _is_channels_last(tensor)),
    }
    header["digest"] = _digest(header, contiguous)
    folder.mkdir(exist_ok=True)
    of_round = f"round-{checkpoint.round:06d}-" if checkpoint.round else ""
    path = folder / f"{of_round}epoch-{checkpoint.epoch:06d}{_SUFFIX}"
    write_atomically(path, *safetensors_parts(contiguous, {"esper": json.dumps(header)}))
    _prune(folder, keep)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        EsperError: E509 if it is damaged, E510 if its format is another one.
    """
    try:
        data = read_regular(path, inside=path.parent, largest=_LARGEST)
    except OSError as error:
        raise damaged(path, why_unreadable(error)) from error
    header = _header(path, data)
    try:
        tensors = load(data)
    except (SafetensorError, MemoryError) as error:
        raise damaged(path, str(error)) from error
    said = {} if header["format"] == 1 else header  # the digest of version 1 is that of the tensors alone
    if _digest(said, tensors) != header.get("digest"):
        raise damaged(path, "its content does not have the digest that was written with it")
    if header["format"] == 1:
        header, tensors = _of_version_1(header, tensors)
    return _checkpoint(path, header, tensors)


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


@frozen(kw_only=True)
class _State:
    """What the header says of one host or policy."""

    version: int = field(validator=validators.ge(0))
    record: Mapping[str, Any]


@frozen(kw_only=True)
class _Header:
    """What the header of a checkpoint holds; see `Checkpoint`."""

    format: int
    epoch: int = field(validator=[validators.ge(0), validators.lt(_MOST)])
    round: int = field(validator=[validators.ge(0), validators.lt(_MOST)])
    sequence: int = field(validator=[validators.ge(0), validators.lt(_MOST)])
    healthy: bool
    sinks: Mapping[str, Mapping[str, Any]]
    loop: Mapping[str, Mapping[str, Any]]
    hosts: Mapping[str, _State]
    policies: Mapping[str, _State]
    channels_last: tuple[str, ...]
    digest: str
    telemetry: Mapping[str, Any] = field(factory=dict)


def _checkpoint(path: Path, said: Mapping[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    """Check every part of a header before anything is made of it: its digest is right, but may be a stranger's."""
    try:
        header = structure(_Header, dict(said))
        for name in header.channels_last:
            tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    except EsperError as error:
        raise damaged(path, f"{error.what}{f': {error.why}' if error.why else ''}") from error
    except (KeyError, RuntimeError) as error:
        raise damaged(path, f"channels_last names {name}, which is no such tensor") from error
    if any(saved.version != _STATE_VERSION for saved in header.hosts.values()):
        raise damaged(path, "the state of a host in it has another version")
    return Checkpoint(
        epoch=header.epoch,
        round=header.round,
        hosts={
            name: HostState(tensors=_part(tensors, _HOST, name), version=saved.version, record=saved.record)
            for name, saved in header.hosts.items()
        },
        policies={
            name: PolicyState(tensors=_part(tensors, _POLICY, name), version=saved.version, record=saved.record)
            for name, saved in header.policies.items()
        },
        loop={
            name: LoopState(tensors=_part(tensors, _LOOP, name), record=record) for name, record in header.loop.items()
        },
        sequence=header.sequence,
        healthy=header.healthy,
        sinks=header.sinks,
        telemetry=header.telemetry,
    )


def _header(path: Path, data: bytes | None = None) -> dict[str, Any]:
    try:
        begin = _beginning(path) if data is None else data
        length = int.from_bytes(begin[:8], "little")
        text = parse_object(begin[8 : 8 + length])["__metadata__"]["esper"]
        header = parse_object(text)
        written = header["format"]
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path, why_unreadable(error)) from error
    if isinstance(written, int) and written > FORMAT:
        raise EsperError(
            "E510",
            f'"{path.name}" was written by a newer Esper',
            where=str(path),
            why=f"its format is {written}, this Esper reads up to {FORMAT}",
            fix="pip install -U esper-app",
        )
    if written not in range(1, FORMAT + 1) or isinstance(written, bool):
        raise damaged(path, "its format is no number of a format")
    # A number may be spelt in several ways, of which one is written; the digest is that of the numbers.
    if json.dumps(header) != text:
        raise damaged(path, "its header is not as it was written")
    return header


def _beginning(path: Path) -> bytes:
    """Read a file as far as its header goes."""
    refuse_links(path.parent, path)
    refuse_other_kinds(path, path.stat().st_mode)
    with path.open("rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        if length > path.stat().st_size:
            raise ValueError("its header is cut off")
        return begin + file.read(length)


def _of_version_1(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Tensors were hosts' only, policies had theirs in the loop's record, sinks were counted from the last resume."""
    channels_last = [f"{_HOST}//{name}" for name in header["channels_last"]]
    named = {f"{_HOST}//{name}": tensor for name, tensor in tensors.items()}
    return {**header, "channels_last": channels_last, "sinks": {}, "policies": {}, "round": 0}, named


def _prune(folder: Path, keep: int) -> None:
    """Only files are removed; what else bears such a name is none of ours."""
    newest_first = sorted((path for path in _checkpoints(folder) if path.is_file()), reverse=True)
    kept = set(newest_first[:keep])
    if not any(_is_healthy(path) for path in newest_first[:keep]):
        kept |= set(next(([path] for path in newest_first[keep:] if _is_healthy(path)), []))
    for path in newest_first:
        if path not in kept:
            path.unlink()


def _is_healthy(path: Path) -> bool:
    try:
        return _header(path)["healthy"] is True
    except (EsperError, KeyError):
        return False


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the header, all but the digest itself, and every tensor with its name, type and shape."""
    said = {key: value for key, value in header.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode() if said else b"")
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memory(tensor))
    return digest.hexdigest()


def _is_channels_last(tensor: Tensor) -> bool:
    return (
        tensor.ndim == 4
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and not tensor.is_contiguous(memory_format=torch.contiguous_format)
    )


def damaged(path: Path, why: str) -> EsperError:
    """Return the error E509 for a checkpoint whose content is not what a run saves."""
    return EsperError("E509", f'checkpoint "{path.name}" is damaged', where=str(path), why=why, fix=REMOVE)
