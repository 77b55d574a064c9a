from esper_leyline_proto.v1 import options_pb2 as _options_pb2
from esper_leyline_proto.v1 import seed_pb2 as _seed_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EpochMetrics(_message.Message):
    __slots__ = ("loss", "accuracy", "samples", "seconds")
    LOSS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    loss: float
    accuracy: float
    samples: int
    seconds: float
    def __init__(self, loss: _Optional[float] = ..., accuracy: _Optional[float] = ..., samples: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class SeedEvidence(_message.Message):
    __slots__ = ("slot", "seed_id", "blueprint", "stage", "epochs_in_stage", "age_epochs", "alpha", "parameters", "ready", "source_error", "probe_error", "host_epochs", "group_in_place", "gradient_ratio", "gradient_norm", "host_frozen", "gradients_finite", "isolated", "update_ratio", "bounded", "finite", "probe", "contribution", "ramp_done", "settled_epochs", "host_gain")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SEED_ID_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_IN_STAGE_FIELD_NUMBER: _ClassVar[int]
    AGE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ERROR_FIELD_NUMBER: _ClassVar[int]
    PROBE_ERROR_FIELD_NUMBER: _ClassVar[int]
    HOST_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    GROUP_IN_PLACE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_RATIO_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    HOST_FROZEN_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FINITE_FIELD_NUMBER: _ClassVar[int]
    ISOLATED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    BOUNDED_FIELD_NUMBER: _ClassVar[int]
    FINITE_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    RAMP_DONE_FIELD_NUMBER: _ClassVar[int]
    SETTLED_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    HOST_GAIN_FIELD_NUMBER: _ClassVar[int]
    slot: str
    seed_id: str
    blueprint: str
    stage: _seed_pb2.Stage
    epochs_in_stage: int
    age_epochs: int
    alpha: float
    parameters: int
    ready: bool
    source_error: str
    probe_error: str
    host_epochs: int
    group_in_place: bool
    gradient_ratio: float
    gradient_norm: float
    host_frozen: bool
    gradients_finite: bool
    isolated: bool
    update_ratio: float
    bounded: float
    finite: bool
    probe: _seed_pb2.PairedDifference
    contribution: _seed_pb2.PairedDifference
    ramp_done: bool
    settled_epochs: int
    host_gain: _seed_pb2.PairedDifference
    def __init__(self, slot: _Optional[str] = ..., seed_id: _Optional[str] = ..., blueprint: _Optional[str] = ..., stage: _Optional[_Union[_seed_pb2.Stage, str]] = ..., epochs_in_stage: _Optional[int] = ..., age_epochs: _Optional[int] = ..., alpha: _Optional[float] = ..., parameters: _Optional[int] = ..., ready: bool = ..., source_error: _Optional[str] = ..., probe_error: _Optional[str] = ..., host_epochs: _Optional[int] = ..., group_in_place: bool = ..., gradient_ratio: _Optional[float] = ..., gradient_norm: _Optional[float] = ..., host_frozen: bool = ..., gradients_finite: bool = ..., isolated: bool = ..., update_ratio: _Optional[float] = ..., bounded: _Optional[float] = ..., finite: bool = ..., probe: _Optional[_Union[_seed_pb2.PairedDifference, _Mapping]] = ..., contribution: _Optional[_Union[_seed_pb2.PairedDifference, _Mapping]] = ..., ramp_done: bool = ..., settled_epochs: _Optional[int] = ..., host_gain: _Optional[_Union[_seed_pb2.PairedDifference, _Mapping]] = ...) -> None: ...

class Compute(_message.Message):
    __slots__ = ("training", "candidates", "probes", "evaluation", "counterfactuals")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    COUNTERFACTUALS_FIELD_NUMBER: _ClassVar[int]
    training: str
    candidates: str
    probes: str
    evaluation: str
    counterfactuals: str
    def __init__(self, training: _Optional[str] = ..., candidates: _Optional[str] = ..., probes: _Optional[str] = ..., evaluation: _Optional[str] = ..., counterfactuals: _Optional[str] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("host", "epoch", "train", "validation", "seeds", "gates", "parameters", "host_parameters", "forward_flops", "learning_rate", "compute")
    class GatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _seed_pb2.GateResults
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_seed_pb2.GateResults, _Mapping]] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    HOST_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FLOPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    host: str
    epoch: int
    train: EpochMetrics
    validation: EpochMetrics
    seeds: _containers.RepeatedCompositeFieldContainer[SeedEvidence]
    gates: _containers.MessageMap[str, _seed_pb2.GateResults]
    parameters: int
    host_parameters: int
    forward_flops: int
    learning_rate: float
    compute: Compute
    def __init__(self, host: _Optional[str] = ..., epoch: _Optional[int] = ..., train: _Optional[_Union[EpochMetrics, _Mapping]] = ..., validation: _Optional[_Union[EpochMetrics, _Mapping]] = ..., seeds: _Optional[_Iterable[_Union[SeedEvidence, _Mapping]]] = ..., gates: _Optional[_Mapping[str, _seed_pb2.GateResults]] = ..., parameters: _Optional[int] = ..., host_parameters: _Optional[int] = ..., forward_flops: _Optional[int] = ..., learning_rate: _Optional[float] = ..., compute: _Optional[_Union[Compute, _Mapping]] = ...) -> None: ...
