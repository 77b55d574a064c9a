"""The secrets with which messages are signed: one module for buses, stores and policy updates."""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from esper_core.leyline.errors import EsperError

#: The environment's alternative to the file: `ID:HEX` or several, separated by commas. The first one signs.
KEYS = "ESPER_KEYS"

_FILE, _BYTES = "keys", 32
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[: ]([0-9a-fA-F]{64,})")


@frozen
class Keyring:
    """Secrets by name. The first one signs, each of them verifies, so that a key can be replaced while messages travel.

    Attributes:
        secrets: name → secret of at least 32 bytes, in order.
    """

    secrets: Mapping[str, bytes] = field(repr=lambda value: f"<{', '.join(value)}>")

    @property
    def signing(self) -> tuple[str, bytes]:
        """The name and the secret that sign."""
        return next(iter(self.secrets.items()))


def keyring(state: Path, environment: Mapping[str, str] = os.environ) -> Keyring:
    """Return the secrets of the environment's ESPER_KEYS, else those of the state directory; one is made at first use.

    Raises:
        EsperError: E612 if they cannot be read, if others than the owner can read the file, or if it holds none.
    """
    if text := environment.get(KEYS):
        return _parsed(text.split(","), where=f"the environment's {KEYS}")
    path = state / _FILE
    if not path.exists():
        _write_first(path)
    return _read(path)


def present_keys(state: Path, environment: Mapping[str, str] = os.environ) -> Keyring:
    """Return the secrets as `keyring` does, but make none: where there are none, nothing verifies.

    Raises:
        EsperError: as `keyring`.
    """
    if environment.get(KEYS) or (state / _FILE).exists():
        return keyring(state, environment)
    return Keyring({})


def rotate(state: Path, *, kept: int = 1) -> str:
    """Make a new secret that signs from now on, and keep ``kept`` earlier ones that still verify; return its name.

    Raises:
        EsperError: as `keyring`.
    """
    before = [*keyring(state, {}).secrets.items()][:kept]
    name, secret = _made()
    path = state / _FILE
    new = path.with_name(f".{_FILE}-{secrets.token_hex(8)}")
    _write(new, [(name, secret), *before])
    os.replace(new, path)
    return name


def _made() -> tuple[str, bytes]:
    return f"k-{secrets.token_hex(4)}", secrets.token_bytes(_BYTES)


def _write(path: Path, named: list[tuple[str, bytes]]) -> None:
    lines = "".join(f"{name} {secret.hex()}\n" for name, secret in named)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _write_first(path: Path) -> None:
    """Of several processes that do this at once, the first one's key is everybody's."""
    new = path.with_name(f".{_FILE}-{secrets.token_hex(8)}")
    try:
        _write(new, [_made()])
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    except OSError as error:
        raise EsperError("E612", "a key cannot be written", where=str(path), why=str(error.strerror)) from error


def secret(name: str, file: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what a server asks for of those who connect: a password or a token, without the space around it.

    Args:
        name: where it is in the environment.
        file: a file that holds it, instead of the environment; only its owner may be able to read it.

    Returns:
        None if neither is there.

    Raises:
        EsperError: E612 if the file cannot be read, if others can read it, or if there is nothing in it.
    """
    if file is None:
        return environment.get(name) or None
    found = _text(Path(file), "a secret").strip()
    if not found:
        raise EsperError("E612", "there is no secret in the file", where=file)
    return found


def _read(path: Path) -> Keyring:
    return _parsed(_text(path, "keys").splitlines(), where=str(path))


def _text(path: Path, what: str) -> str:
    """Return what is in a file that only its owner can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor) as file:
            _check(os.fstat(file.fileno()), path, what)
            return file.read(65_536)
    except (OSError, UnicodeDecodeError) as error:
        raise EsperError("E612", f"a file of {what} cannot be read", where=str(path), why=str(error)) from error


def _check(found: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise EsperError("E612", f"this is no regular file of {what}", where=str(path))
    if found.st_uid != os.geteuid():
        raise EsperError("E612", f"the file of {what} belongs to another user", where=str(path))
    if found.st_mode & 0o077:
        said = f"others can read or change the file of {what} (mode {stat.S_IMODE(found.st_mode):04o})"
        fix = f"chmod 600 {path}, and replace what is in it if others could have read it"
        raise EsperError("E612", said, where=str(path), fix=fix)


def _parsed(lines: list[str], *, where: str) -> Keyring:
    found: dict[str, bytes] = {}
    for line in filter(None, map(str.strip, lines)):
        match = _LINE.fullmatch(line)
        if match is None or len(match[2]) % 2 or match[1] in found:
            # The line itself is a secret, and is not shown.
            fix = "each key is a name and at least 64 hexadecimal digits, and no name comes twice"
            raise EsperError("E612", f"key {len(found) + 1} cannot be understood", where=where, fix=fix)
        found[match[1]] = bytes.fromhex(match[2])
    if not found:
        raise EsperError("E612", "there is no key", where=where, fix="remove the file, and a key is made at next use")
    return Keyring(found)
