import datetime

from esper_leyline_proto.v1 import command_pb2 as _command_pb2
from esper_leyline_proto.v1 import evidence_pb2 as _evidence_pb2
from esper_leyline_proto.v1 import observation_pb2 as _observation_pb2
from esper_leyline_proto.v1 import seed_pb2 as _seed_pb2
from esper_leyline_proto.v1 import value_pb2 as _value_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ended(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDED_UNSPECIFIED: _ClassVar[Ended]
    ENDED_NONE: _ClassVar[Ended]
    ENDED_TERMINATED: _ClassVar[Ended]
    ENDED_TRUNCATED: _ClassVar[Ended]
ENDED_UNSPECIFIED: Ended
ENDED_NONE: Ended
ENDED_TERMINATED: Ended
ENDED_TRUNCATED: Ended

class Decision(_message.Message):
    __slots__ = ("actions", "memo")
    class MemoEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Value, _Mapping]] = ...) -> None: ...
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MEMO_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[_command_pb2.Action]
    memo: _containers.MessageMap[str, _value_pb2.Value]
    def __init__(self, actions: _Optional[_Iterable[_Union[_command_pb2.Action, _Mapping]]] = ..., memo: _Optional[_Mapping[str, _value_pb2.Value]] = ...) -> None: ...

class RewardBreakdown(_message.Message):
    __slots__ = ("terms",)
    class TermsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _containers.ScalarMap[str, float]
    def __init__(self, terms: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Situation(_message.Message):
    __slots__ = ("host", "observation", "masks")
    HOST_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    host: str
    observation: _observation_pb2.Observation
    masks: _observation_pb2.ActionMasks
    def __init__(self, host: _Optional[str] = ..., observation: _Optional[_Union[_observation_pb2.Observation, _Mapping]] = ..., masks: _Optional[_Union[_observation_pb2.ActionMasks, _Mapping]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("host", "round", "epoch", "epochs", "gamma", "observation", "masks", "decision", "verdicts", "before", "after", "twin_before", "twin", "transitions", "seed_reports", "ended", "reward")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TWIN_BEFORE_FIELD_NUMBER: _ClassVar[int]
    TWIN_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    SEED_REPORTS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    host: str
    round: int
    epoch: int
    epochs: int
    gamma: float
    observation: _observation_pb2.Observation
    masks: _observation_pb2.ActionMasks
    decision: Decision
    verdicts: _containers.RepeatedCompositeFieldContainer[_command_pb2.Verdict]
    before: _evidence_pb2.Evidence
    after: _evidence_pb2.Evidence
    twin_before: _evidence_pb2.Evidence
    twin: _evidence_pb2.Evidence
    transitions: _containers.RepeatedCompositeFieldContainer[_seed_pb2.Transition]
    seed_reports: _containers.RepeatedCompositeFieldContainer[_seed_pb2.FieldReport]
    ended: Ended
    reward: RewardBreakdown
    def __init__(self, host: _Optional[str] = ..., round: _Optional[int] = ..., epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., gamma: _Optional[float] = ..., observation: _Optional[_Union[_observation_pb2.Observation, _Mapping]] = ..., masks: _Optional[_Union[_observation_pb2.ActionMasks, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., verdicts: _Optional[_Iterable[_Union[_command_pb2.Verdict, _Mapping]]] = ..., before: _Optional[_Union[_evidence_pb2.Evidence, _Mapping]] = ..., after: _Optional[_Union[_evidence_pb2.Evidence, _Mapping]] = ..., twin_before: _Optional[_Union[_evidence_pb2.Evidence, _Mapping]] = ..., twin: _Optional[_Union[_evidence_pb2.Evidence, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[_seed_pb2.Transition, _Mapping]]] = ..., seed_reports: _Optional[_Iterable[_Union[_seed_pb2.FieldReport, _Mapping]]] = ..., ended: _Optional[_Union[Ended, str]] = ..., reward: _Optional[_Union[RewardBreakdown, _Mapping]] = ...) -> None: ...

class Trajectory(_message.Message):
    __slots__ = ("host", "round", "policy", "steps", "final")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    host: str
    round: int
    policy: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    final: Situation
    def __init__(self, host: _Optional[str] = ..., round: _Optional[int] = ..., policy: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., final: _Optional[_Union[Situation, _Mapping]] = ...) -> None: ...

class FieldReportPacket(_message.Message):
    __slots__ = ("id", "run", "issued_at", "seeds", "trajectory", "observation_schema", "part", "parts")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    TRAJECTORY_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: str
    issued_at: _timestamp_pb2.Timestamp
    seeds: _containers.RepeatedCompositeFieldContainer[_seed_pb2.FieldReport]
    trajectory: Trajectory
    observation_schema: str
    part: int
    parts: int
    def __init__(self, id: _Optional[str] = ..., run: _Optional[str] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seeds: _Optional[_Iterable[_Union[_seed_pb2.FieldReport, _Mapping]]] = ..., trajectory: _Optional[_Union[Trajectory, _Mapping]] = ..., observation_schema: _Optional[str] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ...) -> None: ...
