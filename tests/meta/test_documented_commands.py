"""Every `esper` command that a document shows can be typed: the command is there, with these options and choices."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from attrs import frozen

from esper_app.cli.lazy import OfferedCommand
from esper_app.cli.root import cli
from esper_app.configuration.config import RunConfig

#: Where a command ends: what follows is another one, or of the shell.
_ENDS = {"&&", "||", "|", ";", "&", ">", "2>", ">>"}
#: What stands for something else.
_STANDS = re.compile(r"\.\.\.|…|^\[|\]$|^[A-Z][A-Z_|]*$")
_SECTIONS = {it.name for it in RunConfig.__attrs_attrs__}


@frozen
class Shown:
    """A command in a document."""

    place: str
    words: tuple[str, ...]


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the numbers of lines in fenced blocks, and what follows `esper` in each of them."""
    fenced, waiting = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if not fenced:
            continue
        if line.endswith("\\"):
            waiting += line[:-1] + " "
            continue
        line, waiting = waiting + line, ""
        if not re.match(r"\s*(\$ |[A-Z_]+=\S+ )*(esper|torchrun .*-m esper_app) ", line):
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no line of a shell
            continue
        begin = words.index("esper") + 1 if "esper" in words else words.index("esper_app") + 1
        end = next((at for at, word in enumerate(words) if at >= begin and word in _ENDS), len(words))
        yield number, words[begin:end]


def shown(root: Path) -> list[Shown]:
    documents = [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted(root.glob("plugins/*/README.md"))]
    return [
        Shown(f"{it.relative_to(root)}:{number}", tuple(words))
        for it in documents
        for number, words in commands(it.read_text())
    ]


def found(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Return the command that is meant, and the words that it is given."""
    command: click.Command = cli
    context = click.Context(cli, info_name="esper")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None:
            raise click.UsageError(f'there is no command "{words[0]}"')
        inner = inner.load() if isinstance(inner, OfferedCommand) else inner
        command, context, words = inner, click.Context(inner, context, words[0]), words[1:]
    return command, context, words


def check(words: tuple[str, ...]) -> None:
    """Raise click.ClickException or ValueError if this cannot be typed."""
    command, context, rest = found([*words])
    # What is in brackets may be left out.
    given, left, _ = command.make_parser(context).parse_args([it.strip("[]") if it[0] in "[-" else it for it in rest])
    if [*left] != ["..."] * len(left):
        raise click.UsageError(f"unexpected: {' '.join(left)}")
    for parameter in command.params:
        values = given.get(parameter.name)
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, str) and isinstance(parameter.type, click.Choice) and not _STANDS.search(value):
                parameter.type.convert(value, parameter, context)
    for setting in given.get("sets") or ():
        if not _STANDS.search(setting) and setting.split("=")[0].split(".")[0] not in _SECTIONS:
            raise ValueError(f"no setting begins like {setting}")


def test_every_command_that_is_shown_can_be_typed(root: Path) -> None:
    wrong, all_of_them = [], shown(root)
    for it in all_of_them:
        try:
            check(it.words)
        except (click.ClickException, ValueError) as error:
            wrong.append(f"{it.place}: esper {' '.join(it.words)}: {getattr(error, 'message', error)}")
    assert not wrong, "\n".join(wrong)
    assert len(all_of_them) > 150


@pytest.mark.parametrize(
    "line",
    [
        "esper grow digits",
        "esper run digits --epochs 5",
        "esper plugins new wheel foo",
        "esper plugins check foo --level highest",
        "esper run digits --set ticks=5",
        "$ RAY_ADDRESS=auto esper runs prune --everything",
        "torchrun --nproc-per-node 2 -m esper_app run digits --exec torchrun",
        "esper run \\\n   --sett epochs=5",
    ],
)
def test_what_cannot_be_typed_shows(line: str) -> None:
    ((_, words),) = commands(f"```\n{line}\n```")
    with pytest.raises((click.ClickException, ValueError)):
        check(tuple(words))


def test_what_follows_a_command_is_not_of_it() -> None:
    text = (
        "esper run\n```\nesper run x --hosts 2 && ls  # two\nesper show last | head\necho esper run y\n```\n`esper z`"
    )
    assert [words for _, words in commands(text)] == [["run", "x", "--hosts", "2"], ["show", "last"]]
