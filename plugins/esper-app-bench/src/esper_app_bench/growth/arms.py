"""The arms of the benchmark: what each trains, as settings of a run."""

from collections.abc import Callable, Iterable, Mapping
from math import ceil, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from esper_app_bench.growth.tasks import BenchTask
from esper_studies import RunFigures

if TYPE_CHECKING:
    from esper_app.api import Prospect

#: The arm that all others are compared with, and the two that it is judged by: both have as much compute as it.
GROWN = "heuristic"
HOST, STATIC = "host-flops", "static"
PRIMARY = (HOST, STATIC)

#: The trainer that widens hosts, in the entry-point group of `esper_studies.trainers`.
NEURONS = "neurons"

#: The arm of a saved policy.
SAVED = "policy"

Settings = Mapping[str, Any]


@frozen(kw_only=True)
class Anchor:
    """The grown run of a random seed, by which other arms of this seed are measured out.

    Attributes:
        directory: of the run.
        figures: what it has come to.
        host_seconds: what an epoch of the bare host took, wall time.
    """

    directory: Path
    figures: RunFigures
    host_seconds: float


@frozen(kw_only=True)
class Place:
    """Where an arm is about to be run.

    Attributes:
        task: the task.
        epochs: of the task's own configuration.
        anchor: the grown run of the same random seed; None if it has failed, or the arm needs none.
        recorded: the directory of the run whose schedule is replayed; None if it has failed.
        prospects: says what is known of runs with these settings.
    """

    task: BenchTask
    epochs: int
    anchor: Anchor | None
    recorded: Path | None
    prospects: "Callable[[Iterable[Settings]], tuple[Prospect, ...]]"


@frozen(kw_only=True)
class Arm:
    """One way to spend compute.

    Attributes:
        name: what it is called.
        says: what it is, in a sentence without its full stop.
        anchored: it needs the grown run of its random seed.
        settings: of its runs, beside random seed and learning rate.
        trainer: what trains instead of Esper's own loop; None: nothing does.
        told: what the trainer is told; it gives None where Esper's own loop is to train after all.
        tuned: its learning rate is chosen; else it is the middle one of the task's.
    """

    name: str
    says: str
    anchored: bool = False
    settings: Callable[[Place], Settings]
    trainer: str | None = None
    told: Callable[[Place], Mapping[str, Any] | None] = lambda place: None
    tuned: bool = True


def arms(policy: str | None = None, *, neurons: bool = False) -> tuple[Arm, ...]:
    """Return all arms, with one more for a saved policy, and with those that need the package gromo if it is there."""
    saved = () if policy is None else (_saved(policy),)
    return (*_ARMS[:6], *saved, *_ARMS[6:], *(_NEURONS if neurons else ()))


def _policy(name: str, says: str, **options: Any) -> Arm:
    settings = {"policy.name": name, **{f"policy.{key}": value for key, value in options.items()}}
    return Arm(name=name, says=says, settings=lambda place: settings)


def _compute() -> Arm:
    """It decides by a twin of equal epochs: without one it would never grow. What the twin takes is charged to it."""
    return Arm(
        name="compute",
        says="grown by the policy `compute`, which refuses where growing does not pay; its twin is charged to it",
        settings=lambda _: {"policy.name": "compute", "twin": "epochs"},
    )


def _saved(policy: str) -> Arm:
    settings = {"policy.saved": policy}
    return Arm(name=SAVED, says="grown by a policy that has learned, and learns no more", settings=lambda _: settings)


def _bare(place: Place, epochs: int, host: Settings | None = None) -> Settings:
    return {"policy.name": "null", **(host or {}), "epochs": max(1, epochs)}


def _host_epochs(place: Place) -> Settings:
    return _bare(place, place.epochs)


def _host_flops(place: Place) -> Settings:
    return _equal_flops(place, {})


def _host_time(place: Place) -> Settings:
    anchor = place.anchor
    if anchor is None:
        return _bare(place, place.epochs)
    return _bare(place, ceil(anchor.figures.seconds / anchor.host_seconds))


def _static(place: Place) -> Settings:
    if place.anchor is None:
        return _bare(place, place.epochs)
    # What the grown network was tested with, also where a seed's fate was open at the end.
    grown = {"host.name": "grown", "host.run": str(place.anchor.directory), "host.live": "keep"}
    return _equal_flops(place, grown)


def _wide_parameters(place: Place) -> Settings:
    return _wider(place, lambda it: it.parameters, lambda figures: figures.parameters)


def _wide_flops(place: Place) -> Settings:
    return _wider(place, lambda it: it.forward_flops, lambda figures: figures.forward_flops)


def _neuron_settings(place: Place) -> Settings:
    """A budget of FLOPs, and as many epochs of the bare host as it pays for: a wider one takes fewer."""
    spent = None if place.anchor is None else place.anchor.figures.flops
    return _host_flops(place) if spent is None else {**_host_flops(place), "flops": spent}


def _neurons(name: str, says: str) -> Arm:
    def told(place: Place) -> Mapping[str, Any] | None:
        known = place.anchor is not None and place.anchor.figures.flops is not None
        return {"method": name, "parameters": place.anchor.figures.parameters} if known and place.anchor else None

    return Arm(name=name, says=says, anchored=True, settings=_neuron_settings, trainer=NEURONS, told=told)


def _replay(place: Place) -> Settings:
    recorded = {} if place.recorded is None else {"policy.run": str(place.recorded)}
    return {"policy.name": "fixed-schedule", **recorded}


def _wider(
    place: Place, size: "Callable[[Prospect], int | None]", wanted: Callable[[RunFigures], int | None]
) -> Settings:
    """The host, or the wider one, whose size is nearest to that of the grown network."""
    target = None if place.anchor is None else wanted(place.anchor.figures)
    if target is None:
        return _bare(place, place.epochs)
    hosts: list[Settings] = [{}, *place.task.wider()]
    sizes = [size(it) for it in place.prospects(hosts)]
    known = [(abs(log(found / target)), index) for index, found in enumerate(sizes) if found]
    return _equal_flops(place, hosts[min(known)[1]])


def _equal_flops(place: Place, host: Settings) -> Settings:
    """As many epochs of a host that does not grow as cost what the grown run has spent in all; rounded up."""
    spent = None if place.anchor is None else place.anchor.figures.flops
    (found,) = place.prospects([host])
    if spent is None or not found.epoch_flops:
        return _bare(place, place.epochs, host)
    return _bare(place, -(-spent // found.epoch_flops), host)


_ARMS = (
    Arm(name="host-epochs", says="the bare host, for as many epochs as the grown one", settings=_host_epochs),
    _policy(GROWN, "grown by the policy `heuristic`"),
    _compute(),
    _policy("periodic", "grown by the policy `periodic`, by the clock"),
    _policy("random", "grown by the policy `random`"),
    Arm(
        name="replay",
        says="the actions of one recorded run of `heuristic`, with another random seed, at the same epochs",
        anchored=True,
        settings=_replay,
    ),
    Arm(
        name=HOST,
        says="the bare host, for as many FLOPs as the grown one has spent in all",
        anchored=True,
        settings=_host_flops,
    ),
    Arm(
        name="host-time",
        says="the bare host, for about as much wall time as the grown one",
        anchored=True,
        settings=_host_time,
    ),
    Arm(
        name=STATIC,
        says="the topology that `heuristic` has grown with the same random seed, from scratch, for as many FLOPs",
        anchored=True,
        settings=_static,
    ),
    Arm(
        name="wide-parameters",
        says="the host widened to about as many parameters as the grown network, for as many FLOPs",
        anchored=True,
        settings=_wide_parameters,
    ),
    Arm(
        name="wide-flops",
        says="the host widened to about the grown network's cost of a forward pass, for as many FLOPs",
        anchored=True,
        settings=_wide_flops,
    ),
)

#: Measured where gromo can widen the host.
_NEURONS = (
    _neurons(
        "tiny",
        "the host widened while it trains by TINY, to about as many parameters as the grown network, for as many FLOPs",
    ),
    _neurons("gradmax", "the same, by GradMax"),
)
