"""Taking reports in: whole or in parts, each once, and what nothing can be learned from by name."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from math import isfinite

from esper_core.leyline.learning import Ended, Trajectory
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.learning import FieldReportPacket
from esper_simic.packing import PolicyFacts
from esper_simic.replay_records import Kept, ReportFacts
from esper_simic.replay_store import ReplayStore

#: Makes one packet of its parts; None as long as one is missing.
Join = Callable[[Iterable[FieldReportPacket]], FieldReportPacket | None]


class Reason(StrEnum):
    """Why nothing is learned from a report.

    The first ones are found when it comes: there is no trajectory in it, or one without an end or a reward, with other
    discounts or terms from step to step, or with a reward that is not a finite number. It is not kept.

    The others are of reports that are kept: somebody has trained the policy further before it decided; no policy of the
    store decided; another version than the champion did; its observations or its rewards are of another kind.
    """

    NO_TRAJECTORY = "no-trajectory"
    NO_END = "no-end"
    NO_REWARD = "no-reward"
    MIXED_REWARDS = "mixed-rewards"
    NOT_FINITE = "not-finite"
    LEARNED_SINCE = "learned-since"
    UNKNOWN_POLICY = "unknown-policy"
    OFF_POLICY = "off-policy"
    OTHER_SCHEMA = "other-schema"
    OTHER_REWARDS = "other-rewards"


class Intake:
    """Takes reports from a bus into the replay store. What it returns from is stored, and can be acknowledged.

    Args:
        store: where they are kept.
        join: `esper_messaging.reading.joined`.
    """

    def __init__(self, store: ReplayStore, join: Join) -> None:
        self._store, self._join = store, join

    def take(self, packet: FieldReportPacket, envelope: Envelope | None = None) -> None:
        """Keep a report, or a part of one; one that is there already is left.

        Raises:
            EsperError: E635 if it cannot be stored.
            ValueError: if parts of one id do not belong together.
        """
        whole: FieldReportPacket | None = packet
        if packet.part is not None:
            whole = self._join(parts) if (parts := self._store.put_part(packet)) else None
        if whole is None:
            return
        found = report_facts(whole)
        if isinstance(found, Reason):
            self._store.refuse(whole.id, found)
        else:
            self._store.put(whole, found)


def report_facts(packet: FieldReportPacket) -> ReportFacts | Reason:
    """Return what is to be known of a whole report, or why nothing can be learned from it."""
    if (trajectory := packet.trajectory) is None or not trajectory.steps:
        return Reason.NO_TRAJECTORY
    if trajectory.steps[-1].ended is Ended.NONE:
        return Reason.NO_END
    rewards = [step.reward for step in trajectory.steps]
    if any(it is None for it in rewards):
        return Reason.NO_REWARD
    kinds = {(step.gamma, tuple(sorted(it.terms))) for step, it in zip(trajectory.steps, rewards, strict=True) if it}
    if len(kinds) != 1:
        return Reason.MIXED_REWARDS
    if not all(isfinite(value) for it in rewards if it for value in it.terms.values()):
        return Reason.NOT_FINITE
    ((gamma, terms),) = kinds
    return ReportFacts(version=_version(trajectory), observation=packet.observation_schema, gamma=gamma, terms=terms)


def unused(kept: Kept, champion: str, facts: PolicyFacts, chain: Sequence[str]) -> Reason | None:
    """Return why the champion does not learn from reports of one kind; None if it does.

    Args:
        kept: the reports.
        champion: the version that learns.
        facts: of it.
        chain: it and the versions that it was trained from.
    """
    version = kept.facts.version
    if "+" in version:
        return Reason.LEARNED_SINCE
    if version not in chain:
        return Reason.UNKNOWN_POLICY
    if kept.facts.observation != facts.observation:
        return Reason.OTHER_SCHEMA
    if (kept.facts.gamma, kept.facts.terms) != (facts.gamma, facts.terms):
        return Reason.OTHER_REWARDS
    return None if version == champion else Reason.OFF_POLICY


def _version(trajectory: Trajectory) -> str:
    """The name of a policy in the record is its version, and behind it in brackets the plugin that it comes from."""
    return trajectory.policy.partition(" ")[0]
