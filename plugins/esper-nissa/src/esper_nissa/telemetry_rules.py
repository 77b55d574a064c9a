"""How much telemetry a run has: a level, more of it for a while after an anomaly, and a limit."""

from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen, validators

from esper_core.leyline.events import Level

if TYPE_CHECKING:
    from attrs import Attribute

_COUNT = validators.and_(validators.instance_of(int), validators.ge(0))

#: What an anomaly can add to.
ESCALATED_FROM = frozenset({Level.MINIMAL, Level.NORMAL})

#: After an anomaly, this many epochs are told in full.
ESCALATION_EPOCHS = 5

#: A log of so many events has about 1 GB.
MAX_EVENTS = 1_000_000


def _leaves_out(rules: "TelemetryRules") -> bool:
    """Whether a limit has anything to leave out."""
    return rules.level > Level.MINIMAL or rules.escalation_epochs > 0


def _check_escalation(rules: "TelemetryRules", attribute: "Attribute[int]", value: int) -> None:
    if value and rules.level not in ESCALATED_FROM:
        level = rules.level.name.lower()
        raise ValueError(f"'{attribute.name}' must be 0: at the level {level} an anomaly adds no events")


def _check_limit(rules: "TelemetryRules", attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None and not _leaves_out(rules):
        level = rules.level.name.lower()
        raise ValueError(f"'{attribute.name}' must be none: no event of the level {level} may be left out")


@frozen(kw_only=True)
class TelemetryRules:
    """How much telemetry a run has.

    Attributes:
        level: ``off``, nothing; ``minimal``, seeds' changes of stage, what became of seeds, rounds and the run,
            interventions and notices; ``normal``, also epochs, decisions, rewards and diagnoses; ``debug``, also gates.
        escalation_epochs: after an anomaly the level is `debug` to the end of the epoch and for this many epochs more;
            0: the level stays, as it does at `off` and `debug`. An anomaly is an intervention of the governor, a
            rollback, or what a policy that learns calls one.
        max_events: after so many events only those go to the sinks that `minimal` tells, and the others are counted;
            none: there is no limit.
    """

    level: Level = Level.NORMAL
    escalation_epochs: int = field(
        default=Factory(lambda it: ESCALATION_EPOCHS if it.level in ESCALATED_FROM else 0, takes_self=True),
        validator=[_COUNT, _check_escalation],
    )
    max_events: int | None = field(
        default=Factory(lambda it: MAX_EVENTS if _leaves_out(it) else None, takes_self=True),
        validator=[validators.optional(_COUNT), _check_limit],
    )
