"""The commands in the page about training are run as they are written there."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def examples():
    """Each command of the page with the output below it."""
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def pattern(output):
    return ".*".join(re.escape(part) for part in output.rstrip("\n").split("..."))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_does_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    ran = 0
    for command, output in examples():
        program, *arguments = shlex.split(command)
        assert program == "esper"
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, (command, result.output)
        assert re.search(pattern(output), result.output, re.DOTALL), (command, output, result.output)
        ran += 1
    assert ran == 7


def test_the_page_is_looked_at():
    assert re.fullmatch(pattern("a ...\nb\n"), "a 1\nc\nb", re.DOTALL)
    assert not re.fullmatch(pattern("a ...\nb\n"), "a 1\nc", re.DOTALL)
