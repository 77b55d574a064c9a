from esper_leyline_proto.v1 import command_pb2 as _command_pb2
from esper_leyline_proto.v1 import evidence_pb2 as _evidence_pb2
from esper_leyline_proto.v1 import options_pb2 as _options_pb2
from esper_leyline_proto.v1 import seed_pb2 as _seed_pb2
from esper_leyline_proto.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYOUT_UNSPECIFIED: _ClassVar[Layout]
    LAYOUT_NCHW: _ClassVar[Layout]
    LAYOUT_BTD: _ClassVar[Layout]
    LAYOUT_BD: _ClassVar[Layout]

class GovernorMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOVERNOR_MODE_UNSPECIFIED: _ClassVar[GovernorMode]
    GOVERNOR_MODE_NORMAL: _ClassVar[GovernorMode]
    GOVERNOR_MODE_CONSERVATIVE: _ClassVar[GovernorMode]
    GOVERNOR_MODE_STOPPED: _ClassVar[GovernorMode]
LAYOUT_UNSPECIFIED: Layout
LAYOUT_NCHW: Layout
LAYOUT_BTD: Layout
LAYOUT_BD: Layout
GOVERNOR_MODE_UNSPECIFIED: GovernorMode
GOVERNOR_MODE_NORMAL: GovernorMode
GOVERNOR_MODE_CONSERVATIVE: GovernorMode
GOVERNOR_MODE_STOPPED: GovernorMode

class Site(_message.Message):
    __slots__ = ("id", "path", "layout", "width", "sample_shape", "output", "causal", "mask", "order", "depth", "inplace_successor", "dtype", "input_shape")
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CAUSAL_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    INPLACE_SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    id: str
    path: str
    layout: Layout
    width: int
    sample_shape: _containers.RepeatedScalarFieldContainer[int]
    output: _value_pb2.Value
    causal: bool
    mask: _value_pb2.Value
    order: int
    depth: float
    inplace_successor: bool
    dtype: str
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[str] = ..., path: _Optional[str] = ..., layout: _Optional[_Union[Layout, str]] = ..., width: _Optional[int] = ..., sample_shape: _Optional[_Iterable[int]] = ..., output: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., causal: bool = ..., mask: _Optional[_Union[_value_pb2.Value, _Mapping]] = ..., order: _Optional[int] = ..., depth: _Optional[float] = ..., inplace_successor: bool = ..., dtype: _Optional[str] = ..., input_shape: _Optional[_Iterable[int]] = ...) -> None: ...

class SlotState(_message.Message):
    __slots__ = ("site", "stage", "previous_stage", "epochs_in_stage", "blueprint", "age_epochs", "blend", "ramp_epochs", "alpha", "parameters", "settled_epochs", "next_gate", "may_fossilize", "harmful", "culled_blueprints")
    SITE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_IN_STAGE_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    AGE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BLEND_FIELD_NUMBER: _ClassVar[int]
    RAMP_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    NEXT_GATE_FIELD_NUMBER: _ClassVar[int]
    MAY_FOSSILIZE_FIELD_NUMBER: _ClassVar[int]
    HARMFUL_FIELD_NUMBER: _ClassVar[int]
    CULLED_BLUEPRINTS_FIELD_NUMBER: _ClassVar[int]
    site: Site
    stage: _seed_pb2.Stage
    previous_stage: _seed_pb2.Stage
    epochs_in_stage: int
    blueprint: str
    age_epochs: int
    blend: _seed_pb2.Blend
    ramp_epochs: int
    alpha: float
    parameters: int
    settled_epochs: int
    next_gate: _seed_pb2.GateResult
    may_fossilize: bool
    harmful: bool
    culled_blueprints: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, site: _Optional[_Union[Site, _Mapping]] = ..., stage: _Optional[_Union[_seed_pb2.Stage, str]] = ..., previous_stage: _Optional[_Union[_seed_pb2.Stage, str]] = ..., epochs_in_stage: _Optional[int] = ..., blueprint: _Optional[str] = ..., age_epochs: _Optional[int] = ..., blend: _Optional[_Union[_seed_pb2.Blend, str]] = ..., ramp_epochs: _Optional[int] = ..., alpha: _Optional[float] = ..., parameters: _Optional[int] = ..., settled_epochs: _Optional[int] = ..., next_gate: _Optional[_Union[_seed_pb2.GateResult, _Mapping]] = ..., may_fossilize: bool = ..., harmful: bool = ..., culled_blueprints: _Optional[_Iterable[str]] = ...) -> None: ...

class LearningCurves(_message.Message):
    __slots__ = ("train_losses", "validation_losses", "train_accuracies", "validation_accuracies", "best_validation_loss", "best_validation_accuracy", "epochs_since_best")
    TRAIN_LOSSES_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSSES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_ACCURACIES_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_ACCURACIES_FIELD_NUMBER: _ClassVar[int]
    BEST_VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    BEST_VALIDATION_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_SINCE_BEST_FIELD_NUMBER: _ClassVar[int]
    train_losses: _containers.RepeatedScalarFieldContainer[float]
    validation_losses: _containers.RepeatedScalarFieldContainer[float]
    train_accuracies: _containers.RepeatedScalarFieldContainer[float]
    validation_accuracies: _containers.RepeatedScalarFieldContainer[float]
    best_validation_loss: float
    best_validation_accuracy: float
    epochs_since_best: int
    def __init__(self, train_losses: _Optional[_Iterable[float]] = ..., validation_losses: _Optional[_Iterable[float]] = ..., train_accuracies: _Optional[_Iterable[float]] = ..., validation_accuracies: _Optional[_Iterable[float]] = ..., best_validation_loss: _Optional[float] = ..., best_validation_accuracy: _Optional[float] = ..., epochs_since_best: _Optional[int] = ...) -> None: ...

class HostSignals(_message.Message):
    __slots__ = ("epoch", "epochs", "curves", "random_guess_loss", "parameters", "host_parameters", "governor", "twin_validation_loss", "compute", "budget_share")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    RANDOM_GUESS_LOSS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    HOST_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    TWIN_VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_SHARE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    epochs: int
    curves: LearningCurves
    random_guess_loss: float
    parameters: int
    host_parameters: int
    governor: GovernorMode
    twin_validation_loss: float
    compute: _evidence_pb2.Compute
    budget_share: float
    def __init__(self, epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., curves: _Optional[_Union[LearningCurves, _Mapping]] = ..., random_guess_loss: _Optional[float] = ..., parameters: _Optional[int] = ..., host_parameters: _Optional[int] = ..., governor: _Optional[_Union[GovernorMode, str]] = ..., twin_validation_loss: _Optional[float] = ..., compute: _Optional[_Union[_evidence_pb2.Compute, _Mapping]] = ..., budget_share: _Optional[float] = ...) -> None: ...

class SlotSignals(_message.Message):
    __slots__ = ("state", "evidence", "command", "verdict")
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    state: SlotState
    evidence: _evidence_pb2.SeedEvidence
    command: _command_pb2.Action
    verdict: _command_pb2.Verdict
    def __init__(self, state: _Optional[_Union[SlotState, _Mapping]] = ..., evidence: _Optional[_Union[_evidence_pb2.SeedEvidence, _Mapping]] = ..., command: _Optional[_Union[_command_pb2.Action, _Mapping]] = ..., verdict: _Optional[_Union[_command_pb2.Verdict, _Mapping]] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("host", "slots")
    HOST_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    host: HostSignals
    slots: _containers.RepeatedCompositeFieldContainer[SlotSignals]
    def __init__(self, host: _Optional[_Union[HostSignals, _Mapping]] = ..., slots: _Optional[_Iterable[_Union[SlotSignals, _Mapping]]] = ...) -> None: ...

class ActionMasks(_message.Message):
    __slots__ = ("slots", "blueprints", "germinate", "cull", "fossilize", "blends")
    class GerminateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.Names
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Names, _Mapping]] = ...) -> None: ...
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINTS_FIELD_NUMBER: _ClassVar[int]
    GERMINATE_FIELD_NUMBER: _ClassVar[int]
    CULL_FIELD_NUMBER: _ClassVar[int]
    FOSSILIZE_FIELD_NUMBER: _ClassVar[int]
    BLENDS_FIELD_NUMBER: _ClassVar[int]
    slots: _containers.RepeatedScalarFieldContainer[str]
    blueprints: _containers.RepeatedScalarFieldContainer[str]
    germinate: _containers.MessageMap[str, _value_pb2.Names]
    cull: _containers.RepeatedScalarFieldContainer[str]
    fossilize: _containers.RepeatedScalarFieldContainer[str]
    blends: _containers.RepeatedScalarFieldContainer[_seed_pb2.Blend]
    def __init__(self, slots: _Optional[_Iterable[str]] = ..., blueprints: _Optional[_Iterable[str]] = ..., germinate: _Optional[_Mapping[str, _value_pb2.Names]] = ..., cull: _Optional[_Iterable[str]] = ..., fossilize: _Optional[_Iterable[str]] = ..., blends: _Optional[_Iterable[_Union[_seed_pb2.Blend, str]]] = ...) -> None: ...
