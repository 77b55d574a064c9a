"""What a stranger can do to the files of a run: each mutation follows from a number, so that it can be repeated."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load, save

from esper_app.execution.checkpoint import _digest

#: Values that nobody expects: deep, huge, invisible, commanding, leading elsewhere, or of another type.
DEEP = "\0deep\0"
HUGE = "\0huge\0"


@frozen
class Mutation:
    """One change to one file: what it is, for people."""

    name: str
    what: str


def odd_values(chance: random.Random, outside: Path) -> Any:
    """Return one odd value."""
    return chance.choice(
        [
            DEEP,
            HUGE,
            None,
            True,
            -1,
            0,
            10**18,
            2**63,
            1e308,
            float("nan"),
            float("inf"),
            "",
            "NaN",
            "\0",
            "\x1b[2J\x1b]0;owned\x07",
            "\x9b31m\x85",
            "\u202egnp.exe\u2066",
            "\ud800",
            "a\nerror[E999] b\r\x08",
            "../" * 8 + "etc/passwd",
            str(outside / "notes.txt"),
            str(outside / "evil.py"),
            str(outside / "shared.jsonl"),
            "../evil.py",
            "x" * 100_000,
            [],
            {},
            [[]],
            {"": {"": []}},
            ["\x1b[31m"] * 3,
        ]
    )


def as_json(value: Any, *, depth: int = 100_000, digits: int = 5_000) -> str:
    """Write JSON, and what no JSON library writes in the places of its stand-ins."""
    text = json.dumps(value)
    return text.replace(json.dumps(DEEP), "[" * depth + "]" * depth).replace(json.dumps(HUGE), "9" * digits)


def mutate_value(chance: random.Random, value: Any, outside: Path) -> tuple[Any, str]:
    """Change one place of plain data."""
    places: list[tuple[Any, Any, str]] = []
    waiting: list[tuple[Any, str]] = [(value, "")]
    while waiting:
        item, path = waiting.pop()
        keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            places.append((item, key, f"{path}/{key}"))
            waiting.append((item[key], f"{path}/{key}"))
    if not places or chance.random() < 0.03:
        return odd_values(chance, outside), "all of it"
    holder, key, path = chance.choice(places)
    if chance.random() < 0.2:
        del holder[key]
        return value, f"without {path}"
    holder[key] = odd_values(chance, outside)
    if isinstance(holder, dict) and chance.random() < 0.1:
        holder[str(odd_values(chance, outside)).replace("\0", "")] = holder.pop(key)
    return value, f"{path} = {str(holder.get(key) if isinstance(holder, dict) else holder[key])[:40]!r}"


def mutate_bytes(chance: random.Random, data: bytes) -> tuple[bytes, str]:
    """Flip bits, cut, insert or double."""
    place = chance.randrange(len(data) + 1)
    kind = chance.choice(["flip", "flip", "cut", "insert", "double", "empty", "zeros", "bom"])
    if kind == "flip" and data:
        flipped = bytearray(data)
        for _ in range(chance.choice([1, 1, 3, 50])):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        return bytes(flipped), "flipped bits"
    if kind == "cut":
        return data[:place], f"cut at {place}"
    if kind == "insert":
        more = chance.choice(
            [b"\x1b[2J", b"\0" * 8, b"\xff\xfe", "\u202e".encode(), b"[" * 50_000, b"9" * 9_000, b"\n"]
        )
        return data[:place] + more + data[place:], f"{more[:8]!r} at {place}"
    if kind == "double":
        return data + data, "doubled"
    return {"empty": b"", "zeros": bytes(len(data)), "bom": b"\xef\xbb\xbf" + data}.get(kind, b""), kind


def mutate_json(chance: random.Random, path: Path, outside: Path) -> str:
    """Change one value of a JSON file."""
    value, what = mutate_value(chance, json.loads(path.read_text()), outside)
    path.write_text(as_json(value))
    return what


def mutate_lines(chance: random.Random, path: Path, outside: Path) -> str:
    """Change one value of one line of a file of JSON lines."""
    lines = path.read_text().splitlines()
    number = chance.randrange(len(lines))
    value, what = mutate_value(chance, json.loads(lines[number]), outside)
    lines[number] = as_json(value)
    path.write_text("\n".join(lines) + "\n")
    return f"line {number}: {what}"


def mutate_toml(chance: random.Random, path: Path, outside: Path) -> str:
    """Change the value of one key of a TOML file, or add a key."""
    lines = path.read_text().splitlines()
    number = chance.choice([index for index, line in enumerate(lines) if " = " in line])
    key = lines[number].partition(" = ")[0]
    value = chance.choice(
        [
            "[" * 5_000 + "]" * 5_000,
            "9" * 6_000,
            "-1",
            "1e400",
            "nan",
            '""',
            '"\\u202e\\u001b[2J"',
            '"\\u0000"',
            f'"{outside / "notes.txt"}"',
            f'"{outside / "evil.py"}"',
            f'"{outside}"',
            f'"{outside / "new.jsonl"}/x"',
            "[]",
            "{}",
            "1979-05-27",
            "true",
            "'''a\nb'''",
            "\x1b[2J",
        ]
    )
    lines[number] = f"{key} = {value}"
    if chance.random() < 0.2:
        lines.append(f'[plugins]\nlocked = "{outside / "evil.py"}"')
    path.write_text("\n".join(lines) + "\n")
    return f"{key} = {value[:40]}"


def mutate_signed(chance: random.Random, path: Path, outside: Path) -> str:
    """Change one value in the header of a checkpoint, and sign it again as its author would."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["esper"])
    tensors = load(data)
    header, what = mutate_value(chance, header, outside)
    if chance.random() < 0.1:
        name = chance.choice(sorted(tensors))
        tensors[name] = torch.zeros(chance.choice([(0,), (3,), (1, 1, 1)]))
        what += f", another {name}"
    if isinstance(header, dict):
        header.pop("digest", None)
        header = json.loads(as_json(header, depth=500, digits=4_000))
        header["digest"] = _digest(header, tensors)
    path.write_bytes(save(tensors, metadata={"esper": json.dumps(header)}))
    return f"signed, {what}"


def _to_link(chance: random.Random, path: Path, outside: Path) -> str:
    target = chance.choice([*(p for p in outside.rglob("*")), Path("/dev/zero"), Path("/dev/null"), path, Path("/")])
    _remove(path)
    path.symlink_to(target)
    return f"a link to {target.name}"


def _to_hard_link(chance: random.Random, path: Path, outside: Path) -> str:
    _remove(path)
    os.link(target := chance.choice([p for p in outside.rglob("*") if p.is_file()]), path)
    return f"a hard link to {target.name}"


def _to_pipe(chance: random.Random, path: Path, outside: Path) -> str:
    _remove(path)
    os.mkfifo(path)
    return "a pipe"


def _to_folder(chance: random.Random, path: Path, outside: Path) -> str:
    _remove(path)
    path.mkdir()
    (path / "in").write_text("it")
    return "a folder"


def _to_nothing(chance: random.Random, path: Path, outside: Path) -> str:
    _remove(path)
    return "missing"


def _to_sparse(chance: random.Random, path: Path, outside: Path) -> str:
    if path.is_dir():
        return "left alone"
    os.truncate(path, 1 << 43)
    return "eight terabytes of zeros"


_KINDS: list[Callable[[random.Random, Path, Path], str]] = [
    _to_link,
    _to_link,
    _to_link,
    _to_hard_link,
    _to_pipe,
    _to_folder,
    _to_nothing,
    _to_sparse,
]


def mutate_kind(chance: random.Random, path: Path, outside: Path) -> str:
    """Put something else in the place of a file or folder."""
    return chance.choice(_KINDS)(chance, path, outside)


def plant_leftovers(chance: random.Random, run: Path, outside: Path) -> str:
    """Put links where a temporary file of this very process would be written."""
    for name in ("manifest.json", "result.json", "weights.safetensors", "topology.json"):
        (run / f".{name}.{os.getpid()}").symlink_to(outside / "notes.txt")
    return "links in the places of temporary files"


def mutate_file(chance: random.Random, path: Path, outside: Path) -> Mutation:
    """Change one file as suits it."""
    if chance.random() < 0.2 or path.is_dir():
        return Mutation(path.name, mutate_kind(chance, path, outside))
    special = {".json": mutate_json, ".lock": mutate_json, ".jsonl": mutate_lines, ".toml": mutate_toml}
    special[".safetensors"] = mutate_signed if path.parent.name == "checkpoints" else mutate_kind
    if path.suffix in special and chance.random() < 0.75:
        return Mutation(path.name, special[path.suffix](chance, path, outside))
    data, what = mutate_bytes(chance, path.read_bytes())
    path.write_bytes(data)
    return Mutation(path.name, what)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
