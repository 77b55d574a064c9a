"""The policy on recorded curves: what it decides is what the control of equal compute says afterwards.

`record.py` has written them down, of runs that grew whatever came of it, or as the policy itself decided.
"""

import json
from math import log, sqrt
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    Compute,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    Op,
    Round,
    Site,
    Situation,
    SlotSignals,
    SlotState,
    Stage,
)
from esper_policy_compute.account import account
from esper_policy_compute.config import ComputeConfig
from esper_policy_compute.policy import ComputePolicy

RECORDED = Path(__file__).parent / "recorded"
CATALOGUE = Catalogue((CatalogueEntry(name="block", layouts=(Layout.BTD,)),))


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


def slots_of(row: dict[str, Any], order: list[str]) -> list[SlotSignals]:
    seeds = {seed["slot"]: seed for seed in row["seeds"]}
    found = []
    for depth, name in enumerate(order):
        site = Site(id=name, path=name, layout=Layout.BTD, width=8, sample_shape=(4, 8), depth=depth)
        stage, seed = Stage[row["stages"][name]], seeds.get(name)
        facts = {}
        if stage.live and seed is not None:
            facts = {key: seed[key] for key in ("age_epochs", "settled_epochs", "alpha")} | {"blueprint": "block"}
        found.append(SlotSignals(state=SlotState(site=site, stage=stage, **facts)))
    return found


def verdicts(record: dict[str, Any], **options: Any) -> list[tuple[int, Action]]:
    """What the policy decides before each epoch of a recorded run, with all that it has seen until then."""
    policy = ComputePolicy(ComputeConfig(**options), CATALOGUE)
    policy.reset(Round(hosts=("h",), epochs=record["epochs"]))
    losses: list[float] = []
    found = []
    for row in record["rows"]:
        losses.append(row["loss"])
        order = [*row["stages"]]
        slots = slots_of(row, order)
        host = HostSignals(
            epoch=row["epoch"],
            epochs=record["epochs"],
            curves=LearningCurves(validation_losses=tuple(losses)),
            parameters=row["parameters"],
            host_parameters=record["host_parameters"],
            twin_validation_loss=row["twin_loss"],
            compute=Compute(**row["compute"]),
        )
        masks = ActionMasks(
            slots=tuple(order),
            blueprints=CATALOGUE.names,
            germinate={it.slot: frozenset(CATALOGUE.names) for it in slots if it.state.stage is Stage.DORMANT},
            cull=frozenset(it.slot for it in slots if it.state.stage.live),
            # G5 had passed each of these seeds by then.
            fossilize=frozenset(it.slot for it in slots if it.state.settled_epochs >= 3),
        )
        situation = Situation(host="h", observation=Observation(host=host, slots=tuple(slots)), masks=masks)
        found.append((row["epoch"], policy.decide([situation])[0].actions[0]))
    return found


def standard_errors(record: dict[str, Any]) -> tuple[float, Action]:
    """How far gain is above price where something is decided first, in standard errors by the noise of an epoch.

    That noise follows from the second differences of the twin's losses in the stretch that the slope is taken over
    (Gasser, Sroka and Jennen-Steinmetz, 1986). The network's loss is taken to have as much of it as the twin's.
    """
    at, action = judged(record)
    rows = {row["epoch"]: row for row in record["rows"]}
    row, twin = rows[at], {epoch: it["twin_loss"] for epoch, it in rows.items()}
    slots = slots_of(row, [*row["stages"]])
    first = at - max(it.state.age_epochs for it in slots if it.state.stage.live)
    host = HostSignals(
        epoch=at,
        epochs=record["epochs"],
        curves=LearningCurves(validation_losses=tuple(it["loss"] for epoch, it in rows.items() if epoch <= at)),
        twin_validation_loss=row["twin_loss"],
        compute=Compute(**row["compute"]),
    )
    found = account(host, slots, {epoch: loss for epoch, loss in twin.items() if epoch <= at})
    assert found is not None
    ahead = 1 + found.epochs / at
    begun = max(first, min(at / ahead, at / 2))
    known = [twin[epoch] for epoch in sorted(twin) if begun - 1 <= epoch <= at]
    second = [one - 2 * two + three for one, two, three in zip(known, known[1:], known[2:], strict=False)]
    noise = sqrt(sum(it * it for it in second) / (6 * len(second)))
    weight = log(ahead) / log(at / begun)
    return (found.gain - found.price) / (noise * sqrt((1 + weight) ** 2 + 1 + weight**2)), action


def test_a_lower_confidence_bound_would_refuse_where_growing_pays() -> None:
    """The figures in the README: only on fashion-mnist is the gain above the price by more than noise."""
    found = {name: standard_errors(recorded(name)) for name in ("digits", "teacher", "fashion-mnist", "text-60")}
    assert all(action.op in (Op.GERMINATE, Op.FOSSILIZE) for _, action in found.values())
    assert {name: round(errors, 1) for name, (errors, _) in found.items()} == {
        "digits": 0.2,
        "teacher": 0.3,
        "fashion-mnist": 2.4,
        "text-60": 1.4,
    }
    refused, _ = standard_errors(recorded("text-13"))
    assert refused < -5


def judged(record: dict[str, Any]) -> tuple[int, Action]:
    """The first decision for or against growing: a further seed, what is on trial kept, or a cull."""
    return next((epoch, action) for epoch, action in verdicts(record) if epoch > 4 and action.op is not Op.WAIT)


@pytest.mark.parametrize("name", ["digits", "teacher"])
def test_where_growing_paid_at_equal_compute_it_grows_on(name: str) -> None:
    record = recorded(name)
    gain = record["gain_at_equal_compute"]
    assert gain["mean"] > 2 * gain["standard_error"]
    _, action = judged(record)
    assert action.op is Op.GERMINATE
    assert "growing pays" in action.reason


def test_what_has_grown_is_kept_where_it_paid_at_equal_compute() -> None:
    record = recorded("fashion-mnist")
    assert record["gain_at_equal_compute"]["mean"] > 2 * record["gain_at_equal_compute"]["standard_error"]
    assert judged(record)[1].op is Op.FOSSILIZE


def test_text_for_60_bytes_a_parameter_keeps_what_has_grown() -> None:
    """A GPT of one layer and width 32: at 75 % of the run the gain is above the price, and the seed is kept."""
    record = recorded("text-60")
    gain = record["gain_at_equal_compute"]
    assert gain["mean"] > 2 * gain["standard_error"]
    epoch, action = judged(record)
    assert (epoch, action.op) == (12, Op.FOSSILIZE)


def test_text_for_13_bytes_a_parameter_is_refused() -> None:
    """Two layers of width 32 are short of training: the gain is far below the price as long as the trial goes on."""
    record = recorded("text-13")
    epoch, action = judged(record)
    assert (epoch, action.op) == (12, Op.CULL)
    assert "growing does not pay" in action.reason


def test_judged_too_early_both_would_be_refused() -> None:
    """Seeds go on learning: until 75 % of the run a trial that does not pay yet is not given up."""
    for name in ("text-60", "text-13"):
        early = [action for epoch, action in verdicts(recorded(name), refuse_from=0.4) if epoch == 9]
        assert [it.op for it in early] == [Op.CULL]
