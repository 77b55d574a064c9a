"""Which numbers a run has and what they are called: one table for every sink, screen and report."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from attrs import field, frozen

from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.stages import Stage
from esper_runs.formatting import as_number, known
from esper_runs.names import safe_name
from esper_runs.result import is_twin, twin_of


@frozen
class Metric:
    """A number that is known by a name.

    Attributes:
        name: its name, with a label in braces for each part that differs from run to run.
        unit: its unit; "" for a plain number.
        meaning: what it is, in words.
    """

    name: str
    unit: str
    meaning: str


@frozen(kw_only=True)
class Point:
    """One value of a metric.

    Attributes:
        metric: which.
        host: the host that it is about; "" for the run as a whole.
        step: where it stands on the axis of epochs: the epoch, from 0, with those of earlier rounds before it.
        epoch: the epoch, from 0; None outside of epochs.
        round: number of the round, from 0.
        value: the number, which need not be finite.
        labels: what stands for the labels in the metric's name.
    """

    metric: Metric
    host: str
    step: int
    epoch: int | None
    round: int
    value: float
    labels: Mapping[str, str] = field(factory=dict)

    @property
    def name(self) -> str:
        """The metric's name with its labels filled in, each made safe: no label can add a level or leave one."""
        return self.metric.name.format_map({label: safe_name(text) for label, text in self.labels.items()})


_SPLITS = {"train": "the training split, while training", "validation": "the validation split, after the epoch"}
_MEASURED = (("loss", "nats", "mean loss per sample"), ("accuracy", "share", "accuracy"), ("seconds", "s", "wall time"))
_COUNTED = (
    ("parameters", "parameters", "parameters of the network, seeds included"),
    ("host_parameters", "parameters", "parameters of the host alone"),
    ("forward_flops", "FLOP", "one sample's forward pass, seeds included"),
    ("learning_rate", "", "learning rate of the host's first parameter group at the end of the epoch"),
)
_COMPUTE = (
    ("training", "training the network, fossilized seeds included"),
    ("candidates", "training seeds whose fate is open"),
    ("probes", "second passes that train seeds or prove their isolation"),
    ("evaluation", "measuring the network as it stands"),
    ("counterfactuals", "measuring the network as it does not stand"),
)
#: Name, unit and meaning of a number in the evidence about a seed, and where it is.
_SEED = (
    ("alpha", "", "factor of the seed's update, 0 to 1", ("alpha",)),
    ("parameters", "parameters", "parameters of the seed", ("parameters",)),
    ("contribution", "nats", "loss without the seed minus loss with it", ("contribution", "mean")),
    ("contribution_error", "nats", "its standard error", ("contribution", "standard_error")),
    ("probe", "nats", "loss without the seed minus loss at the probe's alpha", ("probe", "mean")),
    ("gradient_ratio", "", "gradient of the seed beside the host's, per parameter", ("gradient_ratio",)),
    ("gradient_norm", "", "2-norm of the seed's gradient", ("gradient_norm",)),
    ("update_ratio", "", "rms of the update over rms of the activation", ("update_ratio",)),
    ("bounded", "share", "activations on which the update was bounded", ("bounded",)),
)

_GAIN = Metric("gain", "nats", "the twin's validation loss minus this host's in the same epoch")
_LIVE = Metric("seeds/live", "seeds", "seeds whose fate is open")
_FOSSILIZED = Metric("seeds/fossilized", "seeds", "fossilized seeds")
_TERM = Metric("reward/terms/{term}", "", "one term of the reward, weighted")
_TOTAL = Metric("reward/total", "", "the reward of the epoch")
_FINDING = Metric("diagnostics/{diagnostic}/{figure}", "", "a number that a diagnostic found")
_FIGURE = Metric("rounds/figures/{figure}", "", "a figure of what the policy learned from a round; step: the round")
_RETURN = Metric("rounds/return", "", "sum of the rewards of a round; step: the round")
_TEST_GAIN = Metric("test/gain", "nats", "the twin's loss minus the grown network's on the test split")
_FINAL = (
    ("test/accuracy", "share", "accuracy on the test split", "test_accuracy"),
    ("test/loss", "nats", "mean loss per sample on the test split", "test_loss"),
    ("test/error", "", "error of a regression on the test split, in units of its targets", "test_in_units"),
    ("total/train_seconds", "s", "wall time of all training", "train_seconds"),
    ("total/measure_seconds", "s", "wall time of all measuring", "measure_seconds"),
)


def _table() -> Iterator[Metric]:
    for split, where in _SPLITS.items():
        for name, unit, meaning in _MEASURED:
            yield Metric(f"{split}/{name}", unit, f"{meaning} over {where}")
    yield _GAIN
    yield from (Metric(*row) for row in _COUNTED)
    yield from (Metric(f"compute/{name}", "FLOP", f"so far, for {meaning}") for name, meaning in _COMPUTE)
    yield from (_LIVE, _FOSSILIZED)
    yield from (Metric(f"slots/{{slot}}/{name}", unit, meaning) for name, unit, meaning, _ in _SEED)
    yield from (_TERM, _TOTAL, _FINDING, _FIGURE, _RETURN)
    yield from (Metric(name, unit, meaning) for name, unit, meaning, _ in _FINAL)
    yield _TEST_GAIN


#: Every metric by its name.
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _table()}


def markdown_table() -> str:
    """Return the table of all metrics in Markdown."""
    rows = [f"| `{it.name}` | {it.unit} | {it.meaning} |" for it in METRICS.values()]
    return "\n".join(["| metric | unit | meaning |", "|---|---|---|", *rows])


class MetricReader:
    """Finds the numbers in a run's events, which it must be shown in order. A number that is missing has no point.

    Args:
        manifest: the run's manifest; it says how long a round is.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        epochs = (manifest.get("config") or {}).get("epochs")
        self._length = epochs if isinstance(epochs, int) else None
        self._longest = 0
        self._twins: dict[str, tuple[int, int | None, float]] = {}

    def points(self, event: Event | Mapping[str, Any]) -> tuple[Point, ...]:
        """Return the points of an event, which may come from a log."""
        it = event if isinstance(event, Event) else event_from_log(event)
        return tuple(self._points(it))

    def step(self, event: Event, host: str | None = None) -> int:
        """Return where an event stands on the axis of epochs, as the steps of points do.

        Args:
            event: the event.
            host: at a run's end, the host whose last epoch counts. None: the longest.
        """
        if event.kind is EventKind.ROUND_FINISHED:
            return event.round
        epoch = event.epoch
        if epoch is None:
            done = ((event.data.get("hosts") or {}).get(host) or {}).get("epochs")
            epoch = done if isinstance(done, int) else self._longest
        return event.round * (self._length or self._longest) + epoch

    def _points(self, event: Event) -> Iterator[Point]:
        for metric, host, labels, value in self._found(event):
            if value is not None:
                yield Point(
                    metric=metric,
                    host=host,
                    step=self.step(event, host),
                    epoch=event.epoch,
                    round=event.round,
                    value=value,
                    labels=labels,
                )

    def _found(self, event: Event) -> Iterator[tuple[Metric, str, dict[str, str], float | None]]:
        data, host = event.data, event.host
        if event.kind is EventKind.EPOCH_COMPLETED:
            self._longest = max(self._longest, (event.epoch or 0) + 1)
            yield from ((metric, host, {}, value) for metric, value in _of_epoch(data))
            yield _GAIN, host, {}, self._gain(event)
            yield from ((metric, host, {"slot": slot}, value) for metric, slot, value in _of_seeds(data))
        elif event.kind is EventKind.REWARD_COMPUTED:
            terms = data.get("terms") or {}
            yield from ((_TERM, host, {"term": term}, as_number(value)) for term, value in terms.items())
            yield _TOTAL, host, {}, as_number(data.get("total"))
        elif event.kind is EventKind.DIAGNOSED:
            diagnostic = str(data.get("diagnostic"))
            for path, value in _numbers(data.get("finding")):
                yield _FINDING, host, {"diagnostic": diagnostic, "figure": ".".join(path)}, value
        elif event.kind is EventKind.ROUND_FINISHED:
            for path, value in _numbers(data.get("figures")):
                yield _FIGURE, host, {"figure": ".".join(path)}, value
            for name, rewards in (data.get("rewards") or {}).items():
                yield _RETURN, name, {}, _sum(rewards)
        elif event.kind is EventKind.RUN_FINISHED:
            yield from ((metric, name, {}, value) for metric, name, value in _of_result(data))

    def _gain(self, event: Event) -> float | None:
        """A host's twin goes first in every epoch; both are measured on the same samples."""
        loss = as_number((event.data.get("validation") or {}).get("loss"))
        if is_twin(event.host):
            self._twins.pop(event.host, None)
            if loss is not None:
                self._twins[event.host] = event.round, event.epoch, loss
            return None
        twin = self._twins.get(twin_of(event.host))
        if twin is None or loss is None or twin[:2] != (event.round, event.epoch):
            return None
        return twin[2] - loss


_EVENT_FIELDS = frozenset(attribute.name for attribute in attrs.fields(Event))
_KINDS: Mapping[str, EventKind] = {str(kind): kind for kind in EventKind}


def event_from_log(event: Mapping[str, Any]) -> Event:
    """Return the event that an object in a log is; one of a kind that is not known here becomes a notice."""
    facts = {name: value for name, value in event.items() if name in _EVENT_FIELDS}
    # What a newer Esper emits has no numbers that are known here.
    facts["kind"] = _KINDS.get(event["kind"], EventKind.NOTICE)
    return Event(**facts)


def _of_epoch(data: Mapping[str, Any]) -> Iterator[tuple[Metric, float | None]]:
    for split in _SPLITS:
        measured = data.get(split) or {}
        for name, _, _ in _MEASURED:
            number = known if name == "accuracy" else as_number
            yield METRICS[f"{split}/{name}"], number(measured.get(name))
    yield from ((METRICS[name], as_number(data.get(name))) for name, *_ in _COUNTED)
    spent = data.get("compute") or {}
    yield from ((METRICS[f"compute/{name}"], as_number(spent.get(name))) for name, _ in _COMPUTE)
    stages = [seed.get("stage") for seed in data.get("seeds", ())]
    yield _LIVE, float(sum(stage in _OPEN for stage in stages))
    yield _FOSSILIZED, float(stages.count(Stage.FOSSILIZED.name))


_OPEN = frozenset(stage.name for stage in Stage if stage.live)


def _of_seeds(data: Mapping[str, Any]) -> Iterator[tuple[Metric, str, float | None]]:
    for seed in data.get("seeds", ()):
        for name, _, _, path in _SEED:
            yield METRICS[f"slots/{{slot}}/{name}"], str(seed.get("slot")), as_number(_at(seed, path))


def _of_result(result: Mapping[str, Any]) -> Iterator[tuple[Metric, str, float | None]]:
    hosts = result.get("hosts") or {}
    for host, figures in hosts.items():
        yield from ((METRICS[name], host, as_number(figures.get(key))) for name, _, _, key in _FINAL)
    grown = [host for host in hosts if not is_twin(host)]
    gain = as_number(_at(result, ("difference", "test_gain", "mean")))
    if len(grown) == 1:
        yield _TEST_GAIN, grown[0], gain


def _at(data: Any, path: Iterable[str]) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _numbers(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number in mappings and lists, with its path; a text that is one in strict JSON counts as well."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _numbers(value, (*path, str(key)))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _numbers(value, (*path, str(index)))
    elif path and (not isinstance(data, str) or data in ("NaN", "Infinity", "-Infinity")):
        number = as_number(data)
        if number is not None:
            yield path, number


def _sum(values: Any) -> float | None:
    numbers = [as_number(value) for value in values] if isinstance(values, list | tuple) else [as_number(values)]
    return sum(number for number in numbers if number is not None) if None not in numbers else None
