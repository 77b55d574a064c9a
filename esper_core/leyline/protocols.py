"""What the objects that factories build can do. Torch appears in annotations only."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

from esper_core.leyline.actions import Action, ActionMasks, Transition
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Evidence, GateResult, SeedEvidence
from esper_core.leyline.observation import Observation
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import Capability

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class TaskKind(StrEnum):
    """What a task asks of a host."""

    IMAGES = "images"
    TOKENS = "tokens"
    VECTORS = "vectors"


@frozen(kw_only=True)
class DataShape:
    """What a host must know of its data.

    Attributes:
        kind: images (B, C, H, W), tokens (B, T) of int64, or vectors (B, D).
        input_shape: shape of one sample: (C, H, W), (T,) or (D,).
        outputs: number of classes, or the vocabulary's size.
    """

    kind: TaskKind
    input_shape: tuple[int, ...]
    outputs: int


# Not `tuple` and `frozenset` themselves: of these mypy cannot tell host authors what may be given.
def _tuple_of_sites(sites: Iterable[SiteRequest]) -> tuple[SiteRequest, ...]:
    return tuple(sites)


def _set_of_capabilities(capabilities: Iterable[Capability]) -> frozenset[Capability]:
    return frozenset(capabilities)


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
    capabilities: frozenset[Capability] = field(default=frozenset(), converter=_set_of_capabilities)


@frozen(kw_only=True)
class Split:
    """One split as resident tensors; first axes agree.

    Attributes:
        inputs: (N, ...) ready for the host (normalised floats, or int64 tokens).
        targets: (N,) class indices, or (N, T) token indices with -100 where nothing is to be predicted.
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
        """Return how right each sample is, (B,), floats from 0 to 1."""
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
        """Return how right each sample is, (B,), floats from 0 to 1."""
        ...


@runtime_checkable
class LinearUpdate(Protocol):
    """What a seed module offers beside its forward if its update of an activation (B, T, D) or (B, D) is linear.

    An exported network has such a seed merged into the linear layer before it.
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
class RewardTerm(Protocol):
    """A pure, bounded addend of the reward."""

    def value(
        self,
        before: Evidence | None,
        after: Evidence,
        transitions: Sequence[Transition],
        twin: Evidence | None,
    ) -> float:
        """Return the term's value for one step."""
        ...


@runtime_checkable
class Actor(Protocol):
    """Decides, once per epoch, for every host of a round."""

    def reset(self, hosts: int) -> None:
        """Begin a round with this many hosts: forget everything about earlier episodes."""
        ...

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return one action per host, each allowed by its masks."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """An actor with a memory of its own beyond the observations: it is saved with the run."""

    def state(self) -> Mapping[str, Any]:
        """Return everything that its later decisions depend on, as plain data (JSON)."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, after `Actor.reset`."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Receives telemetry events in order. What it raises is counted and never reaches the run's results."""

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
