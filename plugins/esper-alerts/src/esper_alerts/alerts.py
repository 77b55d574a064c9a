"""What a person should look at in a run, in terms of its metrics."""

import re
from collections.abc import Mapping

from attrs import frozen

_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


@frozen(kw_only=True)
class Alert:
    """Something that a person should look at.

    Attributes:
        name: its name.
        expression: PromQL; it has a result while there is something to look at.
        lasting: for how long, until the alert fires; "0s": at once.
        severity: ``page`` (at once), ``ticket`` (today) or ``info``.
        when: the expression and how long it must last, in words.
        summary: what is the matter, in which ``{{ $labels.run }}`` and so on are filled in.
        advice: what to look at.
    """

    name: str
    expression: str
    lasting: str
    severity: str
    when: str
    summary: str
    advice: str

    def summary_of(self, labels: Mapping[str, str]) -> str:
        """Return what is the matter, with labels filled in; one that is missing is empty, as in Prometheus."""
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.summary)


def _rises(counter: str, window: str) -> str:
    """A counter has gone up; one that Prometheus sees for the first time has gone up to what it is."""
    return f"increase({counter}[{window}]) > 0 or ({counter} > 0 unless {counter} offset {window})"


_LOOK = "`esper events search RUN --kind"

ALERTS = (
    Alert(
        name="EsperEvidenceMissing",
        expression="esper_seeds_measured / (esper_seeds_contributing > 0) < 0.7",
        lasting="5m",
        severity="ticket",
        when=(
            "the contribution of fewer than 70 % of the seeds that are a part of the network is measured, for 5 minutes"
        ),
        summary="{{ $labels.run }}/{{ $labels.host }}: contributions of few seeds are measured",
        advice="Gates cannot pass without evidence: look at the evaluator's options.",
    ),
    Alert(
        name="EsperEpochSlow",
        expression="increase(esper_epochs_slow_total[5m]) > 2",
        lasting="0s",
        severity="ticket",
        when="more than 2 epochs in 5 minutes took over twice the median of the 20 before",
        summary="{{ $labels.run }}/{{ $labels.host }}: several epochs took twice as long as those before",
        advice="Look at the machine's load, and at blueprints that were just grafted.",
    ),
    Alert(
        name="EsperPluginFailing",
        expression=_rises("esper_plugin_failures_total", "5m"),
        lasting="0s",
        severity="ticket",
        when="a sink, an observer or a diagnostic failed in the last 5 minutes",
        summary="{{ $labels.run }}: a plugin's {{ $labels.place }} fails",
        advice=f"{_LOOK} plugin_failed` says which, and with what error.",
    ),
    Alert(
        name="EsperMeasuringCostly",
        expression=(
            "increase(esper_compute_counterfactuals_flops_total[15m]) > "
            "increase(esper_compute_training_flops_total[15m])"
        ),
        lasting="5m",
        severity="info",
        when="in 15 minutes, more FLOPs go into counterfactuals than into training, for 5 minutes",
        summary="{{ $labels.run }}/{{ $labels.host }}: counterfactuals cost more than training",
        advice="Measure on fewer samples, or less often.",
    ),
    Alert(
        name="EsperIsolationViolated",
        expression=_rises("esper_isolation_violations_total", "5m"),
        lasting="0s",
        severity="page",
        when="a seed that is isolated was found to change its host in the last 5 minutes",
        summary="{{ $labels.run }}/{{ $labels.host }}: an isolated seed changes its host",
        advice="A blueprint or the incubation is at fault: `esper events search RUN --where seeds.isolated=false`.",
    ),
    Alert(
        name="EsperEventsLate",
        expression="esper:event_lag_seconds:p95_5m > 5",
        lasting="2m",
        severity="ticket",
        when="of the events of 5 minutes, more than 5 % wait for more than 5 seconds, for 2 minutes",
        summary="{{ $labels.run }}: events wait for more than 5 seconds",
        advice="The queue before the sink grows: look at the machine's load.",
    ),
    Alert(
        name="EsperSeedUnsafe",
        expression=_rises('esper_seeds_culled_total{cause="safety"}', "5m"),
        lasting="0s",
        severity="ticket",
        when="a seed was culled for safety in the last 5 minutes",
        summary="{{ $labels.run }}/{{ $labels.host }}: a seed was culled for safety",
        advice=f"{_LOOK} seed_transition --where cause=safety` says why.",
    ),
    Alert(
        name="EsperGovernorStopped",
        expression="esper_governor_mode == 2",
        lasting="0s",
        severity="page",
        when="the governor's mode is stopped",
        summary="{{ $labels.run }}/{{ $labels.host }}: the governor has stopped the training",
        advice=f"{_LOOK} governor_intervened` says why.",
    ),
    Alert(
        name="EsperGovernorConservative",
        expression="esper_governor_mode == 1",
        lasting="1m",
        severity="ticket",
        when="the governor's mode is conservative, for 1 minute",
        summary="{{ $labels.run }}/{{ $labels.host }}: the governor allows no growth",
        advice=f"{_LOOK} governor_intervened` says why.",
    ),
    Alert(
        name="EsperBlueprintAtRisk",
        expression=(
            'sum by (run, blueprint) (esper_seeds_finished_total{stage="CULLED"}) >= 0.8 * '
            'sum by (run, blueprint) (esper_seeds_finished_total{stage=~"CULLED|FOSSILIZED"}) >= 5'
        ),
        lasting="0s",
        severity="info",
        when="at least 5 seeds of a blueprint have ended, and at least 80 % of them were culled",
        summary="{{ $labels.run }}: nearly every seed of {{ $labels.blueprint }} is culled",
        advice="Take the blueprint out of the catalogue, or give its seeds more time.",
    ),
    Alert(
        name="EsperLossNotFinite",
        expression=_rises('esper_losses_total{finite="no"}', "5m"),
        lasting="0s",
        severity="page",
        when="a loss was NaN or infinite in the last 5 minutes",
        summary="{{ $labels.run }}/{{ $labels.host }}: a loss is no finite number",
        advice="Lower the learning rate; look at the data.",
    ),
    Alert(
        name="EsperRunStalled",
        expression="time() - esper_last_event_timestamp_seconds > 1800 and esper_run_active == 1",
        lasting="0s",
        severity="page",
        when="the last event of a run that is not over was more than 30 minutes ago",
        summary="{{ $labels.run }}: nothing has happened for half an hour",
        advice="Look whether the process lives; `esper run --resume RUN` goes on. Longer epochs want a higher limit.",
    ),
    Alert(
        name="EsperRunFailed",
        expression='esper_run_outcome{outcome!~"completed|interrupted"} == 1',
        lasting="0s",
        severity="page",
        when="a run has ended other than completed or interrupted",
        summary="{{ $labels.run }}: the run ended as {{ $labels.outcome }}",
        advice="`esper show RUN`.",
    ),
    Alert(
        name="EsperActionsDenied",
        expression=(
            "sum by (run, host) (increase(esper_actions_denied_total[15m])) > "
            "0.5 * sum by (run, host) (increase(esper_actions_total[15m]))"
        ),
        lasting="0s",
        severity="info",
        when="in 15 minutes, the governor denies more than half of the decisions",
        summary="{{ $labels.run }}/{{ $labels.host }}: the governor denies more than half of what the policy wants",
        advice=f"{_LOOK} action_denied` says why.",
    ),
    Alert(
        name="EsperSeedAtItsBound",
        expression="esper_slots_bounded_ratio > 0.01",
        lasting="5m",
        severity="ticket",
        when="the update of a seed is bounded on more than 1 % of the activations, for 5 minutes",
        summary="{{ $labels.run }}/{{ $labels.host }}: the update of the seed in {{ $labels.slot }} is bounded",
        advice="The seed learns something else than what is measured; see `update_limit` of the lifecycle.",
    ),
    Alert(
        name="EsperExportFailing",
        expression=_rises("esper_exports_failed_total", "5m"),
        lasting="0s",
        severity="ticket",
        when="a text file could not be written, or a push failed, in the last 5 minutes",
        summary="{{ $labels.run }}: the {{ $labels.destination }} does not take the metrics",
        advice="Look at the disk or the pushgateway; these metrics come by another way.",
    ),
    Alert(
        name="EsperSeriesRefused",
        expression=_rises("esper_series_refused_total", "15m"),
        lasting="0s",
        severity="info",
        when="values were left out in the last 15 minutes, because a metric has its most series",
        summary="{{ $labels.run }}: a metric has too many series, and some are left out",
        advice="Raise sinks.prometheus.most_series, or measure less.",
    ),
)
