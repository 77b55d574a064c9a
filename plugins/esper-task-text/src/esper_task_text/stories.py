"""TinyStories (Eldan and Li 2023, https://arxiv.org/abs/2305.07759): where to find it, and its stories."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_core.api import EsperError
from esper_task_text.config import TinyStoriesConfig

#: The environment variable for a folder that contains a folder for each data set.
DATA_DIRECTORY_VARIABLE = "ESPER_DATA_DIR"

HOW_TO_GET = (
    "pip install 'esper-task-text[hub,tokenizers]', which downloads them; or --set task.directory=FOLDER with text "
    "files (TinyStories-train.txt, TinyStories-valid.txt), or with parquet or arrow files"
)

_HUB = "roneneldan/TinyStories"
_COLUMN = "text"
#: Between the stories of a text file.
_MARK = "<|endoftext|>"
#: Formats of local files: the suffix, which is also the name of the `datasets` builder if there is one.
_FORMATS = ("parquet", "arrow", "txt")
#: The published splits, each with the words for it in file names.
_WORDS = {"train": "train", "validation": "valid|validation"}


@frozen(kw_only=True)
class StorySplits:
    """Stories, all different."""

    train: list[str]
    validation: list[str]
    test: list[str]


def read_stories(config: TinyStoriesConfig) -> StorySplits:
    """Return the stories of each split.

    The validation split is taken first from the published training stories, so it does not depend on the number of
    stories to train on. Blank and repeated stories are left out, and so is the white space around a story.

    Raises:
        EsperError: E301 if they cannot be found, E302 if they are damaged, E202 if there are too few.
    """
    folder = _folder(config.directory)
    known: set[str] = set()
    training = _published(folder, "train")
    validation = _take(training, known, "validation", config.validation_stories)
    train = _take(training, known, "train", config.train_stories)
    test = _take(_published(folder, "validation"), known, "test", config.test_stories)
    return StorySplits(train=train, validation=validation, test=test)


def _folder(directory: str | None) -> Path | None:
    """Return the first folder that exists; None for the hub."""
    if directory is not None:
        folder = Path(directory).expanduser()
        if not folder.is_dir():
            raise _missing(f"task.directory={directory}", "there is no such folder")
        return folder
    own = os.environ.get(DATA_DIRECTORY_VARIABLE)
    usual = Path(own).expanduser() / "tinystories" if own else None
    return usual if usual is not None and usual.is_dir() else None


def _take(stories: Iterator[str], known: set[str], name: str, count: int) -> list[str]:
    """Return the next `count` stories that are not yet known, and add them to the known ones."""
    taken: list[str] = []
    for story in stories:
        text = story.strip()
        if text and text not in known:
            known.add(text)
            taken.append(text)
            if len(taken) == count:
                return taken
    raise EsperError(
        "E202",
        f"there are too few stories for the {name} split",
        where=f"task.{name}_stories={count}",
        why=f"only {len(taken)} are left that differ from each other and from those in other splits",
        fix=f"set task.{name}_stories lower, or get more stories",
    )


def _published(folder: Path | None, split: str) -> Iterator[str]:
    if folder is None:
        return _from_hub(split)
    for kind in _FORMATS:
        if files := [path for path in sorted(folder.rglob(f"*.{kind}")) if _names(split, path.relative_to(folder))]:
            return _from_texts(files) if kind == "txt" else _from_tables(kind, files, split)
    kinds = ", ".join(_FORMATS)
    raise _missing(str(folder), f"no {kinds} file below it has '{split}' in its name")


def _names(split: str, path: Path) -> bool:
    return re.search(rf"(?<![a-z])({_WORDS[split]})(?![a-z])", path.as_posix().lower()) is not None


def _from_texts(files: Iterable[Path]) -> Iterator[str]:
    """Yield the stories between marks; files are read lazily, because the published file has 2 GB."""
    for path in files:
        try:
            with path.open(encoding="utf-8") as lines:
                story = ""
                for line in lines:
                    *ended, rest = line.split(_MARK)
                    for part in ended:
                        yield story + part
                        story = ""
                    story += rest
                yield story
        except UnicodeDecodeError as error:
            raise _damaged(str(path), f"it is not UTF-8 text: {error}") from error
        except OSError as error:
            raise _missing(str(path), f"it cannot be read: {error.strerror}") from error


def _from_tables(kind: str, files: Iterable[Path], split: str) -> Iterator[str]:
    where = ", ".join(map(str, files))
    with _installed(where):
        import datasets
    try:
        # Streaming reads only the stories that are needed, and writes nothing to the library's cache.
        table = datasets.load_dataset(kind, data_files={split: [*map(str, files)]}, split=split, streaming=True)
        yield from _texts(table, where)
    except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise _damaged(where, f"the {kind} files cannot be read: {_first_line(error)}") from error


def _from_hub(split: str) -> Iterator[str]:
    where = f"${DATA_DIRECTORY_VARIABLE}/tinystories, {_HUB} on the hub"
    with _installed(where):
        import datasets  # noqa: F401  (loads them)

        from esper_public_data import load_splits
    try:
        table = load_splits(_HUB, [split])[split]
    except EsperError as error:
        raise _missing(where, error.why or error.what) from error
    yield from _texts(table, f"{_HUB} on the hub, split {split}")


def _texts(table: Iterable[dict[str, Any]], where: str) -> Iterator[str]:
    for number, row in enumerate(table):
        if not isinstance(row.get(_COLUMN), str):
            why = f"row {number} has no text in the column '{_COLUMN}'; its columns are {', '.join(row)}"
            raise _damaged(where, why)
        yield row[_COLUMN]


@contextmanager
def _installed(where: str) -> Iterator[None]:
    """Let a library that cannot be imported be an error that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise EsperError(
            "E301",
            "the data of tinystories cannot be read",
            where=where,
            why=f"the Python package {error.name} is not installed",
            fix=HOW_TO_GET,
        ) from error


def _missing(where: str, why: str) -> EsperError:
    return EsperError("E301", "the data of tinystories cannot be found", where=where, why=why, fix=HOW_TO_GET)


def _damaged(where: str, why: str) -> EsperError:
    fix = f"get them again: {HOW_TO_GET}"
    return EsperError("E302", "the data of tinystories are damaged", where=where, why=why, fix=fix)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
