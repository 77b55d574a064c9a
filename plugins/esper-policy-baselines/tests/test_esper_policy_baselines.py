"""What the two policies do where everything is possible, and a run under each of them."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    HostSignals,
    Layout,
    Observation,
    Op,
    Round,
    Situation,
)
from esper_policy_baselines.config import RandomConfig
from esper_policy_baselines.policies import RandomActor, never

CATALOGUE = Catalogue(
    tuple(CatalogueEntry(name=name, layouts=frozenset({Layout.NCHW})) for name in ("conv", "norm", "other"))
)
ANYTHING = ActionMasks(
    slots=("a", "b", "c"),
    blueprints=CATALOGUE.names,
    germinate={"a": frozenset({"conv", "norm"}), "b": frozenset({"other"})},
    cull=frozenset({"c"}),
)
FULL = ActionMasks(slots=("c",), blueprints=CATALOGUE.names, germinate={}, cull=frozenset({"c"}))


def situation(epoch: int, epochs: int, masks: ActionMasks = ANYTHING, host: str = "h") -> Situation:
    return Situation(
        host=host, observation=Observation(host=HostSignals(epoch=epoch, epochs=epochs), slots=()), masks=masks
    )


def drawn(masks: ActionMasks, epochs: int = 2000, number: int = 0, **options: float) -> list[Action]:
    actor = RandomActor(RandomConfig(**options), CATALOGUE)
    actor.reset(Round(number=number, hosts=("h",), epochs=epochs))
    decisions = [actor.decide([situation(epoch, epochs, masks)])[0] for epoch in range(epochs)]
    return [decision.actions[0] for decision in decisions]


def shares(actions: list[Action]) -> dict[Op, float]:
    counts = Counter(action.op for action in actions)
    return {op: counts[op] / len(actions) for op in Op}


@pytest.mark.parametrize("germination", [0.0, 0.1, 0.9, 1.0])
def test_it_germinates_as_often_as_it_is_told(germination: float) -> None:
    found = shares(drawn(ANYTHING, germination=germination))
    assert found[Op.GERMINATE] == pytest.approx(germination, abs=0.04)
    assert found[Op.WAIT] == pytest.approx((1 - germination) / 2, abs=0.04)
    assert found[Op.CULL] == pytest.approx((1 - germination) / 2, abs=0.04)


def test_untold_it_germinates_as_often_as_anything_else() -> None:
    found = shares(drawn(ANYTHING))
    assert [found[op] for op in (Op.WAIT, Op.GERMINATE, Op.CULL)] == pytest.approx([1 / 3] * 3, abs=0.04)


@pytest.mark.parametrize("germination", [None, 0.0, 1.0])
def test_where_nothing_can_be_germinated_the_rest_is_even(germination: float | None) -> None:
    found = shares(drawn(FULL, germination=germination))
    assert found[Op.WAIT] == pytest.approx(0.5, abs=0.04)
    assert found[Op.GERMINATE] == 0


def test_another_seed_draws_something_else() -> None:
    assert drawn(ANYTHING, 50, seed=1) == drawn(ANYTHING, 50, seed=1) != drawn(ANYTHING, 50, seed=2)


def test_every_round_draws_something_else_and_can_be_gone_on_with() -> None:
    assert drawn(ANYTHING, 50, number=3) == drawn(ANYTHING, 50, number=3) != drawn(ANYTHING, 50)


def test_null_waits_where_everything_is_possible() -> None:
    actor = never(None, CATALOGUE)
    actor.reset(Round(hosts=("h", "i"), epochs=9))
    decisions = actor.decide([situation(3, 9), situation(3, 9, host="i")])
    assert [decision.actions for decision in decisions] == [(), ()]


@pytest.mark.parametrize("options", [{"germination": 1.5}, {"germination": -0.1}, {"seed": 0.5}])
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        RandomConfig(**options)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "germinates"), [("null", False), ("random", True)])
def test_a_run_is_under_the_policy_that_it_names(policy: str, germinates: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "esper_app.cli", "run", "digits", "--policy", policy, "--set", "epochs=4"]
    command += ["--set", "twin=epochs"]
    command += ["--set", "policy.germination=1.0"] if policy == "random" else []
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    found = json.loads((tmp_path / "runs/digits-1/result.json").read_text(encoding="utf-8"))
    assert bool(found["seeds"]) is germinates
    if policy == "null":
        assert found["difference"]["test_accuracy"] == found["difference"]["test_loss"] == 0.0
