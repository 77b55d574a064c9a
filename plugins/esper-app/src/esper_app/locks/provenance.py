"""Where installed code comes from, and a digest that tells whether it is the same code."""

import base64
import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import Distribution, Installed, scan
from esper_core.plugins.requirements import required_name


@frozen(kw_only=True)
class Provenance:
    """Where code comes from.

    Attributes:
        source: the URL it was installed from, with what its installer says of it; None: from a package index, or no
            distribution at all.
        digest: SHA-256 over the names and contents of the Python files: the same for a wheel and for the source tree
            that the wheel was built from.
    """

    source: dict[str, Any] | None
    digest: str


def provenance(name: str, module: str, file: str | None = None, installed: Installed | None = None) -> Provenance:
    """Return the provenance of a distribution, or of a file that belongs to none.

    Args:
        name: the distribution's name; empty for a single file.
        module: a module of it, to find the package where the installation lists no files.
        file: the single file.
        installed: what is installed, if the caller has looked already.
    """
    if not name:
        return Provenance(source=None, digest=_digest(_hashed([Path(file)], Path(file).parent)) if file else "")
    found = (installed or scan()).find(name)
    recorded = [] if found is None or found.is_editable else list(_recorded(found))
    return Provenance(source=_source(found), digest=_digest(recorded or _package_files(module)))


def installed_versions(names: Iterable[str], installed: Installed | None = None) -> dict[str, str]:
    """Return the versions of these distributions and of everything that they require, sorted by name.

    What a distribution requires is not known where its metadata cannot be read.
    """
    installed = installed or scan()
    versions: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        if (found := installed.find(waiting.pop())) is None:
            continue
        name, version = found.name, found.version
        requires: tuple[str, ...] = ()
        with suppress(EsperError):
            name, version, _, requires = found.metadata
        if name not in versions:
            versions[name] = version
            waiting += [required_name(requirement) for requirement in requires if "extra ==" not in requirement]
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def _source(found: Distribution | None) -> dict[str, Any] | None:
    """What an installer wrote down is data of somebody else's: it may be anything."""
    text = found.read("direct_url.json") if found else None
    if not text:
        return None
    try:
        source = json.loads(text)
    except ValueError:
        return {"unreadable": "direct_url.json"}
    return source if isinstance(source, dict) else {"unreadable": "direct_url.json"}


def _recorded(found: Distribution) -> Iterator[tuple[str, str]]:
    """The Python files that an installer laid down, as they are now: somebody may have edited or removed one."""
    text = (found.read("RECORD") or b"").decode(errors="surrogateescape")
    for path, *_ in csv.reader(text.splitlines()):
        if path.endswith(".py") and found.folder:
            file = Path(found.folder).parent / path
            yield path, _record_hash(file.read_bytes()) if file.is_file() else "gone"


def _package_files(module: str) -> list[tuple[str, str]]:
    spec = find_spec(module.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        return _hashed([Path(spec.origin)], Path(spec.origin).parent) if spec and spec.origin else []
    package = Path(next(iter(spec.submodule_search_locations)))
    return _hashed(package.rglob("*.py"), package.parent)


def _hashed(files: Iterable[Path], root: Path) -> list[tuple[str, str]]:
    return [(file.relative_to(root).as_posix(), _record_hash(file.read_bytes())) for file in files]


def _record_hash(content: bytes) -> str:
    """The form that installers write: URL-safe base64 without padding."""
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()}"


def _digest(files: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"{path},{content_hash}\n" for path, content_hash in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
