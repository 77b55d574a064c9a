"""A growth as plain data, and back: the topology is rebuilt before any weight is loaded."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.gate_tracker import GateStreak
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.lifecycle import Seed
from esper_core.leyline.actions import Transition
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.stages import Cause, Stage
from esper_core.leyline.structure import structure


def growth_record(growth: Growth) -> dict[str, Any]:
    """Return everything about a growth that is not a tensor, as primitives, lists and dicts."""
    slots = growth.slot_set.slots
    return {
        "seeds": {slot: plain(seed) for slot, seed in growth.seeds.items()},
        "planted": {
            slot: {"regime": held.forward_mode.value, "position": held.position, "failure": held.failure}
            for slot, held in slots.items()
        },
        "streaks": {slot: plain(streak) for slot, streak in growth.gate_tracker.streaks.items()},
        "reports": plain(growth.reports),
        "culled": {slot: list(names) for slot, names in growth.culled.items()},
        "germinations": dict(growth.germinations),
        "accuracy": growth.accuracy,
        "catalogue": {name: dict(seed_factory.entry.options) for name, seed_factory in growth.seed_factories.items()},
    }


def restore_growth(growth: Growth, record: Mapping[str, Any]) -> None:
    """Bring a growth to the recorded topology and state. Weights, and the optimizer's state, are loaded afterwards.

    Raises:
        EsperError: E502 if a slot or a blueprint of the record is not there any more, or has other options, or if
            a blueprint does not give a seed for its site any more.
    """
    _refuse_other_topology(growth, record)
    # Everything is read before anything is touched: a damaged record leaves the growth as it was.
    saved = structure(_Growth, {key: value for key, value in record.items() if key != "catalogue"})
    if not all(saved.seeds[slot].stage.holds_module for slot in saved.planted):
        raise ValueError("a slot holds a module, but its seed has none")
    growth.clear()
    growth.seeds, growth.reports, growth.accuracy = saved.seeds, saved.reports, saved.accuracy
    growth.gate_tracker.streaks, growth.culled, growth.germinations = saved.streaks, saved.culled, saved.germinations
    for slot, seed in growth.seeds.items():
        if slot in saved.planted:
            source_error, probe_error = growth.planter.take_in(seed, seed.entered_epoch, new=False)
            if slot not in growth.slot_set.slots:
                raise _cannot_be_rebuilt(growth, seed, source_error or probe_error)
    for slot, held in saved.planted.items():
        if growth.seeds[slot].stage is not Stage.GERMINATED:
            growth.slot_set.attach(growth.slot_set.sites[slot]).enter(held.regime)
        growth.slot_set.slots[slot].position = held.position
        growth.slot_set.slots[slot].failure = held.failure


def go_on_after_rollback(growth: Growth, before: Mapping[str, Seed], epoch: int, lost: int) -> list[Transition]:
    """Let a growth that has been restored to an earlier state go on within `epoch`, as what is still to come.

    Seeds that were germinated, or began to be blended in, since that state are not tried again: they are culled, from
    the stage that they had. For all others the epochs that were lost do not count.

    Args:
        growth: restored.
        before: its seeds before it was restored.
        epoch: the epoch that went wrong.
        lost: epochs trained since the state.
    """
    for seed in growth.seeds.values():
        if seed.stage is not Stage.FOSSILIZED:
            seed.entered_epoch += lost
            seed.ramp_epoch = None if seed.ramp_epoch is None else seed.ramp_epoch + lost
    culls = []
    for slot, seed in before.items():
        then = growth.seeds.get(slot)
        begun = then is None or then.seed_id != seed.seed_id or seed.stage.contributes > then.stage.contributes
        if not (seed.stage.live and begun):
            continue
        culls.append(seed.move(Stage.CULLED, epoch, Cause.SAFETY, reason="the host was rolled back after it began"))
        if slot in growth.slot_set.slots:
            growth.uproot(slot)
        growth.seeds[slot] = seed
        growth.culled[slot] = (*growth.culled[slot], seed.blueprint)
        growth.reports.append(seed.report(epoch, accuracy=growth.accuracy))
    growth.set_alphas(epoch + 1, 0.0)
    return culls


@frozen(kw_only=True)
class _Planted:
    regime: ForwardMode
    position: int
    failure: str = ""


@frozen(kw_only=True)
class _Growth:
    """A record of a growth, structured; see `growth_record`."""

    seeds: dict[str, Seed]
    planted: dict[str, _Planted]
    streaks: dict[str, GateStreak]
    reports: list[FieldReport]
    culled: dict[str, tuple[str, ...]]
    germinations: dict[str, int]
    accuracy: float | None


def _cannot_be_rebuilt(growth: Growth, seed: Seed, problem: str | None) -> EsperError:
    entry = growth.seed_factories[seed.blueprint].entry
    return EsperError(
        "E502",
        f'the saved seed of blueprint "{seed.blueprint}" cannot be built any more',
        where=f'slot "{seed.slot}"',
        why=problem or "its module is not there yet",
        fix=f"bring back the {entry.distribution or 'plugin'} that it was saved with, and what that depends on",
    )


def _refuse_other_topology(growth: Growth, record: Mapping[str, Any]) -> None:
    if unknown := set(record["seeds"]) - set(growth.slot_set.sites):
        raise EsperError(
            "E502",
            f"the saved state has a seed in slot {', '.join(sorted(unknown))}, which the host does not have",
            fix="restore into the host that it was saved from, with the same options",
        )
    for seed in record["seeds"].values():
        name = seed["blueprint"]
        seed_factory = growth.seed_factories.get(name)
        if seed_factory is None:
            raise EsperError(
                "E502",
                f'the saved state has a seed of blueprint "{name}", which is not in the catalogue',
                fix=f"install its plugin and name it in policy.blueprints (it has {', '.join(growth.seed_factories)})",
            )
        if dict(seed_factory.entry.options) != dict(record["catalogue"][name]):
            raise EsperError(
                "E502",
                f'blueprint "{name}" has other options than when the state was saved',
                why=f"saved {record['catalogue'][name]}, now {dict(seed_factory.entry.options)}",
                fix="give it the saved options",
            )
