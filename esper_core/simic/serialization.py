"""Records of the loop as plain data and tensors, and back."""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve
from safetensors.torch import load, save
from torch import Tensor

from esper_core.leyline.evidence import Evidence
from esper_core.leyline.learning import Decision, PolicyState
from esper_core.leyline.records import plain
from esper_core.leyline.structure import structure
from esper_core.simic.state import LoopState


def evidence_record(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as plain data; the validation losses of the samples are base64 of 32-bit floats."""
    record: dict[str, Any] = {"evidence": plain(evidence)}
    if (losses := evidence.validation.sample_losses) is not None:
        record["losses"] = b64encode(losses.tobytes()).decode()
    return record


def evidence_of(record: Mapping[str, Any]) -> Evidence:
    """Return the evidence of a record."""
    evidence = structure(Evidence, dict(record["evidence"]))
    if "losses" not in record:
        return evidence
    losses = array("f")
    losses.frombytes(b64decode(record["losses"]))
    return evolve(evidence, validation=evolve(evidence.validation, sample_losses=losses))


def decision_record(decision: Decision, tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return a decision as plain data; the tensors of its memo go into `tensors`, under names with this prefix.

    Raises:
        TypeError: if something else in the memo has no plain form.
    """
    kept = {name: value for name, value in decision.memo.items() if isinstance(value, Tensor)}
    tensors.update({f"{prefix}{name}": tensor for name, tensor in kept.items()})
    memo = {name: plain(value) for name, value in decision.memo.items() if name not in kept}
    return {"actions": plain(decision.actions), "memo": memo, "tensors": [*kept]}


def decision_of(record: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> Decision:
    """Return the decision of a record."""
    actions = structure(Decision, {"actions": record["actions"]}).actions
    return Decision(actions=actions, memo={**record["memo"], **{n: tensors[f"{prefix}{n}"] for n in record["tensors"]}})


def policy_record(state: PolicyState | None) -> dict[str, Any] | None:
    """Return what a policy remembers as plain data; tensors are base64 of a safetensors file."""
    if state is None:
        return None
    return {**asdict(state, recurse=False), "tensors": _text(state.tensors)}


def policy_of(record: Mapping[str, Any] | None) -> PolicyState | None:
    """Return what a policy remembers, of a record."""
    return None if record is None else PolicyState(**{**record, "tensors": load(b64decode(record["tensors"]))})


def loop_record(state: LoopState) -> dict[str, Any]:
    """Return what a loop knows as plain data; tensors are base64 of a safetensors file."""
    return {"record": dict(state.record), "tensors": _text(state.tensors)}


def loop_of(record: Mapping[str, Any]) -> LoopState:
    """Return what a loop knows, of a record."""
    return LoopState(record=record["record"], tensors=load(b64decode(record["tensors"])))


def _text(tensors: Mapping[str, Tensor]) -> str:
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return b64encode(save(contiguous)).decode()
