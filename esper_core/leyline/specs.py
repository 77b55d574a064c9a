"""Component descriptors: what a plugin offers, as frozen plain data that imports nothing heavy."""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from attrs import Attribute as _Attribute
from attrs import field, frozen, validators

from esper_core.leyline.layouts import Layout
from esper_core.leyline.stages import GateLevel


class Capability(StrEnum):
    """Optional behaviour is declared, never guessed.

    Attributes:
        RANDOM: draws random numbers in its forward (dropout); it gets a stream of its own.
        PADDING_MASK: the blueprint's seeds take a mask beside the activation; see `BlueprintSpec`.
        SITE_MODULE: the blueprint's factory is shown the submodule of the site; see `BlueprintSpec`.
        SITE_INPUT: the blueprint's seeds take what the site's submodule was given; see `BlueprintSpec`.
        NO_EXPORT: cannot be exported (torch.export, ONNX).
        FIXED_BATCH: the host's forward depends on the batch's size or composition.
        BATCH_STATISTICS: the host keeps running statistics (BatchNorm).
        STATEFUL: the policy remembers something beyond what it is shown; see `Stateful`.
        RECURRENT: the policy has a hidden state for each host; see `Recurrent`. It is stateful as well.
        LEARNS: the policy learns from rounds; see `Learner`. It is stateful as well.
        THREAD_SAFE: the sink may be called from several threads.
        MEASURES_MACHINE: the diagnostic measures the machine as well: it never finds exactly the same twice.
        JUDGES_RUN: the evaluator is asked by the run, with `VitalSigns.run`, and not by a host's own governor.
    """

    RANDOM = "random"
    PADDING_MASK = "padding-mask"
    SITE_MODULE = "site-module"
    SITE_INPUT = "site-input"
    NO_EXPORT = "no-export"
    FIXED_BATCH = "fixed-batch"
    BATCH_STATISTICS = "batch-statistics"
    STATEFUL = "stateful"
    RECURRENT = "recurrent"
    LEARNS = "learns"
    THREAD_SAFE = "thread-safe"
    MEASURES_MACHINE = "measures-machine"
    JUDGES_RUN = "judges-run"


#: ``package.module:attribute``, resolved on first use; in process the object itself is welcome too.
ImportString = str

_IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def check_name(_: Any, attribute: "_Attribute[str]", value: str) -> None:
    """Refuse what is not a name of a component (ValueError)."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{attribute.name} {value!r} must be lower-case words joined by '-', such as 'conv-light'")


def check_reference(_: Any, attribute: "_Attribute[Any]", value: Any) -> None:
    """Refuse what is neither an import string (ValueError) nor a callable (TypeError)."""
    if isinstance(value, str) and not _IMPORT_STRING.fullmatch(value):
        raise ValueError(f"{attribute.name} {value!r} must look like 'package.module:attribute'")
    if not isinstance(value, str) and not callable(value):
        raise TypeError(f"{attribute.name} must be an import string or a callable, not {type(value).__name__}")


def _layouts(values: Iterable[Layout | str]) -> frozenset[Layout]:
    return frozenset(Layout(value) for value in values)


def as_capabilities(values: Iterable[Capability | str]) -> frozenset[Capability]:
    """Return capabilities that are given by name or as members of the enumeration."""
    return frozenset(Capability(value) for value in values)


@frozen(kw_only=True)
class ComponentSpec:
    """What every component declares.

    The class attribute ``kind`` of each kind's descriptor is the kind's name.

    Attributes:
        name: unique within its kind and distribution; lower-case words joined by '-'.
        summary: one line.
        factory: what builds it; each kind's docstring gives the signature.
        config: an attrs class of its options, every one with a default; None if it has none.
        capabilities: optional behaviour.
        since: plugin API version from which on the component works.
        install_hint: a shell line that installs what the component needs beyond its distribution.
        unavailable: why the component cannot run here, or None. It is listed all the same.
    """

    kind: ClassVar[str]

    name: str = field(validator=check_name)
    summary: str = field(validator=validators.instance_of(str))
    factory: ImportString | Callable[..., Any] = field(validator=check_reference)
    config: ImportString | type | None = field(default=None, validator=validators.optional(check_reference))
    capabilities: frozenset[Capability] = field(default=frozenset(), converter=as_capabilities)
    since: str = "1.0"
    install_hint: str | None = None
    unavailable: str | None = None


@frozen(kw_only=True)
class HostSpec(ComponentSpec):
    """A host network. ``factory(config, data: DataShape) -> HostBuild``.

    Attributes:
        layouts: the layouts of its sites.
    """

    kind = "host"

    layouts: frozenset[Layout] = field(converter=_layouts)


@frozen(kw_only=True)
class BlueprintSpec(ComponentSpec):
    """A seed_factory for a seed module. ``factory(site: Site, config) -> nn.Module``.

    The module computes a residual update: ``forward(h) -> delta`` of h's shape and dtype, exactly zero at birth
    with a non-zero first gradient.

    With `Capability.PADDING_MASK` it is ``forward(h, mask) -> delta``. `mask` is (B, T) of bool, True where a position
    is real, or None where all are; it can be left out. What stands in padding must change nothing at real positions.

    With `Capability.SITE_INPUT` it is ``forward(h, x) -> delta``. `x` is what the site's submodule has made `h` of
    where that is a linear or convolutional layer (`Site.input_shape`), else left out. A blueprint takes a mask or `x`.

    With `Capability.SITE_MODULE` it is ``factory(site, config, module)``. `module` is a copy of the site's submodule as
    the host has it now, without any seed: its weights may go into the seed, and so may the module itself. A saved seed
    is rebuilt from a host of the same kind, and then loaded: so names and shapes of its tensors must follow from the
    kind of the submodule, not from the values in it.

    Attributes:
        layouts: the layouts that it fits.
        learnable: it has parameters; False only for a control such as `noop`.
        input_layouts: further layouts that it fits at sites whose input is known.

    Raises:
        ValueError: if its seeds shall take a mask and `x`, or it names `input_layouts` and they take no `x`.
    """

    kind = "blueprint"

    layouts: frozenset[Layout] = field(converter=_layouts)
    learnable: bool = True
    input_layouts: frozenset[Layout] = field(default=frozenset(), converter=_layouts)

    def __attrs_post_init__(self) -> None:
        fed = Capability.SITE_INPUT in self.capabilities
        if (fed and Capability.PADDING_MASK in self.capabilities) or (self.input_layouts and not fed):
            raise ValueError("a blueprint declares padding-mask or site-input, and input_layouts only with the latter")


@frozen(kw_only=True)
class GateSpec(ComponentSpec):
    """A check in front of a stage transition. ``factory(config) -> Gate``.

    Attributes:
        level: the gate that it implements.
        gate_set: the set that it belongs to; a run uses one set (``gates.name``).
    """

    kind = "gate"

    level: GateLevel
    gate_set: str = field(validator=check_name)


@frozen(kw_only=True)
class RewardTermSpec(ComponentSpec):
    """One addend of the reward. ``factory(config) -> RewardTerm``.

    Attributes:
        low, high: bounds of the term's value.
        presets: the presets of rewards that it is a part of, by name, each with its `weight` and its options there.
        potential_based: the term is ``gamma * potential(after) - potential(before)``, with the run's gamma and a
            potential of 0 after a terminal step, so it leaves the optimal policy unchanged (Ng, Harada and Russell,
            1999). Conformance checks hold it to that.
    """

    kind = "reward-term"

    low: float
    high: float
    potential_based: bool = False
    presets: Mapping[str, Mapping[str, Any]] = field(factory=dict)


class PolicySpec(ComponentSpec):
    """A policy. ``factory(config, catalogue: Catalogue) -> Actor``."""

    # What adds no field is not an attrs class of its own: making one takes a hundred times as long, at every start.
    __slots__ = ()
    kind = "policy"


class SinkSpec(ComponentSpec):
    """A telemetry sink. ``factory(config) -> Sink``."""

    __slots__ = ()
    kind = "sink"


@frozen(kw_only=True)
class TaskSpec(ComponentSpec):
    """Data, loss and metric. ``factory(config) -> Task``.

    Attributes:
        host: name of the default host.
        host_options: the default host's options for this task.
        defaults: run settings that suit the task, by dotted key (``epochs``, ``batch_size``, ``optimizer.lr``).
    """

    kind = "task"

    host: str
    host_options: Mapping[str, Any] = field(factory=dict)
    defaults: Mapping[str, Any] = field(factory=dict)


class ExecutorSpec(ComponentSpec):
    """Where growing hosts run: in this process, in others, on other devices.

    ``factory(config, build: HostBuilder) -> Executor``.
    """

    __slots__ = ()
    kind = "executor"


class EvaluatorSpec(ComponentSpec):
    """Votes, after every epoch, on how far the governor may trust a host. ``factory(config) -> Evaluator``."""

    __slots__ = ()
    kind = "evaluator"


class DiagnosticSpec(ComponentSpec):
    """Looks into a growing network after each epoch and changes nothing. ``factory(config) -> Diagnostic``."""

    __slots__ = ()
    kind = "diagnostic"
