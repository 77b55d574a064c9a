"""docs/tutorial.md, word for word: its commands are run, its files written, its output compared.

A block of the kind `console` holds commands behind ``$`` and what they print; ``...`` stands for any text in a line, on
a line of its own for any lines; blanks are not counted. A block `python` is a file, named in its first line; a block
`toml` stands in pyproject.toml; `text` is only to be read. A command fails if, and only if, its output holds FAILED or
an error.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, frozen

DOCUMENT = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BAD = re.compile(r"^(FAILED |error\[)", re.MULTILINE)


@frozen
class Command:
    """A command, and what it is said to print; "" if nothing is said."""

    line: str
    shown: str


def commands(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(line, shown)


def agrees(printed: str, shown: str) -> bool:
    """Say whether what was printed is what is shown."""
    lines = (" ".join(line.split()) for line in shown.splitlines())
    wanted = "".join("(?:.*\n)*?" if line == "..." else f"{_pattern(line)}\n" for line in lines)
    normal = "".join(" ".join(line.split()) + "\n" for line in printed.splitlines())
    return re.fullmatch(wanted, normal) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("...")))


@define
class Reader:
    """Somebody who does what the tutorial says, in a folder and with an environment."""

    folder: Path
    environ: dict[str, str]

    def follow(self, document: str) -> None:
        for kind, block in BLOCK.findall(document):
            {"console": self.type, "python": self.save, "toml": self.look_up, "text": lambda _: None}[kind](block)

    def type(self, block: str) -> None:
        for command in commands(block):
            if command.line.startswith("cd "):
                self.folder = self.folder / command.line.removeprefix("cd ")
                continue
            done = subprocess.run(
                command.line,
                shell=True,
                executable="/bin/bash",
                cwd=self.folder,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
            assert (done.returncode != 0) == bool(BAD.search(command.shown)), f"$ {command.line}\n{done.stdout}"
            if command.shown:
                assert agrees(done.stdout, command.shown), f"$ {command.line}\n{done.stdout}\nshown:\n{command.shown}"

    def save(self, block: str) -> None:
        first, _, text = block.partition("\n")
        path = self.folder / first.removeprefix("# ")
        assert path.is_file(), f"the tutorial replaces files of the template; {path} is none"
        path.write_text(text)

    def look_up(self, block: str) -> None:
        assert block in (self.folder / "pyproject.toml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_is_true(workshop, environ, tmp_path):
    path = os.pathsep.join([str(workshop.folder / "venv/bin"), environ["PATH"]])
    reader = Reader(tmp_path, environ | {"PATH": path})
    reader.follow(DOCUMENT.read_text())
    # What it has written is in order, too.
    workshop.python("-m", "mypy", "--cache-dir", workshop.folder / "mypy", cwd=reader.folder)


@pytest.mark.parametrize(
    ("shown", "agreed"),
    [
        ("one\ntwo  three\n", True),
        ("one\n...\n", True),
        ("...\ntwo th... \n", True),
        ("...\none\ntwo three\n...\n", True),
        ("one\n", False),
        ("two three\n", False),
        ("one\n...\nfour\n", False),
        ("one\ntwo\n", False),
        ("o.e\ntwo three\n", False),
    ],
)
def test_another_output_is_noticed(shown, agreed):
    assert agrees("one\n  two three\n", shown) is agreed


@pytest.mark.parametrize(
    "document",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ echo FAILED it\nFAILED it\n```\n",
        "```python\n# not_there.py\n```\n",
        '```toml\nname = "other"\n```\n',
    ],
)
def test_what_is_not_true_is_noticed(tmp_path, document):
    (tmp_path / "pyproject.toml").write_text('name = "this"\n')
    reader = Reader(tmp_path, dict(os.environ))
    with pytest.raises(AssertionError):
        reader.follow(document)


def test_folders_files_and_commands_follow_each_other(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.py").touch()
    reader = Reader(tmp_path, dict(os.environ))
    reader.follow(
        "```console\n$ cd inside\n```\n```python\n# a.py\nprint(1)\n```\n```console\n$ cat a.py\nprint(1)\n```\n"
    )
    assert reader.folder == tmp_path / "inside"
