"""Local files as documents: which files, in which order, and how many bytes of them."""

import glob
import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from esper_core.api import EsperError

HOW_TO_GET = "give text: --set task.path=… with a file, a folder or a glob pattern such as 'books/**/*.txt'"

#: Folders of the standard library that are not always installed, or that contain tables rather than programs.
_LEFT_OUT = frozenset({"test", "tests", "idle_test", "encodings", "pydoc_data"})


@frozen(kw_only=True)
class Document:
    """A text with the name of its source."""

    name: str
    content: bytes


@frozen(kw_only=True)
class Corpus:
    """Files to read.

    Attributes:
        name: what they are, for the manifest.
        where: where they are, for messages.
        files: path of each file, by a name that does not depend on the location of the corpus.
    """

    name: str
    where: str
    files: dict[str, Path]


def find(path: str | None) -> Corpus:
    """Return the files at `path` (a file, a folder, a glob pattern); None means the standard library.

    Raises:
        EsperError: E301 if there are none.
    """
    if path is None:
        return _standard_library()
    where = Path(path).expanduser()
    if where.is_file():
        files = {where.name: where}
    elif where.is_dir():
        files = dict(_visible(where, where.rglob("*")))
    elif _is_pattern(where):
        files = _matching(where)
    else:
        raise _missing(f"task.path={path}", "there is no such file or folder")
    if not files:
        why = "the folder holds no files" if where.is_dir() else "no file matches the pattern"
        raise _missing(f"task.path={path}", why)
    return Corpus(name="files", where=f"task.path={path}", files=files)


def read(corpus: Corpus, max_bytes: int) -> list[Document]:
    """Return the files' contents, at most `max_bytes` together; the file that crosses that limit is cut.

    Files come in the order of the SHA-256 of their names. So their order is mixed but always the same, and a new file
    does not change the order of the others. Empty files and repeated contents are left out.

    Raises:
        EsperError: E301 if a file cannot be read, or all files are empty.
    """
    documents: list[Document] = []
    known: set[bytes] = set()
    left = max_bytes
    for name in sorted(corpus.files, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if left == 0:
            break
        content = _content(corpus.files[name], left)
        digest = hashlib.sha256(content).digest()
        if content and digest not in known:
            documents.append(Document(name=name, content=content))
            known.add(digest)
            left -= len(content)
    if not documents:
        raise _missing(corpus.where, "all of its files are empty")
    return documents


def _standard_library() -> Corpus:
    root = Path(sysconfig.get_path("stdlib"))
    # By name, because the folder may also contain third-party packages and files of this machine.
    sources = (path for name in sorted(sys.stdlib_module_names) for path in _module_sources(root, name))
    files = {name: path for name, path in _visible(root, sources) if _LEFT_OUT.isdisjoint(Path(name).parts)}
    if not files:
        raise _missing(str(root), "this Python comes without the sources of its standard library")
    return Corpus(name=f"standard library of Python {platform.python_version()}", where=str(root), files=files)


def _module_sources(root: Path, name: str) -> Iterator[Path]:
    yield root / f"{name}.py"
    yield from (root / name).rglob("*.py")


def _visible(root: Path, paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        inside = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield inside.as_posix(), path


def _is_pattern(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[")


def _matching(pattern: Path) -> dict[str, Path]:
    """Return the matching files, named by their path below the fixed part of the pattern."""
    fixed = next(parent for parent in pattern.parents if not _is_pattern(parent))
    inside = str(pattern.relative_to(fixed))
    found = (Path(name) for name in glob.glob(inside, root_dir=fixed, recursive=True))
    return {name.as_posix(): fixed / name for name in found if (fixed / name).is_file()}


def _content(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise _missing(str(path), f"it cannot be read: {error.strerror}") from error


def _missing(where: str, why: str) -> EsperError:
    return EsperError("E301", "the text cannot be found", where=where, why=why, fix=HOW_TO_GET)
