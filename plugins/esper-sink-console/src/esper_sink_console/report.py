"""The report at the end of a run; its words, figures and tables are those of every other page about a run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from esper_runs.comparison import comparison
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.several_hosts import are_several, hosts_table, result_in_words
from esper_runs.terminal import Terminal


def final_report(result: Mapping[str, Any], terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the comparison, the seeds and the verdict."""
    yield Text()
    several = are_several(result)
    yield terminal.section(
        str(result.get("task", "")), Text(), terminal.table(hosts_table(result) if several else comparison(result))
    )
    yield Text()
    if seeds := result.get("seeds"):
        yield terminal.section("seeds", Text(), terminal.table(seed_table(seeds, several_hosts=several)))
        yield Text()
        yield terminal.paragraph(ABLATION_AND_GAIN, "dim")
        yield Text()
    for said in result_in_words(result):
        yield terminal.paragraph(said, "title")
    yield Text()
