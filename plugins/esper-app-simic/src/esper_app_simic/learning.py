"""A challenger: the champion after it has learned, by its own learner, from the reports of runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from attrs import evolve, frozen

from esper_app.api import PluginSet, load_policy, rebuild_policy, save_policy
from esper_core.api import EsperError, Policy, PolicyState, Round, Trajectory, plain
from esper_core.specs import Capability
from esper_learning import LearnsReplayed
from esper_leyline_proto.learning import FieldReportPacket
from esper_simic.api import CARD, PackedPolicy, Sample

#: How the names of tensors begin that are no part of what decides: the optimizer's, and memories of hosts.
_BESIDE = ("optimizer/", "hidden/")


@frozen(kw_only=True)
class Challenger:
    """What came of learning.

    Attributes:
        packed: the policy.
        figures: of learning, by name.
        changed: whether it decides by other numbers than the champion.
        priorities: new ones of replayed reports, by id.
    """

    packed: PackedPolicy
    figures: Mapping[str, float]
    changed: bool
    priorities: Mapping[str, float]


def learn(
    card: Path, plugins: PluginSet, window: Sequence[FieldReportPacket], sample: Sample | None = None
) -> Challenger:
    """Let a saved policy learn from reports.

    Args:
        card: the champion's.
        plugins: the loaded plugins.
        window: reports of hosts for which this very version decided.
        sample: reports of versions before it; only for policies that `learn_replayed`.

    Raises:
        EsperError: E638 if the policy does not learn, or not from such a sample; E502 if a report does not fit it, and
            what keeps it from being built.
    """
    saved = load_policy(card)
    policy = rebuild_policy(saved.card, plugins.registry)
    if Capability.LEARNS not in policy.capabilities:
        fix = "promote a policy that learns, such as ppo"
        raise EsperError("E638", f'the policy "{saved.card.policy}" does not learn', where=str(card), fix=fix)
    policy.restore(saved.state)
    with _one_thread():
        figures = dict(policy.learn([_host_of_its_own(packet, index) for index, packet in enumerate(window)]))
        more, priorities = ({}, {}) if sample is None else learn_from_sample(policy, sample)
    figures |= more
    # Nothing of the hosts that it learned from is kept.
    policy.reset(Round(number=0, hosts=(), epochs=saved.card.epochs))
    state = policy.state()
    assert state is not None  # what learns is stateful
    results = {"figures": plain(figures), "reports": len(window), "replayed": 0 if sample is None else len(sample.ids)}
    described = evolve(saved.card, rounds=saved.card.rounds + 1, results=results)
    with TemporaryDirectory() as name:
        save_policy(Path(name), Path(CARD).stem, described, state)
        packed = PackedPolicy.read(Path(name))
    return Challenger(packed=packed, figures=figures, changed=differs(saved.state, state), priorities=priorities)


def learn_from_sample(policy: Policy, sample: Sample) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Let a policy learn from a sample; return figures, and new priorities by id. Raises EsperError E638."""
    actor = policy.actor
    if not isinstance(actor, LearnsReplayed):
        fix = "leave --replay out: it learns from reports of its own version only"
        raise EsperError("E638", f"{policy.name} does not learn from what other versions decided", fix=fix)
    trajectories = [_host_of_its_own(packet, index) for index, packet in enumerate(sample.packets)]
    figures, priorities = actor.learn_replayed(trajectories, sample.weights.tolist())
    return figures, dict(zip(sample.ids, priorities, strict=True))


def differs(one: PolicyState, other: PolicyState) -> bool:
    """Say whether two states of a policy decide by different numbers."""
    names = [{name for name in it.tensors if not name.startswith(_BESIDE)} for it in (one, other)]
    return names[0] != names[1] or any(not torch.equal(one.tensors[name], other.tensors[name]) for name in names[0])


def _host_of_its_own(packet: FieldReportPacket, index: int) -> Trajectory:
    """Hosts of different runs have the same names; learners tell trajectories apart by them."""
    trajectory = packet.trajectory
    assert trajectory is not None
    return evolve(trajectory, host=f"{packet.id}/{index}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Other numbers of threads give other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
