"""Everything about one run, as a section of the page."""

from collections.abc import Iterator

from esper_app_report.html.figures import at_equal_compute, curves, rewards
from esper_runs.comparison import comparison
from esper_runs.html.markup import Markup, details, element, joined, note, section, table
from esper_runs.html.swimlanes import swimlanes
from esper_runs.last_round import last_round
from esper_runs.manifest_table import manifest_table
from esper_runs.record_tables import decision_table, gate_table, governor_table, history_table
from esper_runs.result import CONTROL, TWIN, control_of, twin_of
from esper_runs.run_facts import epochs_in_words, run_facts
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.several_hosts import are_several, hosts_table, result_in_words
from esper_runs.tables import Table
from esper_runs.timeline_text import timeline_text

#: What is drawn of each host is long.
_MOST_HOSTS = 4


def summary(record: RunRecord, anchor: str) -> Markup:
    """Return what a reader wants first: how the run ended, the verdict, what ran, and what is missing."""
    facts = list(run_facts(record))
    missing = [words for name, words in facts if name == "missing"]
    listed = (joined((element("dt", name), element("dd", words))) for name, words in facts if name != "missing")
    said = ["The run has no result yet."] if record.result is None else result_in_words(record.result, each=True)
    return element(
        "article",
        element("h2", element("a", record.name, href=f"#{anchor}"), " ", element("small", _ended(record))),
        *(element("p", words, class_="verdict") for words in said),
        *(note(f"Missing: {words}", "missing") for words in missing),
        details("What ran", element("dl", *listed)),
        class_="summary",
    )


def run_section(record: RunRecord, anchor: str) -> Markup:
    """Return the section of a run. What its files do not hold is named in it."""
    heading = element("h2", record.name, " ", element("small", _ended(record)))
    return element("section", heading, *_parts(record), id=anchor, class_="run")


def _ended(record: RunRecord) -> str:
    return f"{record.outcome}, {epochs_in_words(record)}"


def _parts(record: RunRecord) -> Iterator[Markup]:
    record, rounds = last_round(record)
    several = len(record.growing) > 1
    if rounds > 1:
        yield note(
            f"The log holds {rounds:,} rounds. What follows is the last one, except for the test split and the seeds."
        )
    yield section("Stages", *_stages(record))
    yield section("Curves", *_curves(record))
    if record.result is not None:
        measured = hosts_table(record.result) if are_several(record.result) else comparison(record.result)
        yield section("On the test split", table(measured, "measured after the last epoch"))
    else:
        yield section("On the test split", note("Nothing was measured: there is no result."))
    seeds = table(seed_table(record.seeds, several_hosts=several), "what became of each seed")
    none = note("No seed is known.")
    yield section("Seeds", *((seeds, note(ABLATION_AND_GAIN)) if record.seeds else (none,)))
    entries = timeline_text(record.timeline)
    yield section("History", _folded(history_table(entries, several_hosts=several), "what happened, and why"))
    yield section(
        "Gates", _folded(gate_table(record.timeline, several_hosts=several), "the latest verdict of each gate")
    )
    decisions = decision_table(record.timeline, several_hosts=several)
    yield section("Decisions of the policy", _folded(decisions, "what the policy asked for, and why"))
    yield section(
        "Governor", _shown(governor_table(record.timeline, several_hosts=several), "interventions and denials")
    )
    yield section("Rewards", *_rewards(record))
    yield section("Manifest", _folded(manifest_table(record.manifest), "what was run, with which settings"))


def _stages(record: RunRecord) -> Iterator[Markup]:
    found = _logged(record)
    if not found:
        yield note("Stages are not known: no epoch is in the log.")
    for host in found[:_MOST_HOSTS]:
        epochs = record.epochs[host]
        yield swimlanes(record, host, epochs) if epochs[-1]["slots"] else note(f"{host} has no slot.")
    yield from _left_out(found)


def _curves(record: RunRecord) -> Iterator[Markup]:
    found = _logged(record)
    if not found:
        yield note("Curves are not known: no epoch is in the log.")
    for host in found[:_MOST_HOSTS]:
        twin = record.epochs.get(twin_of(host), ())
        yield from curves(host, record.epochs[host], twin, several=len(found) > 1)
        control = record.epochs.get(control_of(host), ())
        beside = {host: record.epochs[host], TWIN: twin, CONTROL: control}
        yield from at_equal_compute(host, beside, several=len(found) > 1)
    yield from _left_out(found)


def _logged(record: RunRecord) -> list[str]:
    return [host for host in record.growing if record.epochs.get(host)]


def _left_out(hosts: list[str]) -> Iterator[Markup]:
    if len(hosts) > _MOST_HOSTS:
        yield note(f"Not drawn: {', '.join(hosts[_MOST_HOSTS:])}.")


def _rewards(record: RunRecord) -> Iterator[Markup]:
    if not record.rewards:
        yield note("No reward is in the log: rewards are computed where a run asks for them.")
    for host, found in [*record.rewards.items()][:_MOST_HOSTS]:
        yield from rewards(host, found)
    yield from _left_out([*record.rewards])


def _folded(data: Table, caption: str) -> Markup:
    if not data.rows:
        return note("Nothing is in the log.")
    rows = len(data.rows)
    return details(f"{caption} ({rows:,} {'row' if rows == 1 else 'rows'})", table(data, caption))


def _shown(data: Table, caption: str) -> Markup:
    return table(data, caption) if data.rows else note("Nothing is in the log.")
