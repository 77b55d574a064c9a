"""PPO learns from two rounds on digits, with a reward of the standard terms, assembled as a run is."""

from typing import Any

import pytest
from attrs import evolve

from esper_app.api import load_plugins, resolve_run
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.host_builder import RunHostBuilder
from esper_core.leyline.events import Event, EventKind
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import Outcome
from esper_core.simic.rollout import Rollout
from esper_core.simic.rounds import StagedRound, round_seed, run_rounds
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy
from esper_rewards_standard.presets import PRESETS, preset

EPOCHS, HOSTS, ROUNDS = 8, 2, 2


class Events(list[Event]):
    """Where events go."""

    def emit(self, event: Event) -> None:
        self.append(event)

    def epoch_end(self, host: str, evidence: Any) -> None:
        pass

    def seed_transition(self, host: str, transition: Any) -> None:
        pass

    def should_stop(self) -> bool:
        return False


def trained(plugins: PluginSet) -> tuple[Policy, Events, list[Outcome]]:
    settings = {
        "epochs": EPOCHS,
        "host.widths": [4, 4],
        "policy.name": "ppo",
        "policy.rounds": ROUNDS,
        "policy.hidden": 32,
        "rewards.terms": preset("shaped"),
    }
    assembly = assemble(resolve_run("digits", plugins, settings=settings).config, plugins)
    policy, events, build = assembly.policy(), Events(), RunHostBuilder.of(plugins, assembly)

    def rollout(names: list[str], policy: Policy, number: int, assembly: Assembly = assembly) -> Rollout:
        seed = round_seed(assembly.config.seed, number)
        return Rollout(
            assembly.executor(build),
            policy,
            plans=[evolve(assembly.plan(name), seed=seed) for name in names],
            epochs=EPOCHS,
            random_guess_loss=assembly.task.random_guess_loss,
            services=events,
            terms=assembly.terms if policy.rounds > 1 else (),
            gamma=assembly.config.rewards.gamma,
            number=number,
        )

    def make_round(number: int) -> StagedRound:
        hosts = [f"grown{index}" for index in range(HOSTS)]
        twin = rollout(["twin"], Policy(actor=NullActor(), name="null"), number)
        return StagedRound(number=number, rollout=rollout(hosts, policy, number), twin=twin, epochs=EPOCHS)

    return policy, events, run_rounds(make_round, policy, events)


@pytest.mark.slow
def test_two_rounds_on_digits_teach_it_something_and_the_same_thing_again() -> None:
    plugins = load_plugins()
    policy, events, outcomes = trained(plugins)

    assert len(outcomes) == ROUNDS
    assert {final.failure for outcome in outcomes for final in outcome.finals} == {None}
    figures = [event.data["figures"] for event in events if event.kind is EventKind.ROUND_FINISHED]
    assert [it["steps"] for it in figures] == [EPOCHS * HOSTS] * ROUNDS
    assert all(it["optimizer steps"] > 0 for it in figures)
    assert not any(value for it in figures for name, value in it.items() if name.startswith("anomaly"))
    rewarded = [event.data["terms"] for event in events if event.kind is EventKind.REWARD_COMPUTED]
    assert len(rewarded) == EPOCHS * HOSTS * ROUNDS
    assert set(rewarded[0]) == set(PRESETS["shaped"])
    assert [event.data for event in events if event.kind is EventKind.ACTION_DENIED] == []

    again, _, _ = trained(plugins)
    one, two = policy.state(), again.state()
    assert one is not None
    assert two is not None
    assert all(tensor.equal(two.tensors[name]) for name, tensor in one.tensors.items())
