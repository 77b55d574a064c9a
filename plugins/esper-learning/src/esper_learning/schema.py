"""The observation as numbers: one table of features, from which records, vectors and refusals follow.

The table's documented base is a host's progress, losses, accuracies, their changes, best values and last five epochs,
the governor's mode and its size; and for each slot its place, stage, times, alpha, blueprint, blend, what was measured
of its seed, the last verdict of a gate and the last command with the governor's answer. Not in it, because Esper does
not have them: the optimizer step (an epoch has a fixed number of them), the norm of the host's gradient (slots have
their gradient ratio), the one "active" seed (each slot has its own block), and figures of the device.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from math import isfinite, log1p
from typing import Any

from attrs import field, frozen

from esper_core.leyline.actions import GovernorMode, Op
from esper_core.leyline.layouts import Layout
from esper_core.leyline.observation import Observation
from esper_core.leyline.records import plain
from esper_core.leyline.stages import Blend, Stage
from esper_core.leyline.structure import structure
from esper_learning.reading import read, values_of

#: Raised when the meaning of a row changes in a way that its text does not show.
VERSION = 1

#: How many epochs of losses and accuracies have features of their own.
RECENT_EPOCHS = 5

Plain = float | str | None


@frozen(kw_only=True)
class Feature:
    """One row of the table.

    Attributes:
        name: unique among a host's, or a slot's, features.
        source: dotted path from the `Observation` (host features) or `SlotSignals` (slot features) to what is read;
            a number in it is an index.
        transform: name of the function that is applied; a key of `TRANSFORMS`.
        parameter: its parameter.
        low, high: bounds of the feature.
        missing: its value where the source is None or not finite.
    """

    name: str
    source: str
    transform: str
    parameter: Plain = None
    low: float = 0.0
    high: float = 1.0
    missing: float = 0.0

    def value(self, record: Any) -> float:
        """Read the feature off a record. Total, and within the bounds for any record."""
        return self.of(read(record, self.source))

    def of(self, held: Any) -> float:
        """Return the feature of what its source holds."""
        number = TRANSFORMS[self.transform](held, self.parameter)
        if number is None or not isfinite(number):
            return self.missing
        number = number if number > self.low else self.low
        return number if number < self.high else self.high


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen
class ObservationSchema:
    """The features of a host and of each of its slots, for one catalogue of blueprints.

    Attributes:
        blueprints: the catalogue's names in order.
    """

    blueprints: tuple[str, ...] = field(converter=_names)

    @cached_property
    def host(self) -> tuple[Feature, ...]:
        """A host's features in order."""
        return (*_HOST, *_recent())

    @cached_property
    def slot(self) -> tuple[Feature, ...]:
        """A slot's features in order."""
        return (*_SLOT, *_blueprints(self.blueprints))

    def vector(self, observation: Observation) -> tuple[list[float], list[list[float]]]:
        """Return the host's features and those of each slot in site order: within bounds, whatever is given.

        Lengths: ``len(host)``, and ``len(slot)`` for each slot.
        """
        host, slot = self._readers
        return host(observation), [slot(signals) for signals in observation.slots]

    @cached_property
    def _readers(self) -> tuple[Callable[[Any], list[float]], Callable[[Any], list[float]]]:
        return values_of(self.host), values_of(self.slot)

    def record(self) -> dict[str, Any]:
        """Return the whole table as plain data: what a saved policy keeps, so that a difference can be named."""
        return {"version": VERSION, "host": plain(self.host), "slot": plain(self.slot)}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the whole table, the version included: what a saved policy must agree with."""
        return hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode()).hexdigest()


def differences(saved: Mapping[str, Any], now: ObservationSchema) -> tuple[str, ...]:
    """Say how a saved table (`ObservationSchema.record`) differs from the present one: one line a row; empty if not.

    Raises:
        EsperError: E201, E202 if it is not such a table.
    """
    lines = [] if saved["version"] == VERSION else [f"version {saved['version']} is {VERSION} now"]
    for part, present in (("host", now.host), ("slot", now.slot)):
        rows = structure(tuple[Feature, ...], saved[part], path=part)
        lines += _row_differences(part, rows, present)
    return tuple(lines)


def _row_differences(part: str, saved: Sequence[Feature], now: Sequence[Feature]) -> list[str]:
    was, is_now = {row.name: row for row in saved}, {row.name: row for row in now}
    lines = [f"{part} feature {name} is not there any more" for name in was if name not in is_now]
    lines += [f"{part} feature {name} is new" for name in is_now if name not in was]
    for name in was.keys() & is_now.keys():
        before, after = plain(was[name]), plain(is_now[name])
        lines += [
            f"{part} feature {name}: {key} was {before[key]}, is {after[key]}"
            for key in before
            if before[key] != after[key]
        ]
    if not lines and [row.name for row in saved] != [row.name for row in now]:
        lines.append(f"the {part} features have another order")
    return sorted(lines)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _of_number(function: Callable[[float, Any], float]) -> Callable[[Any, Plain], float | None]:
    def transform(value: Any, parameter: Plain) -> float | None:
        return None if (number := _number(value)) is None else function(number, parameter)

    return transform


def _symlog(x: float, most: float) -> float:
    size = log1p(abs(x)) / log1p(most)
    return size if x >= 0 else -size


def _plain_name(value: Any) -> Any:
    return None if value is None else plain(value)


#: What a row may do to what it reads, by name: (value, parameter) -> number, or None for a value that is missing.
TRANSFORMS: Mapping[str, Callable[[Any, Any], float | None]] = {
    # x as it is
    "as it is": _of_number(lambda x, _: x),
    # sign(x) log(1 + |x|) / log(1 + p): 1 at p
    "symlog": _of_number(_symlog),
    # x / (|x| + p): half-way at p, never quite 1
    "softsign": _of_number(lambda x, half: x / (abs(x) + half)),
    # 1 where x is p (the name of a member of an enumeration), else 0
    "is": lambda value, name: None if value is None else float(_plain_name(value) == name),
    # 1 where there is something finite to read, else 0
    "is known": lambda value, _: float(value is not None and (isinstance(value, str) or _number(value) is not None)),
    # n / (n + 1) for the number n of times that p occurs: 0, 1/2, 2/3 ...
    "times": lambda values, name: None if values is None else (n := values.count(name)) / (n + 1.0),
}


def _one_of(name: str, source: str, members: Iterable[Any]) -> list[Feature]:
    """A row for each member: 1 for the one that it is, all 0 where there is none."""
    names = [plain(member) for member in members]
    return [Feature(name=f"{name} {member}", source=source, transform="is", parameter=member) for member in names]


def _measured(name: str, source: str, transform: str, parameter: Plain, low: float = -1.0) -> list[Feature]:
    """A figure that may be missing: its row, 0 without it, and a row that says whether it is known."""
    return [
        Feature(name=name, source=source, transform=transform, parameter=parameter, low=low),
        Feature(name=f"{name} known", source=source, transform="is known"),
    ]


def _share(name: str, source: str) -> Feature:
    """A share or an accuracy, 0 to 1; -1 where it is missing."""
    return Feature(name=name, source=source, transform="as it is", low=-1.0, missing=-1.0)


def _count(name: str, source: str, half: float) -> Feature:
    """A count from 0, half-way to 1 at `half`."""
    return Feature(name=name, source=source, transform="softsign", parameter=half)


#: Losses: 1 at e^7 - 1 nats, far above the random-guess loss of any vocabulary.
_LOSS = ("symlog", 1095.0)
#: Differences of losses in nats, and of accuracies: half-way where they begin to matter.
_NATS, _POINTS = ("softsign", 0.1), ("softsign", 0.02)

_HOST: tuple[Feature, ...] = (
    Feature(name="progress", source="host.progress", transform="as it is"),
    _count("epochs", "host.epochs", 50.0),
    *_measured("random-guess loss", "host.random_guess_loss", *_LOSS),
    *_measured("train loss", "host.train_loss", *_LOSS),
    *_measured("validation loss", "host.validation_loss", *_LOSS),
    *_measured("validation loss fall", "host.validation_loss_fall", *_NATS),
    *_measured("best validation loss", "host.curves.best_validation_loss", *_LOSS),
    _share("train accuracy", "host.train_accuracy"),
    _share("validation accuracy", "host.validation_accuracy"),
    *_measured("validation accuracy rise", "host.validation_accuracy_rise", *_POINTS),
    _share("best validation accuracy", "host.curves.best_validation_accuracy"),
    _count("epochs since best", "host.curves.epochs_since_best", 5.0),
    *_measured("gain over the twin", "host.twin_gain", *_NATS),
    Feature(name="growth ratio", source="host.growth_ratio", transform="softsign", parameter=1.0, low=-1.0),
    Feature(name="host parameters", source="host.host_parameters", transform="symlog", parameter=1e10),
    _count("live seeds", "live_seeds", 2.0),
    _count("dormant slots", "dormant_slots", 2.0),
    *_one_of("governor", "host.governor", GovernorMode),
)

_SLOT: tuple[Feature, ...] = (
    *_one_of("layout", "state.site.layout", Layout),
    Feature(name="width", source="state.site.width", transform="symlog", parameter=16384.0),
    Feature(name="depth", source="state.site.depth", transform="as it is"),
    Feature(name="causal", source="state.site.causal", transform="as it is"),
    *_one_of("stage", "state.stage", Stage),
    *_one_of("previous stage", "state.previous_stage", Stage),
    _count("epochs in stage", "state.epochs_in_stage", 5.0),
    _count("age", "state.age_epochs", 10.0),
    _count("settled epochs", "state.settled_epochs", 3.0),
    Feature(name="alpha", source="state.alpha", transform="as it is"),
    *_one_of("blend", "state.blend", Blend),
    Feature(
        name="ramp epochs", source="state.ramp_epochs", transform="softsign", parameter=5.0, low=-1.0, missing=-1.0
    ),
    Feature(name="parameters", source="state.parameters", transform="symlog", parameter=1e9),
    *_measured("gradient ratio", "gradient_ratio", "softsign", 1.0, low=0.0),
    *_measured("update ratio", "update_ratio", "softsign", 0.1, low=0.0),
    *_measured("probe", "probe.mean", *_NATS),
    Feature(name="probe error", source="probe.standard_error", transform="softsign", parameter=0.1),
    *_measured("contribution", "contribution.mean", *_NATS),
    Feature(name="contribution error", source="contribution.standard_error", transform="softsign", parameter=0.1),
    *_measured("gate score", "state.next_gate.score", "as it is", None, low=0.0),
    Feature(name="gate passed", source="state.next_gate.passed", transform="as it is"),
    Feature(name="may fossilize", source="state.may_fossilize", transform="as it is"),
    Feature(name="harmful", source="state.harmful", transform="as it is"),
    *_one_of("command", "command.op", [op for op in Op if op is not Op.WAIT]),
    Feature(name="command allowed", source="verdict.allowed", transform="as it is", low=-1.0, missing=-1.0),
)


def _recent() -> Iterable[Feature]:
    for back in range(RECENT_EPOCHS, 0, -1):
        yield from _measured(f"validation loss {back} back", f"host.curves.validation_losses.-{back}", *_LOSS)
        yield _share(f"validation accuracy {back} back", f"host.curves.validation_accuracies.-{back}")


def _blueprints(names: Iterable[str]) -> Iterable[Feature]:
    for name in names:
        yield Feature(name=f"blueprint {name}", source="state.blueprint", transform="is", parameter=name)
        yield Feature(name=f"culled {name}", source="state.culled_blueprints", transform="times", parameter=name)
