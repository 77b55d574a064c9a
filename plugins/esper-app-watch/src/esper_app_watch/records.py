"""What the screen shows, as records."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from esper_core.api import GovernorMode
from esper_runs.result import is_twin
from esper_runs.tables import Table
from esper_runs.timeline import TimelineEvent

#: The figures of a policy's learning that are drawn first, in this order; `esper train` calls them so.
HEALTH = ("entropy", "kl", "value loss", "explained variance", "clipped share", "mean value", "mean reward")

#: A figure that begins so is 1 where the policy's learning went wrong in this way.
ANOMALY = "anomaly: "


@frozen(kw_only=True)
class ShownSlot:
    """One slot.

    Attributes:
        slot: its name.
        stage: the name of its stage.
        seed_id, blueprint, alpha, parameters, epochs_in_stage: of its seed, as last measured; None without one.
        contribution: the loss without the seed minus the loss with it: ``mean``, ``standard_error``; None if it was not
            measured.
    """

    slot: str
    stage: str
    seed_id: str | None = None
    blueprint: str | None = None
    alpha: float | None = None
    parameters: int | None = None
    epochs_in_stage: int | None = None
    contribution: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class ShownHost:
    """One host, growing or a twin.

    Attributes:
        name: its name.
        twin: the name of its twin; None if it has none, or is one.
        epochs: how many epochs of the present round it has completed.
        figures: every number of its last epoch, by the names of `esper_runs.metrics`.
        slots: in site order.
        curves: values by epoch, by the names of `state.CURVES`.
        stages: ``epoch``, ``slots`` and ``seeds`` of the epochs that are drawn, oldest first.
        mode, why: the governor's mode, and its reason.
        rewards: ``epoch``, ``terms`` and ``total`` of the newest epochs.
        findings: numbers that diagnostics found last.
    """

    name: str
    twin: str | None
    epochs: int
    figures: Mapping[str, float]
    slots: tuple[ShownSlot, ...] = ()
    curves: Mapping[str, Mapping[int, float]] = field(factory=dict)
    stages: tuple[Mapping[str, Any], ...] = ()
    mode: str = GovernorMode.NORMAL
    why: str = ""
    rewards: tuple[Mapping[str, Any], ...] = ()
    findings: Mapping[str, float] = field(factory=dict)


@frozen(kw_only=True)
class ShownRound:
    """What a policy learned from a round: its number from 0, figures by name, and the return of each host."""

    number: int
    figures: Mapping[str, float]
    returns: Mapping[str, float]

    @property
    def anomalies(self) -> tuple[str, ...]:
        """What went wrong."""
        return tuple(name.removeprefix(ANOMALY) for name, value in self.figures.items() if _is_anomaly(name, value))


@frozen(kw_only=True)
class Shown:
    """One run.

    Attributes:
        name, title, directory: the run's name, what ran, and where it is.
        outcome: as in a run record.
        epochs_done, planned_epochs: of the present round.
        round, planned_rounds: the present round, from 0; None where there is one round only.
        seconds_left: about how long the rest takes; None if that is not known or there is none.
        hosts: by name, in order of appearance.
        seeds: the field reports, as in a run record; of the newest seeds.
        gates: each gate of each seed, as in a report.
        rounds: what the policy learned from the newest rounds.
        result: the result that stands; None for a run that is not over.
        verdict: what is said about it, in paragraphs.
        events: how many events there are.
        decisions, notes: what the policy decided, and what the governor did, plugins that failed, and notices; the
            newest, oldest first.
        last_event: seconds since 1970 of the last event.
        problems: what is wrong with the run's files, or missing from them; errors begin with their codes.
        reading: how many bytes of the log are still to be read.
    """

    name: str
    title: str
    directory: str
    outcome: str
    epochs_done: int
    planned_epochs: int | None
    round: int | None
    planned_rounds: int | None
    seconds_left: float | None
    hosts: Mapping[str, ShownHost]
    seeds: tuple[Mapping[str, Any], ...]
    gates: Table
    rounds: tuple[ShownRound, ...]
    result: Mapping[str, Any] | None
    verdict: tuple[str, ...]
    decisions: tuple[TimelineEvent, ...]
    notes: tuple[TimelineEvent, ...]
    events: int
    last_event: float | None
    problems: tuple[str, ...]
    reading: int

    @property
    def growing(self) -> tuple[str, ...]:
        """The hosts that may grow."""
        return tuple(name for name in self.hosts if not is_twin(name))

    @property
    def several(self) -> bool:
        """Several hosts grow."""
        return len(self.growing) > 1


def _is_anomaly(name: str, value: float) -> bool:
    return name.startswith(ANOMALY) and value != 0
