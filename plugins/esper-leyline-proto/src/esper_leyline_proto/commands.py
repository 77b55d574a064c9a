"""What is asked of hosts, and what cannot wait."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum

from attrs import field, frozen

from esper_core.leyline.actions import Action, Verdict


class CommandType(IntEnum):
    """What a command is about."""

    SEED = 1


@frozen(kw_only=True)
class AdaptationCommand:
    """What was asked of a host, and what the governor said to it.

    Attributes:
        type: what it is about.
        run: the run's name.
        host: its name in the run.
        round: number of the round, from 0.
        epoch: the epoch before which it takes effect, from 0.
        issued_at: with a time zone.
        action: what was asked, with its id.
        verdict: the governor's answer; None: it has not answered yet.
    """

    type: CommandType = CommandType.SEED
    run: str
    host: str
    round: int
    epoch: int
    issued_at: datetime
    action: Action
    verdict: Verdict | None = None


class EmergencyLevel(IntEnum):
    """What is to be done at once."""

    NOTICE = 1
    ELEVATED = 2
    CONSERVATIVE = 3
    HALT = 4


@frozen(kw_only=True)
class EmergencySignal:
    """Something that cannot wait.

    Attributes:
        id: unique among all signals.
        level: what is to be done.
        reason: what has happened, in words.
        origin: the part of Esper that saw it.
        triggered_at: with a time zone.
        run: the run's name; None: it is about no run in particular.
        attributes: what else there is to say.
    """

    id: str
    level: EmergencyLevel
    reason: str
    origin: str
    triggered_at: datetime
    run: str | None = None
    attributes: Mapping[str, str] = field(factory=dict)
