"""Every `esper` command that a document shows can be typed, and those of the guides that take seconds are run.

Those of the README and of the page about training, whose output is compared as well, have tests of their own.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from attrs import frozen
from click.testing import CliRunner

from esper_app.cli.lazy import OfferedCommand
from esper_app.cli.root import cli
from esper_app.configuration.config import RunConfig

#: Where a command ends: what follows is another one, or of the shell.
_ENDS = {"&&", "||", "|", ";", "&", ">", "2>", ">>"}
#: What stands for something else.
_STANDS = re.compile(r"\.\.\.|…|^\[|\]$|^[A-Z][A-Z_|]*$")

#: Run in a test of their own.
ELSEWHERE = {"training.md": "test_training_guide.py", "tutorial.md": "test_tutorial.py"}
#: How commands begin, in which guide, that are only parsed, and why.
ONLY_PARSED = {
    ("alerts.md", "prometheus alertmanager"): "says where a webhook is, which nobody has",
    ("artifacts.md", "forge work"): "goes on until it is interrupted, and needs a server",
    ("artifacts.md", "run digits --store local: --bus redis:"): "needs a server",
    ("bus.md", "bus torture"): "takes minutes",
    ("catalogue.md", "catalogue bench"): "measures for minutes",
    ("catalogue.md", "catalogue approve NAME"): "NAME stands for a blueprint",
    ("comparing.md", "compare"): "takes minutes",
    ("conformance.md", "plugins check"): "is about a plugin that the reader has made",
    ("dashboard.md", "dashboard"): "goes on until it is interrupted",
    ("growing-pays.md", "bench growth"): "takes hours",
    ("plugins.md", ""): "completion is the shell's",
    ("report.md", "report study/"): "needs a study of minutes",
    ("services.md", "up"): "goes on until it is interrupted",
    ("services.md", "status"): "needs services",
    ("services.md", "services log"): "needs services",
    ("services.md", "services again"): "needs services",
    ("services.md", "services unit"): "writes into the user's folder of systemd",
    ("services.md", "services compose"): "IMAGE and the configuration are the reader's",
    ("services.md", "down"): "needs services",
    ("simic.md", "simic run"): "goes on until it is interrupted",
    ("simic.md", "train digits --policy champion --follow"): "takes hours",
    ("watch.md", "watch"): "needs a terminal",
}
#: What a guide takes for granted.
BEFORE = {"report.md": ["run digits", "run digits"]}
#: Trainings are cut short by these settings: by a smaller budget where they have one.
SHORT = {
    "run": {"epochs": "4", "twin": "epochs", "flops": "1e8"},
    "train": {"epochs": "4"},
}
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


def shortened(words: tuple[str, ...]) -> list[str]:
    """Return a command with its training cut short; a budget is made smaller, and keeps its twin."""
    found = [*words]
    budget = any(it.startswith("flops=") for it in words)
    for name, value in SHORT.get(words[0] if words else "", {}).items():
        if name != ("twin" if budget else "flops"):
            found += ["--set", f"{name}={value}"]
    return [
        re.sub("^5$", "1", it) if before == "--rounds" else it for before, it in zip(["", *found], found, strict=False)
    ]


def only_parsed(guide: str, words: tuple[str, ...]) -> tuple[str, str] | None:
    """Return what says that a command is not run, None if it is run."""
    line = " ".join(words)
    for name, begin in ONLY_PARSED:
        if name == guide and (line.startswith(begin) if begin else not line):
            return name, begin
    return None


def guides(root: Path) -> dict[str, list[Shown]]:
    """Return the commands of each guide that shows some, in their order."""
    found: dict[str, list[Shown]] = {}
    for it in shown(root):
        folder, _, name = it.place.partition(":")[0].rpartition("/")
        if folder == "docs" and name not in ELSEWHERE:
            found.setdefault(name, []).append(it)
    return found


GUIDES = guides(Path(__file__).parents[2])


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_do_what_they_should_in_order(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ESPER_STATE", "ESPER_STORE", "ESPER_BUS"):
        monkeypatch.delenv(name, raising=False)
    before = [Shown(guide, tuple(line.split())) for line in BEFORE.get(guide, ())]
    for it in [*before, *GUIDES[guide]]:
        if only_parsed(guide, it.words) is None:
            done = CliRunner().invoke(cli, shortened(it.words))
            assert done.exit_code == 0, f"{it.place}: esper {' '.join(it.words)}: {done.output[-2000:]}"


def test_what_is_only_parsed_is_there_and_little() -> None:
    told = [only_parsed(name, it.words) for name, found in GUIDES.items() for it in found]
    assert {*ONLY_PARSED} == {*told} - {None}, "one of them is shown no longer"
    assert told.count(None) > len(told) / 2


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
