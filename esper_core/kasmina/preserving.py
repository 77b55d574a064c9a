"""A growth as plain data, and back: the topology is rebuilt before any weight is loaded."""

from collections.abc import Mapping
from typing import Any

from esper_core.kasmina.compose import Regime
from esper_core.kasmina.gatekeeper import Standing
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.lifecycle import Life
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.stages import Stage
from esper_core.leyline.structure import structure


def growth_record(growth: Growth) -> dict[str, Any]:
    """Return everything about a growth that is no tensor, as primitives, lists and dicts."""
    slots = growth.bed.slots
    return {
        "lives": {slot: plain(life) for slot, life in growth.lives.items()},
        "planted": {slot: {"regime": held.regime.value, "position": held.position} for slot, held in slots.items()},
        "standings": {slot: plain(standing) for slot, standing in growth.gatekeeper.standings.items()},
        "reports": plain(growth.reports),
        "culled": {slot: list(names) for slot, names in growth.culled.items()},
        "germinations": dict(growth.germinations),
        "accuracy": growth.accuracy,
        "catalogue": {name: dict(recipe.entry.options) for name, recipe in growth.recipes.items()},
    }


def restore_growth(growth: Growth, record: Mapping[str, Any]) -> None:
    """Bring a growth to the recorded topology and state. Weights, and the optimizer's state, are loaded afterwards.

    Raises:
        EsperError: E502 if a slot or a blueprint of the record is not there any more, or has other options, or if
            a blueprint does not give a seed for its site any more.
    """
    _refuse_other_topology(growth, record)
    growth.clear()
    growth.lives = {slot: structure(Life, dict(life)) for slot, life in record["lives"].items()}
    growth.gatekeeper.standings = {
        slot: structure(Standing, dict(standing)) for slot, standing in record["standings"].items()
    }
    growth.reports = [structure(FieldReport, dict(report)) for report in record["reports"]]
    growth.culled = {slot: tuple(names) for slot, names in record["culled"].items()}
    growth.germinations = dict(record["germinations"])
    growth.accuracy = record["accuracy"]
    for slot, life in growth.lives.items():
        if life.stage.holds_module:
            source_error, probe_error = growth.planter.take_in(life)
            if slot in record["planted"] and slot not in growth.bed.slots:
                raise _cannot_be_rebuilt(growth, life, source_error or probe_error)
    for slot, held in record["planted"].items():
        if growth.lives[slot].stage is not Stage.GERMINATED:
            growth.bed.attach(growth.bed.sites[slot]).enter(Regime(held["regime"]))
        growth.bed.slots[slot].position = held["position"]


def _cannot_be_rebuilt(growth: Growth, life: Life, problem: str | None) -> EsperError:
    entry = growth.recipes[life.blueprint].entry
    return EsperError(
        "E502",
        f'the saved seed of blueprint "{life.blueprint}" cannot be built any more',
        where=f'slot "{life.slot}"',
        why=problem or "its module is not there yet",
        fix=f"bring back the {entry.distribution or 'plugin'} that it was saved with, and what that depends on",
    )


def _refuse_other_topology(growth: Growth, record: Mapping[str, Any]) -> None:
    if unknown := set(record["lives"]) - set(growth.bed.sites):
        raise EsperError(
            "E502",
            f"the saved state has a seed in slot {', '.join(sorted(unknown))}, which the host does not have",
            fix="restore into the host that it was saved from, with the same options",
        )
    for life in record["lives"].values():
        name = life["blueprint"]
        recipe = growth.recipes.get(name)
        if recipe is None:
            raise EsperError(
                "E502",
                f'the saved state has a seed of blueprint "{name}", which is not in the catalogue',
                fix=f"install its plugin and name it in policy.blueprints (it has {', '.join(growth.recipes)})",
            )
        if dict(recipe.entry.options) != dict(record["catalogue"][name]):
            raise EsperError(
                "E502",
                f'blueprint "{name}" has other options than when the state was saved',
                why=f"saved {record['catalogue'][name]}, now {dict(recipe.entry.options)}",
                fix="give it the saved options",
            )
