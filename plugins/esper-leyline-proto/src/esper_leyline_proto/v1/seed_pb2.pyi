from esper_leyline_proto.v1 import options_pb2 as _options_pb2
from esper_leyline_proto.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_DORMANT: _ClassVar[Stage]
    STAGE_GERMINATED: _ClassVar[Stage]
    STAGE_TRAINING: _ClassVar[Stage]
    STAGE_BLENDING: _ClassVar[Stage]
    STAGE_PROBATIONARY: _ClassVar[Stage]
    STAGE_FOSSILIZED: _ClassVar[Stage]
    STAGE_CULLED: _ClassVar[Stage]
    STAGE_EMBARGOED: _ClassVar[Stage]
    STAGE_RESETTING: _ClassVar[Stage]

class GateLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_LEVEL_UNSPECIFIED: _ClassVar[GateLevel]
    GATE_LEVEL_G0: _ClassVar[GateLevel]
    GATE_LEVEL_G1: _ClassVar[GateLevel]
    GATE_LEVEL_G2: _ClassVar[GateLevel]
    GATE_LEVEL_G3: _ClassVar[GateLevel]
    GATE_LEVEL_G5: _ClassVar[GateLevel]

class Blend(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BLEND_UNSPECIFIED: _ClassVar[Blend]
    BLEND_LINEAR: _ClassVar[Blend]
    BLEND_COSINE: _ClassVar[Blend]
    BLEND_SIGMOID: _ClassVar[Blend]
    BLEND_GATED: _ClassVar[Blend]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_ACTION: _ClassVar[Cause]
    CAUSE_GATE: _ClassVar[Cause]
    CAUSE_TIMEOUT: _ClassVar[Cause]
    CAUSE_SAFETY: _ClassVar[Cause]
    CAUSE_COOLDOWN: _ClassVar[Cause]
STAGE_UNSPECIFIED: Stage
STAGE_DORMANT: Stage
STAGE_GERMINATED: Stage
STAGE_TRAINING: Stage
STAGE_BLENDING: Stage
STAGE_PROBATIONARY: Stage
STAGE_FOSSILIZED: Stage
STAGE_CULLED: Stage
STAGE_EMBARGOED: Stage
STAGE_RESETTING: Stage
GATE_LEVEL_UNSPECIFIED: GateLevel
GATE_LEVEL_G0: GateLevel
GATE_LEVEL_G1: GateLevel
GATE_LEVEL_G2: GateLevel
GATE_LEVEL_G3: GateLevel
GATE_LEVEL_G5: GateLevel
BLEND_UNSPECIFIED: Blend
BLEND_LINEAR: Blend
BLEND_COSINE: Blend
BLEND_SIGMOID: Blend
BLEND_GATED: Blend
CAUSE_UNSPECIFIED: Cause
CAUSE_ACTION: Cause
CAUSE_GATE: Cause
CAUSE_TIMEOUT: Cause
CAUSE_SAFETY: Cause
CAUSE_COOLDOWN: Cause

class PairedDifference(_message.Message):
    __slots__ = ("mean", "standard_error", "count")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    mean: float
    standard_error: float
    count: int
    def __init__(self, mean: _Optional[float] = ..., standard_error: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class GateResult(_message.Message):
    __slots__ = ("gate", "passed", "score", "reason", "evidence", "harmful")
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Value, _Mapping]] = ...) -> None: ...
    GATE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    HARMFUL_FIELD_NUMBER: _ClassVar[int]
    gate: GateLevel
    passed: bool
    score: float
    reason: str
    evidence: _containers.MessageMap[str, _value_pb2.Value]
    harmful: bool
    def __init__(self, gate: _Optional[_Union[GateLevel, str]] = ..., passed: bool = ..., score: _Optional[float] = ..., reason: _Optional[str] = ..., evidence: _Optional[_Mapping[str, _value_pb2.Value]] = ..., harmful: bool = ...) -> None: ...

class GateResults(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[GateResult]
    def __init__(self, items: _Optional[_Iterable[_Union[GateResult, _Mapping]]] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("slot", "seed_id", "blueprint", "source", "target", "epoch", "epochs_in_source", "cause", "reason", "action_id", "gates")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SEED_ID_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_IN_SOURCE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    slot: str
    seed_id: str
    blueprint: str
    source: Stage
    target: Stage
    epoch: int
    epochs_in_source: int
    cause: Cause
    reason: str
    action_id: str
    gates: _containers.RepeatedCompositeFieldContainer[GateResult]
    def __init__(self, slot: _Optional[str] = ..., seed_id: _Optional[str] = ..., blueprint: _Optional[str] = ..., source: _Optional[_Union[Stage, str]] = ..., target: _Optional[_Union[Stage, str]] = ..., epoch: _Optional[int] = ..., epochs_in_source: _Optional[int] = ..., cause: _Optional[_Union[Cause, str]] = ..., reason: _Optional[str] = ..., action_id: _Optional[str] = ..., gates: _Optional[_Iterable[_Union[GateResult, _Mapping]]] = ...) -> None: ...

class FieldReport(_message.Message):
    __slots__ = ("slot", "seed_id", "blueprint", "parameters", "germinated_epoch", "ended_epoch", "final_stage", "epochs_by_stage", "reason", "accuracy_at_germination", "accuracy_at_end", "ablation", "gain")
    class EpochsByStageEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SEED_ID_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    GERMINATED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ENDED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FINAL_STAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_BY_STAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_AT_GERMINATION_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_AT_END_FIELD_NUMBER: _ClassVar[int]
    ABLATION_FIELD_NUMBER: _ClassVar[int]
    GAIN_FIELD_NUMBER: _ClassVar[int]
    slot: str
    seed_id: str
    blueprint: str
    parameters: int
    germinated_epoch: int
    ended_epoch: int
    final_stage: Stage
    epochs_by_stage: _containers.ScalarMap[str, int]
    reason: str
    accuracy_at_germination: float
    accuracy_at_end: float
    ablation: PairedDifference
    gain: PairedDifference
    def __init__(self, slot: _Optional[str] = ..., seed_id: _Optional[str] = ..., blueprint: _Optional[str] = ..., parameters: _Optional[int] = ..., germinated_epoch: _Optional[int] = ..., ended_epoch: _Optional[int] = ..., final_stage: _Optional[_Union[Stage, str]] = ..., epochs_by_stage: _Optional[_Mapping[str, int]] = ..., reason: _Optional[str] = ..., accuracy_at_germination: _Optional[float] = ..., accuracy_at_end: _Optional[float] = ..., ablation: _Optional[_Union[PairedDifference, _Mapping]] = ..., gain: _Optional[_Union[PairedDifference, _Mapping]] = ...) -> None: ...
