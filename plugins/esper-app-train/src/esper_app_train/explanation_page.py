"""The page of ``esper explain``, and the same as data."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from esper_app_train.explanation import Came, Explained, Seen
from esper_core.api import Action, ActionMasks, Op, plain
from esper_runs.formatting import MISSING, loss, percent, whole
from esper_runs.tables import Cell, Column, Table
from esper_runs.terminal import Terminal

#: How many choices are listed.
TOP = 10


def explanation_page(found: Explained, terminal: Terminal, *, everything: bool) -> Iterator[RenderableType]:
    """Yield what the policy did, what it thought, what was possible, and what it saw."""
    of = f"round {found.round + 1}, " if found.round else ""
    title = f"{found.run}, {found.host}, {of}before epoch {found.epoch + 1}: {found.policy}"
    yield terminal.section(title, terminal.paragraph(_done(found)))
    yield Text()
    if found.explanation is None:
        yield terminal.paragraph("This policy does not say what it thinks; what it gave as its reason is above.", "dim")
    else:
        value = found.explanation.value
        worth = "" if value is None else f"; it expects a discounted reward of {value:+.3f} from here on"
        count = len(found.explanation.choices)
        title = f"the {min(TOP, count)} most probable of {count} possible actions{worth}"
        yield terminal.section(title, Text(), terminal.table(_choices(found)))
    yield Text()
    yield terminal.section("what was possible", *map(terminal.paragraph, _possible(found.situation.masks)))
    if found.outcomes:
        yield Text()
        title = "what came of it, to the end of the round; the other actions were really done"
        yield terminal.section(title, Text(), terminal.table(_outcomes(found.outcomes)))
    for name, features, titles in (
        ("what it saw of the host", found.host_features, ("value",)),
        ("what it saw of each slot", found.slot_features, found.slots),
    ):
        shown = features if everything else [it for it in features if any(it.values)]
        yield Text()
        left = len(features) - len(shown)
        note = f" ({left} features that are 0 are left out; --all shows them)" if left else ""
        yield terminal.section(name + note, Text(), terminal.table(_features(shown, titles)))
    yield Text()
    yield terminal.paragraph(f"{found.compared} events of the record were repeated, all exactly.", "dim")


def as_data(found: Explained) -> dict[str, Any]:
    """Return everything that the page says as plain data."""
    data: dict[str, Any] = plain(found)
    return data


def action_text(action: Action) -> str:
    """Return an action in words."""
    if action.op is Op.WAIT:
        return Op.WAIT.name
    blend = f", {action.blend.value}" if action.blend is not None else ""
    return f"{action.op.name} {f'{action.blueprint} in ' if action.blueprint else ''}{action.slot}{blend}"


def _done(found: Explained) -> str:
    done = " and ".join(map(action_text, found.actions)) or Op.WAIT.name
    reasons = "; ".join(action.reason for action in found.actions if action.reason)
    return f"It did: {done}{f' ({reasons})' if reasons else ''}."


def _choices(found: Explained) -> Table:
    assert found.explanation is not None
    did = {_named(action) for action in found.actions} or {Op.WAIT.name}
    rows = [
        (Cell(action_text(it.action), "good" if _named(it.action) in did else ""), percent(it.probability))
        for it in found.explanation.choices[:TOP]
    ]
    return Table(columns=(Column("action"), Column("probability", right=True)), rows=tuple(rows))


def _named(action: Action) -> str:
    return action_text(action)


def _possible(masks: ActionMasks) -> Iterator[str]:
    yield "WAIT"
    for slot, blueprints in masks.germinate.items():
        yield f"GERMINATE in {slot}: {', '.join(name for name in masks.blueprints if name in blueprints)}"
    if masks.germinate:
        yield f"blends: {', '.join(blend.value for blend in masks.blends)}"
    for op in (Op.CULL, Op.FOSSILIZE):
        if slots := masks.slots_for(op):
            yield f"{op.name}: {', '.join(slot for slot in masks.slots if slot in slots)}"


def _outcomes(outcomes: Sequence[Came]) -> Table:
    columns = [Column("action"), *(Column(it, right=True) for it in ("probability", "test accuracy", "test loss"))]
    columns += [Column("reward from here", right=True), Column("parameters", right=True, spare=True)]
    columns += [Column("seeds kept", right=True, spare=True)]
    rows = []
    for index, it in enumerate(outcomes):
        name = action_text(it.action) + ("" if it.allowed else " (denied)")
        reward = MISSING if it.total_reward is None else f"{it.total_reward:+.3f}"
        rows.append(
            (
                Cell(name, "" if index else "good"),
                percent(it.probability),
                percent(it.accuracy),
                loss(it.loss),
                reward,
                whole(it.parameters),
                str(it.kept),
            )
        )
    return Table(columns=tuple(columns), rows=tuple(rows))


def _features(features: Sequence[Seen], titles: Sequence[str]) -> Table:
    columns = [Column("feature"), *(Column(title, right=True) for title in titles), Column("read from", spare=True)]
    rows = []
    for it in features:
        row = it.feature
        how = row.transform + (f" {row.parameter}" if row.parameter is not None else "")
        rows.append((row.name, *(f"{value:.4g}" for value in it.values), f"{row.source}: {how}"))
    return Table(columns=tuple(columns), rows=tuple(rows))
