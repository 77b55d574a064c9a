import datetime

from esper_leyline_proto.v1 import evidence_pb2 as _evidence_pb2
from esper_leyline_proto.v1 import observation_pb2 as _observation_pb2
from esper_leyline_proto.v1 import seed_pb2 as _seed_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HardwareContext(_message.Message):
    __slots__ = ("device_type", "device_id", "total_memory_bytes", "available_memory_bytes", "temperature_celsius", "utilization")
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    device_type: str
    device_id: str
    total_memory_bytes: int
    available_memory_bytes: int
    temperature_celsius: float
    utilization: float
    def __init__(self, device_type: _Optional[str] = ..., device_id: _Optional[str] = ..., total_memory_bytes: _Optional[int] = ..., available_memory_bytes: _Optional[int] = ..., temperature_celsius: _Optional[float] = ..., utilization: _Optional[float] = ...) -> None: ...

class SeedState(_message.Message):
    __slots__ = ("slot", "stage", "epochs_in_stage", "depth", "alpha", "parameters", "age_epochs", "blueprint", "seed_id", "gradient_norm", "gradient_ratio", "update_ratio", "probe", "contribution", "next_gate", "may_fossilize", "harmful")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_IN_STAGE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    AGE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    SEED_ID_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_RATIO_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    NEXT_GATE_FIELD_NUMBER: _ClassVar[int]
    MAY_FOSSILIZE_FIELD_NUMBER: _ClassVar[int]
    HARMFUL_FIELD_NUMBER: _ClassVar[int]
    slot: str
    stage: _seed_pb2.Stage
    epochs_in_stage: int
    depth: float
    alpha: float
    parameters: int
    age_epochs: int
    blueprint: str
    seed_id: str
    gradient_norm: float
    gradient_ratio: float
    update_ratio: float
    probe: _seed_pb2.PairedDifference
    contribution: _seed_pb2.PairedDifference
    next_gate: _seed_pb2.GateResult
    may_fossilize: bool
    harmful: bool
    def __init__(self, slot: _Optional[str] = ..., stage: _Optional[_Union[_seed_pb2.Stage, str]] = ..., epochs_in_stage: _Optional[int] = ..., depth: _Optional[float] = ..., alpha: _Optional[float] = ..., parameters: _Optional[int] = ..., age_epochs: _Optional[int] = ..., blueprint: _Optional[str] = ..., seed_id: _Optional[str] = ..., gradient_norm: _Optional[float] = ..., gradient_ratio: _Optional[float] = ..., update_ratio: _Optional[float] = ..., probe: _Optional[_Union[_seed_pb2.PairedDifference, _Mapping]] = ..., contribution: _Optional[_Union[_seed_pb2.PairedDifference, _Mapping]] = ..., next_gate: _Optional[_Union[_seed_pb2.GateResult, _Mapping]] = ..., may_fossilize: bool = ..., harmful: bool = ...) -> None: ...

class SystemStatePacket(_message.Message):
    __slots__ = ("id", "run", "host", "round", "epoch", "issued_at", "governor", "governor_reason", "parameters", "host_parameters", "train", "validation", "learning_rate", "compute", "seeds", "hardware", "failure")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_REASON_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    HOST_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: str
    host: str
    round: int
    epoch: int
    issued_at: _timestamp_pb2.Timestamp
    governor: _observation_pb2.GovernorMode
    governor_reason: str
    parameters: int
    host_parameters: int
    train: _evidence_pb2.EpochMetrics
    validation: _evidence_pb2.EpochMetrics
    learning_rate: float
    compute: _evidence_pb2.Compute
    seeds: _containers.RepeatedCompositeFieldContainer[SeedState]
    hardware: HardwareContext
    failure: str
    def __init__(self, id: _Optional[str] = ..., run: _Optional[str] = ..., host: _Optional[str] = ..., round: _Optional[int] = ..., epoch: _Optional[int] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., governor: _Optional[_Union[_observation_pb2.GovernorMode, str]] = ..., governor_reason: _Optional[str] = ..., parameters: _Optional[int] = ..., host_parameters: _Optional[int] = ..., train: _Optional[_Union[_evidence_pb2.EpochMetrics, _Mapping]] = ..., validation: _Optional[_Union[_evidence_pb2.EpochMetrics, _Mapping]] = ..., learning_rate: _Optional[float] = ..., compute: _Optional[_Union[_evidence_pb2.Compute, _Mapping]] = ..., seeds: _Optional[_Iterable[_Union[SeedState, _Mapping]]] = ..., hardware: _Optional[_Union[HardwareContext, _Mapping]] = ..., failure: _Optional[str] = ...) -> None: ...
