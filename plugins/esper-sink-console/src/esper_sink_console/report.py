"""The report at the end of a run; its words, figures and tables are those of every other page about a run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from esper_runs.comparison import comparison
from esper_runs.result import TWIN
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.terminal import Terminal
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words


def final_report(result: Mapping[str, Any], terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the comparison, the seeds and the verdict."""
    yield Text()
    yield terminal.section(str(result.get("task", "")), Text(), terminal.table(comparison(result)))
    yield Text()
    if seeds := result.get("seeds"):
        several = len([name for name in result.get("hosts", ()) if name != TWIN]) > 1
        yield terminal.section("seeds", Text(), terminal.table(seed_table(seeds, several_hosts=several)))
        yield Text()
        yield terminal.paragraph(ABLATION_AND_GAIN, "dim")
        yield Text()
    yield terminal.paragraph(verdict_in_words(verdict(result)), "title")
    yield Text()
