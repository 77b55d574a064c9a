"""What learning from afar needs: what hosts have lived through, and the policies that come of it."""

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from esper_core.leyline.learning import Trajectory
from esper_core.leyline.reports import FieldReport


@frozen(kw_only=True)
class FieldReportPacket:
    """What there is to learn from one host in one round.

    Attributes:
        id: unique among all packets.
        run: the run's name.
        issued_at: with a time zone.
        seeds: the reports of all seeds that lived in that round, oldest first.
        trajectory: its steps, with what the policy remembered of each; None: nothing learns from this run.
        observation_schema: SHA-256 of the schema by which the policy read its observations, in hexadecimal digits;
            None: it reads them without one.
        part, parts: which part of the trajectory this is, from 0, and how many there are; None: it is whole. One that
            is too large for a message is cut between its steps; all parts have the packet's id, and the first one has
            the seeds.
    """

    id: str
    run: str
    issued_at: datetime
    seeds: tuple[FieldReport, ...] = ()
    trajectory: Trajectory | None = None
    observation_schema: str | None = None
    part: int | None = None
    parts: int | None = None


@frozen(kw_only=True)
class PolicyValidation:
    """How a policy did before it was published.

    Attributes:
        passed: it may be used.
        validated_at: with a time zone.
        trajectories: how many it was tried on.
        mean_reward: of those.
        standard_error: of that mean; None: fewer than two trajectories.
        baseline_reward: the mean reward of what it is to replace, on the same trajectories; None: of nothing.
        metrics: what else was measured.
        failures: why it did not pass, in words; none if it did.
    """

    passed: bool
    validated_at: datetime
    trajectories: int
    mean_reward: float
    standard_error: float | None = None
    baseline_reward: float | None = None
    metrics: Mapping[str, float] = field(factory=dict)
    failures: tuple[str, ...] = ()


@frozen(kw_only=True)
class PolicyUpdate:
    """A policy that replaces another one.

    Attributes:
        id: unique among all updates.
        policy: name of the component that reads the payload.
        version: of the policy.
        parent: the version that it was trained from; None: it was not trained from another one.
        run: the run whose trajectories it was trained on; None: of several.
        issued_at: with a time zone.
        observation_schema: as in `FieldReportPacket`.
        payload: the saved policy; None: it is in the store, under `artifact_ref`.
        artifact_ref: where it is in the store; None: it is not.
        size: number of bytes of the saved policy.
        checksum: SHA-256 of the saved policy, in hexadecimal digits.
        validation: how it did; None: it was not validated.
        key_id: name of the key that it was signed with; None: it is not signed.
        signature: HMAC-SHA256 of `signed_record_bytes`; None: it is not signed.
        part, parts: which part of the saved policy the payload is, from 0, and how many there are; None: it is whole.
            One that is too large for a message is cut; all parts have the update's id and signature.
    """

    id: str
    policy: str
    version: str
    parent: str | None = None
    run: str | None = None
    issued_at: datetime
    observation_schema: str | None = None
    payload: bytes | None = None
    artifact_ref: str | None = None
    size: int
    checksum: str
    validation: PolicyValidation | None = None
    key_id: str | None = None
    signature: bytes | None = None
    part: int | None = None
    parts: int | None = None
