"""What the replay store says of reports, and of learning from them."""

from attrs import frozen

from esper_leyline_proto.learning import FieldReportPacket
from esper_simic.sampling import Numbers


@frozen(kw_only=True)
class ReportFacts:
    """What tells whether there is something to learn from a report.

    Attributes:
        version: of the policy that decided, as its name in the trajectory begins.
        observation: hash of the schema of observations.
        gamma: the run's discount.
        terms: names of its reward terms, in alphabetical order.
    """

    version: str
    observation: str | None
    gamma: float
    terms: tuple[str, ...]


@frozen(kw_only=True)
class Kept:
    """How many reports there are of one kind, and the mean of their total rewards."""

    facts: ReportFacts
    reports: int
    steps: int
    mean_total_reward: float


@frozen(kw_only=True)
class Refused:
    """How many reports were refused for one reason, and the last one of them."""

    reason: str
    count: int
    last_id: str
    last_at: float


@frozen(kw_only=True)
class Attempt:
    """What came of learning once.

    Attributes:
        at: in seconds since 1970.
        parent: the champion that it began with.
        challenger: the version that came of it; None: of what failed before there was one.
        reports: how many it learned from.
        newest: number of the newest of them.
        outcome: ``published``, ``refused`` or ``failed``.
        why: in words, where it was not published.
    """

    at: float
    parent: str
    challenger: str | None
    reports: int
    newest: int
    outcome: str
    why: str


@frozen(eq=False, kw_only=True)
class Sample:
    """Reports that were drawn by their priorities.

    Attributes:
        ids: of the reports; one may be there more than once.
        packets: with their trajectories.
        weights: importance weights, none above 1.
    """

    ids: tuple[str, ...]
    packets: tuple[FieldReportPacket, ...]
    weights: Numbers
