"""A bandit over blueprints that learns from rounds on real hosts, as a program that can be killed and go on.

``python bandit.py FOLDER [--kill ROUND EPOCH]`` runs what is left of three rounds, with a checkpoint after each epoch,
and writes the weights of the policy and the events to FOLDER.
"""

import importlib.util
import os
import sys
from pathlib import Path

import torch
from attrs import define, evolve, field
from safetensors.torch import save_file

from esper_app.execution.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.executors import Plan
from esper_core.leyline.learning import Decision, PolicyState
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import Blend
from esper_core.simic.rewards import WeightedTerm
from esper_core.simic.rollout import Rollout
from esper_core.simic.rounds import StagedRound, round_seed, run_rounds
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy
from esper_core.tolaria.host import GrowingHost
from esper_executor_serial.executor import SerialExecutor

EPOCHS, ROUNDS, HOSTS = 4, 3, 2
ARMS = ("tanh", "random")
CAPABILITIES = frozenset({"stateful", "recurrent", "learns"})


class Bandit:
    """Germinates one blueprint per host, at first at random, then the one whose steps were worth more."""

    rounds = ROUNDS

    def __init__(self):
        self.worth = torch.zeros(len(ARMS))
        self.tried = torch.zeros(len(ARMS), dtype=torch.int64)
        self.draws = torch.Generator().manual_seed(5)
        self.arm = {}

    def reset(self, begun):
        self.arm = dict.fromkeys(begun.hosts)

    def decide(self, situations):
        return [self._decide(situation) for situation in situations]

    def _decide(self, situation):
        if situation.observation.host.epoch != 1:
            return Decision(memo={"arm": self.arm[situation.host]})
        arm = int(torch.multinomial(torch.softmax(self.worth, 0), 1, generator=self.draws))
        self.arm[situation.host] = arm
        slot = min(situation.masks.slots_for(Op.GERMINATE))
        action = Action(op=Op.GERMINATE, slot=slot, blueprint=ARMS[arm], blend=Blend.LINEAR)
        return Decision(actions=[action], memo={"arm": arm, "worth": self.worth.clone()})

    def forget(self, host):
        self.arm[host] = None

    def learn(self, trajectories):
        for trajectory in trajectories:
            for step in trajectory.steps:
                if (arm := step.decision.memo["arm"]) is not None:
                    self.tried[arm] += 1
                    self.worth[arm] += (step.reward.total - self.worth[arm]) / self.tried[arm]
        return {f"worth of {name}": value for name, value in zip(ARMS, self.worth.tolist(), strict=True)}

    def state(self):
        tensors = {"worth": self.worth.clone(), "tried": self.tried.clone(), "draws": self.draws.get_state()}
        return PolicyState(tensors=tensors, record={"arm": self.arm})

    def restore(self, state):
        self.worth, self.tried = state.tensors["worth"], state.tensors["tried"]
        self.draws.set_state(state.tensors["draws"])
        self.arm = dict(state.record["arm"])


class Fall:
    """A reward term: the fall of the validation loss, within one nat, at the run's discount."""

    def value(self, step):
        if step.before is None:
            return 0.0
        return max(-1.0, min(1.0, step.before.validation.loss - step.gamma * step.after.validation.loss))


@define
class Around:
    """Where events go."""

    events: list = field(factory=list)
    stop_after: float = float("inf")

    def emit(self, event):
        self.events.append(event)

    def epoch_end(self, host, evidence):
        pass

    def seed_transition(self, host, transition):
        pass

    def should_stop(self):
        return len(self.events) > self.stop_after


@define
class Training:
    """Rounds under a bandit, with checkpoints in a folder."""

    folder: Path
    plan: object
    around: Around = field(factory=Around)
    policy: Policy = field(factory=lambda: Policy(actor=Bandit(), name="bandit", capabilities=CAPABILITIES))
    kill: tuple = ()
    earlier: list = field(factory=list)
    hosts: dict = field(factory=dict)

    def make_round(self, number):
        seed = round_seed(self.plan.seed, number)

        def rollout(names, policy, terms):
            def build(plan):
                self.hosts[plan.name] = GrowingHost(evolve(self.plan, name=plan.name, epochs=EPOCHS, seed=plan.seed))
                return self.hosts[plan.name]

            return Rollout(
                SerialExecutor(None, build),
                policy,
                plans=[Plan(name=name, seed=seed, config={}) for name in names],
                epochs=EPOCHS,
                random_guess_loss=1.386,
                services=self.around,
                terms=terms,
                gamma=0.9,
                number=number,
            )

        terms = [WeightedTerm(name="fall", term=Fall(), weight=1.0, low=-1.0, high=1.0)]
        return StagedRound(
            number=number,
            rollout=rollout([f"grown{index}" for index in range(HOSTS)], self.policy, terms),
            twin=rollout(["twin"], Policy(actor=NullActor()), ()),
            epochs=EPOCHS,
        )

    def save(self, staged, epoch):
        rollouts = {"grown": staged.rollout, "twin": staged.twin}
        checkpoint = Checkpoint(
            epoch=epoch + 1,
            round=staged.number,
            hosts={
                report.host: state
                for rollout in rollouts.values()
                for report, state in zip(rollout.reports, rollout.capture(), strict=True)
            },
            loop={name: rollout.state() for name, rollout in rollouts.items()},
            policies={"grown": self.policy.state()},
            sequence=len(self.earlier) + len(self.around.events),
            healthy=True,
            sinks={},
        )
        save_checkpoint(self.folder / "checkpoints", checkpoint, keep=1)
        self.write_events()
        if self.kill == (staged.number, epoch):
            os._exit(9)

    def restored(self):
        """The round of the newest checkpoint; None without one."""
        newest = newest_checkpoint(self.folder / "checkpoints")
        if newest is None:
            return None
        checkpoint = load_checkpoint(newest)
        self.earlier = (self.folder / "events.jsonl").read_text().splitlines()[: checkpoint.sequence]
        staged = self.make_round(checkpoint.round)
        for name, rollout in (("grown", staged.rollout), ("twin", staged.twin)):
            hosts = [checkpoint.hosts[report.host] for report in rollout.reports]
            rollout.restore(hosts, checkpoint.loop[name], checkpoint.policies.get(name))
        return staged

    def write_events(self):
        lines = [*self.earlier, *(to_json(event) for event in self.around.events)]
        (self.folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def run(self):
        begun = self.restored()
        outcomes = run_rounds(self.make_round, self.policy, self.around, begun=begun, after_epoch=self.save)
        self.write_events()
        save_file(self.policy.state().tensors, self.folder / "policy.safetensors")
        return outcomes


def small_plan():
    """The plan of the small host that tolaria's tests grow."""
    path = Path(__file__).parents[1] / "tolaria" / "conftest.py"
    spec = importlib.util.spec_from_file_location("esper_small_plan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_plan()


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *kill = sys.argv[1:]
    Training(folder=Path(folder), plan=small_plan(), kill=tuple(map(int, kill[1:]))).run()
