"""What the objects that factories build can do. Torch appears in annotations only."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

from esper_core.leyline.actions import Transition
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Evidence, GateResult, SeedEvidence
from esper_core.leyline.learning import Decision, Explanation, PolicyState, Round, Situation, Step, Trajectory
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import Capability, as_capabilities
from esper_core.leyline.vital_signs import VitalSigns, Vote

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class TaskKind(StrEnum):
    """What a task asks of a host."""

    IMAGES = "images"
    TOKENS = "tokens"
    VECTORS = "vectors"


class TargetKind(StrEnum):
    """What a task asks for: one of several classes (of each sample or position), or numbers, which has no accuracy."""

    CLASSES = "classes"
    NUMBERS = "numbers"


@frozen(kw_only=True)
class DataShape:
    """What a host must know of its data.

    Attributes:
        kind: images (B, C, H, W), tokens (B, T) of int64, or vectors (B, D).
        input_shape: shape of one sample: (C, H, W), (T,) or (D,).
        outputs: number of classes, or the vocabulary's size, or how many numbers are predicted.
        targets: classes, or numbers (a regression).
    """

    kind: TaskKind
    input_shape: tuple[int, ...]
    outputs: int
    targets: TargetKind = TargetKind.CLASSES


# Not `tuple` itself: of this mypy cannot tell host authors what may be given.
def _tuple_of_sites(sites: Iterable[SiteRequest]) -> tuple[SiteRequest, ...]:
    return tuple(sites)


@frozen(kw_only=True)
class HostBuild:
    """A host module with the sites that it declares, in execution order.

    Attributes:
        module: the network.
        sites: where a slot may act.
        capabilities: of this build, where they follow from its options; they add to those of its descriptor.
    """

    module: "nn.Module"
    sites: tuple[SiteRequest, ...] = field(converter=_tuple_of_sites)
    capabilities: frozenset[Capability] = field(default=frozenset(), converter=as_capabilities)


@frozen(kw_only=True)
class Split:
    """One split as resident tensors; first axes agree.

    Attributes:
        inputs: (N, ...) ready for the host (normalised floats, or int64 tokens).
        targets: (N,) class indices, or (N, T) token indices with -100 where nothing is to be predicted, or
            (N, outputs) floats, centred so that outputs of zero know nothing.
    """

    inputs: "Tensor"
    targets: "Tensor"


@frozen(kw_only=True)
class Splits:
    """Training split; validation split for gates, rewards and policies; test split for the final report only."""

    train: Split
    validation: Split
    test: Split


class Criterion(Protocol):
    """Loss and metric of single samples: what measuring a network takes. Every `Task` is one."""

    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the loss of each sample, (B,), in nats."""
        ...

    def correct(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return how right each sample is, (B,), floats from 0 to 1; NaN for all where there is no accuracy."""
        ...


@runtime_checkable
class Task(Protocol):
    """Data, loss and metric.

    Attributes:
        shape: what a host must know of the data.
        random_guess_loss: the loss of a model that knows nothing, in nats.
        identity: plain data that tells the data apart from any other (name, digests, sizes), for the manifest.
    """

    shape: DataShape
    random_guess_loss: float
    identity: Mapping[str, Any]

    def load(self) -> Splits:
        """Load all three splits. Raises an EsperError (E301, E302) that says how to get missing data."""
        ...

    def augment(self, inputs: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return a training batch, augmented with numbers from `generator`; the batch itself if nothing is done."""
        ...

    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the loss of each sample, (B,), in nats, differentiable. A sample is an image or a sequence."""
        ...

    def correct(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return how right each sample is, (B,), floats from 0 to 1; NaN for all where there is no accuracy."""
        ...


@runtime_checkable
class LinearUpdate(Protocol):
    """What a seed module offers beside its forward if its update of an activation (B, T, D) or (B, D) is linear.

    An exported network has it merged into the layer before it. If it takes the layer's input, M is added to the weight.
    """

    def matrix(self) -> "Tensor":
        """Return M, (D, D): ``seed(h) == h @ seed.matrix().T``."""
        ...


@runtime_checkable
class Gate(Protocol):
    """A pure, deterministic check. Missing evidence never passes."""

    @property
    def consecutive_passes(self) -> int:
        """How many epochs in a row it must pass before the transition is open; at least 1. Kasmina counts."""
        ...

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Judge one seed on what was measured."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Pure, deterministic, and defined for whatever was measured, missing figures and NaN included."""

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote on a host after an epoch."""
        ...


@runtime_checkable
class RewardTerm(Protocol):
    """A pure, bounded addend of the reward."""

    def value(self, step: Step) -> float:
        """Return what the step was worth. `step.reward` is not known yet."""
        ...


@runtime_checkable
class Actor(Protocol):
    """Decides, once per epoch, for every host of a round that is still in training."""

    def reset(self, begun: Round) -> None:
        """Begin a round: forget everything about the hosts of earlier ones, not what was learned from them."""
        ...

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one decision for each situation, in order; every action allowed by its masks.

        The hosts are the round's, in its order; those that are no longer in training are left out.
        """
        ...


@runtime_checkable
class Stateful(Protocol):
    """What an actor that declares `Capability.STATEFUL` offers: a memory that is saved with the run."""

    def state(self) -> PolicyState:
        """Return everything that its later decisions depend on."""
        ...

    def restore(self, state: PolicyState) -> None:
        """Go on from such a state, after `Actor.reset`."""
        ...


@runtime_checkable
class Recurrent(Protocol):
    """What an actor that declares `Capability.RECURRENT` offers: a hidden state of its own for each host."""

    def forget(self, host: str) -> None:
        """Begin with this host as if it were new: its trajectory has ended, and another one begins."""
        ...


@runtime_checkable
class Learner(Protocol):
    """What an actor that declares `Capability.LEARNS` offers: it learns from what became of its decisions.

    Attributes:
        rounds: how many rounds it wants to learn from, at least 1.
    """

    rounds: int

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Learn from one round, a trajectory for each of its hosts, and return figures about it by name."""
        ...


@runtime_checkable
class Explains(Protocol):
    """What an actor may offer: it says what it thinks of a situation."""

    def explain(self, situation: Situation) -> Explanation:
        """Return the choices that it has before it decides. Nothing changes by being asked."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Receives telemetry events in order. What it raises is counted and never reaches the run's results.

    All of its methods are called in one thread, which is not the one that trains.
    """

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run, or go on with one.

        `manifest["directory"]` is the run's directory, or None. If the run goes on, `manifest["resumed_at"]` is the
        number of its next event: what a sink holds of this run from that number on has not happened.
        """
        ...

    def emit(self, events: Sequence[Event]) -> None:
        """Receive events in order."""
        ...

    def flush(self) -> None:
        """Make everything received durable or visible."""
        ...

    def close(self) -> None:
        """End the run; a second call does nothing."""
        ...


@runtime_checkable
class ShowsProgress(Protocol):
    """A sink that also shows how far an epoch is. It is told now and then, or never: by the clock, unlike events."""

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        """Learn that a host has begun training step `done` of `steps` of an epoch, both steps from 1, epochs from 0."""
        ...


class Services(Protocol):
    """What the loop takes from its surroundings."""

    def emit(self, event: Event) -> None:
        """Hand an event to the sinks."""
        ...

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        """Tell the observers that a host has finished an epoch."""
        ...

    def seed_transition(self, host: str, transition: Transition) -> None:
        """Tell the observers that a seed has changed its stage."""
        ...

    def should_stop(self) -> bool:
        """Say whether somebody asked the run to end after this epoch."""
        ...
