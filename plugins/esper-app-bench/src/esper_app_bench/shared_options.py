"""Options and displays that both commands have."""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from esper_runs.printing import echo
from esper_studies import StudyRun


def parse_seeds(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Return the random seeds of a text such as 0-4 or 1,3,7-9."""
    found: list[int] = []
    for part in value.split(","):
        if not (matched := re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)):
            raise click.BadParameter(f"{value!r} is not a list of seeds such as 0-4 or 1,3,7-9")
        found += range(int(matched[1]), int(matched[2] or matched[1]) + 1)
    if not found or len(set(found)) < len(found):
        raise click.BadParameter(f"{value!r} names no seed, or one twice")
    return tuple(found)


def jobs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--jobs``."""
    return click.option(
        "--jobs",
        type=click.IntRange(min=1),
        default=lambda: os.cpu_count() or 1,
        show_default="one for each processor",
        help="Runs that go on at the same time. Wall times are comparable with one job for each idle processor only.",
    )(command)


def retry_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--retry-failed``."""
    return click.option("--retry-failed", is_flag=True, help="Run again what has failed before.")(command)


class Progress:
    """Says on standard error how far a study is: a line that is rewritten on a terminal, else one for each part."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._part = ""

    def part(self, words: str) -> None:
        """Begin a part."""
        self._part = words
        if not self._shown:
            echo(words, err=True)

    def told(self, run: StudyRun, done: int, of: int) -> None:
        """Count a run of the part."""
        if self._shown:
            echo(f"\r\x1b[2K{self._part}: {done} of {of} " + "\n" * (done == of), err=True, nl=False)
        if run.failure is not None and not run.cached:
            echo(f"{run.name} failed: {run.failure}", err=True)
