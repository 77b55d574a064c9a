"""What share of something shall be good, and who is told when too little is."""

from collections.abc import Iterator

from attrs import field, frozen

from esper_alerts.alerts import Alert
from esper_alerts.recordings import Recording

_IN_WORDS = {"5m": "5 minutes", "30m": "30 minutes", "1h": "1 hour", "6h": "6 hours", "3d": "3 days"}

#: Windows over which an objective's errors are recorded.
WINDOWS = ("5m", "30m", "1h", "6h", "3d")


@frozen(kw_only=True)
class Objective:
    """What share of something shall be good, over 30 days (a service level objective).

    Attributes:
        name: its name.
        target: the share, 0 to 1. An alert at 14.4 times the error budget must be possible, so at least 0.94.
        bad: PromQL of a counter of what was bad; ``$window`` stands for a range of time.
        total: the same of all.
        meaning: in words.
    """

    name: str
    target: float = field()
    bad: str
    total: str
    meaning: str

    @target.validator
    def _check(self, _: object, target: float) -> None:
        if not 0 < BURNS[0].factor * (1 - target) < 1:
            raise ValueError(f"with the target {target} the fastest alert could never fire, or the budget is empty")


@frozen(kw_only=True)
class Burn:
    """How fast an error budget may be used up before somebody is told (Beyer et al., 2018, chapter 5).

    Attributes:
        name: what it is called in an alert's name.
        factor: 1 uses up the budget in 30 days.
        long: the window that is looked at.
        short: a shorter one, so that the alert clears soon after its cause.
        severity: of the alert.
    """

    name: str
    factor: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(name="Fast", factor=14.4, long="1h", short="5m", severity="page"),
    Burn(name="Slow", factor=6.0, long="6h", short="30m", severity="ticket"),
    Burn(name="Steady", factor=1.0, long="3d", short="6h", severity="ticket"),
)

OBJECTIVES = (
    Objective(
        name="epochs-steady",
        target=0.95,
        bad="rate(esper_epochs_slow_total[$window])",
        total="rate(esper_epochs_total[$window])",
        meaning="epochs that took less than twice the median of those before",
    ),
    Objective(
        name="losses-finite",
        target=0.999,
        bad='rate(esper_losses_total{finite="no"}[$window])',
        total="rate(esper_losses_total[$window])",
        meaning="measured losses that are finite numbers",
    ),
    Objective(
        name="events-fresh",
        target=0.99,
        bad=(
            "rate(esper_event_lag_seconds_count[$window]) - ignoring (le) "
            'rate(esper_event_lag_seconds_bucket{le="5.0"}[$window])'
        ),
        total="rate(esper_event_lag_seconds_count[$window])",
        meaning="events that are counted within 5 seconds",
    ),
    Objective(
        name="decisions-allowed",
        target=0.95,
        bad="rate(esper_actions_denied_total[$window])",
        total="rate(esper_actions_total[$window])",
        meaning="decisions that the governor allows",
    ),
    Objective(
        name="growth-harmless",
        target=0.95,
        bad="rate(esper_epochs_behind_total[$window])",
        total="rate(esper_epochs_compared_total[$window])",
        meaning="compared epochs in which the network is not worse than its twin, with 95 % confidence",
    ),
)


def objective_recordings() -> Iterator[Recording]:
    """Yield the share of errors of every objective over every window."""
    for it in OBJECTIVES:
        for window in WINDOWS:
            bad, total = (text.replace("$window", window) for text in (it.bad, it.total))
            yield Recording(
                name=f"esper:slo_errors:ratio_rate{window}",
                expression=f"sum by (run) ({bad}) / (sum by (run) ({total}) > 0)",
                labels=(("slo", it.name),),
            )


def objective_alerts() -> Iterator[Alert]:
    """Yield an alert for every objective and every speed at which its error budget is used up."""
    for it in OBJECTIVES:
        for burn in BURNS:
            limit = f"{burn.factor * (1 - it.target):.6g}"
            windows = [f'esper:slo_errors:ratio_rate{w}{{slo="{it.name}"}} > {limit}' for w in (burn.long, burn.short)]
            yield Alert(
                name=f"EsperSlo{''.join(part.title() for part in it.name.split('-'))}{burn.name}",
                expression=" and ".join(windows),
                lasting="0s",
                severity=burn.severity,
                when=(
                    f"more than {100 * burn.factor * (1 - it.target):.3g} % of what the objective is about is not "
                    f"good over {_IN_WORDS[burn.long]} and over {_IN_WORDS[burn.short]}"
                ),
                summary=f"{{{{ $labels.run }}}}: {it.name} uses up its error budget {burn.factor:g} times too fast",
                advice=f"The objective is {100 * it.target:g} % of {it.meaning}.",
            )
