"""Which local files are read, in which order, and how much of them."""

import platform
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.api import EsperError
from esper_task_text.documents import find, read

NO_LIMIT = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "books"
    (root / "old").mkdir(parents=True)
    (root / ".git").mkdir()
    contents = {"a.txt": b"apple", "b.md": b"\xff\xfe\x00", "old/c.txt": b"cherry", ".git/d.txt": b"d", ".e.txt": b"e"}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return root


def contents(path: Path | str, max_bytes: int = NO_LIMIT) -> dict[str, bytes]:
    return {document.name: document.content for document in read(find(str(path)), max_bytes)}


def refusal(action: Callable[[], object]) -> EsperError:
    with pytest.raises(EsperError) as caught:
        action()
    assert caught.value.code == "E301"
    assert "--set task.path=" in (caught.value.fix or "")
    return caught.value


def test_a_folder_gives_every_file_below_it_that_is_not_hidden(folder: Path) -> None:
    assert contents(folder) == {"a.txt": b"apple", "b.md": b"\xff\xfe\x00", "old/c.txt": b"cherry"}


def test_a_file_gives_itself(folder: Path) -> None:
    assert contents(folder / "a.txt") == {"a.txt": b"apple"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", {"a.txt"}),
        ("**/*.txt", {"a.txt", "old/c.txt"}),
        ("*/c.txt", {"old/c.txt"}),
        ("old/?.txt", {"c.txt"}),
        ("[ab].*", {"a.txt", "b.md"}),
    ],
)
def test_a_pattern_gives_what_it_matches(folder: Path, pattern: str, expected: set[str]) -> None:
    assert set(contents(folder / pattern)) == expected


def test_a_pattern_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert contents("*.txt") == {"a.txt": b"apple"}


def test_a_path_may_begin_with_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert contents("~/books/a.txt") == {"a.txt": b"apple"}
    assert contents("~/books/*.md") == {"b.md": b"\xff\xfe\x00"}


def test_a_file_may_look_like_a_pattern(folder: Path) -> None:
    (folder / "[1].txt").write_bytes(b"one")
    assert contents(folder / "[1].txt") == {"[1].txt": b"one"}


def test_the_order_is_mixed_and_does_not_depend_on_the_place(tmp_path: Path) -> None:
    names = [f"{index:02}.txt" for index in range(30)]
    for place in ("here", "there/too"):
        (tmp_path / place).mkdir(parents=True)
        for name in names:
            (tmp_path / place / name).write_text(name)
    here, there = (list(contents(tmp_path / place)) for place in ("here", "there/too"))
    assert here == there
    assert here != names
    (tmp_path / "here" / "new.txt").write_text("new")
    assert [name for name in contents(tmp_path / "here") if name != "new.txt"] == here


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_as_much_is_read_as_allowed(lengths: list[int], max_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        for index, length in enumerate(lengths):
            (Path(folder) / str(index)).write_bytes(bytes([index]) * length)
        documents, everything = (list(contents(folder, limit).items()) for limit in (max_bytes, NO_LIMIT))
    assert sum(len(content) for _, content in everything) == sum(lengths)
    assert sum(len(content) for _, content in documents) == min(max_bytes, sum(lengths))
    assert documents[:-1] == everything[: len(documents) - 1]


def test_the_file_that_crosses_the_limit_is_cut(folder: Path) -> None:
    whole = list(contents(folder).items())
    limit = len(whole[0][1]) + 2
    assert list(contents(folder, limit).items()) == [whole[0], (whole[1][0], whole[1][1][:2])]


def test_repeated_contents_count_once(folder: Path) -> None:
    (folder / "copy.txt").write_bytes(b"apple")
    assert sorted(contents(folder).values()) == [b"apple", b"cherry", b"\xff\xfe\x00"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "no such file or folder"),
        ("missing.txt", "no such file or folder"),
        ("*.rst", "no file matches"),
        ("empty", "holds no files"),
        ("zero.txt", "empty"),
    ],
)
def test_text_that_is_not_there_is_an_error(folder: Path, name: str, why: str) -> None:
    (folder / "empty").mkdir()
    (folder / "zero.txt").touch()
    error = refusal(lambda: contents(folder / name))
    assert str(folder / name) in (error.where or "")
    assert why in (error.why or "")


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    corpus = find(str(folder))
    (folder / "a.txt").unlink()
    error = refusal(lambda: read(corpus, NO_LIMIT))
    assert error.where == str(folder / "a.txt")
    assert "No such file" in (error.why or "")


def test_the_default_is_the_standard_library_without_tests_tables_and_other_peoples_packages() -> None:
    corpus = find(None)
    assert corpus.name == f"standard library of Python {platform.python_version()}"
    assert len(corpus.files) > 300
    root = Path(sysconfig.get_path("stdlib"))
    for name, path in corpus.files.items():
        assert path == root / name
        assert path.suffix == ".py"
        parts = Path(name).with_suffix("").parts
        assert parts[0] in sys.stdlib_module_names
        assert {"test", "tests", "idle_test", "encodings", "site-packages"}.isdisjoint(parts)
    assert {"argparse.py", "json/decoder.py"} <= set(corpus.files)


def test_the_default_is_the_same_each_time_and_says_nothing_of_this_machine() -> None:
    first, second = read(find(None), 200_000), read(find(None), 200_000)
    assert first == second
    assert sum(len(document.content) for document in first) == 200_000
    assert all(sys.prefix.encode() not in document.content for document in first)


def test_a_python_without_its_sources_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert refusal(lambda: find(None)).where == str(tmp_path)
