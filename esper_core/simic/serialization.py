"""Records of the loop as plain data and tensors, and back."""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import torch
from attrs import asdict, evolve
from torch import Tensor

from esper_core.leyline.errors import EsperError
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


def optional_record(evidence: Evidence | None) -> dict[str, Any] | None:
    """Return evidence as plain data; None where there is none."""
    return None if evidence is None else evidence_record(evidence)


def optional_evidence(record: Mapping[str, Any] | None) -> Evidence | None:
    """Return the evidence of a record; None where there is none."""
    return None if record is None else evidence_of(record)


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
    """Return what a policy remembers as plain data."""
    return None if state is None else {**asdict(state, recurse=False), "tensors": _texts(state.tensors)}


def policy_of(record: Mapping[str, Any] | None) -> PolicyState | None:
    """Return what a policy remembers, of a record."""
    return None if record is None else PolicyState(**{**record, "tensors": _tensors(record["tensors"])})


def loop_record(state: LoopState) -> dict[str, Any]:
    """Return what a loop knows as plain data."""
    return {"record": dict(state.record), "tensors": _texts(state.tensors)}


def loop_of(record: Mapping[str, Any]) -> LoopState:
    """Return what a loop knows, of a record."""
    return LoopState(record=record["record"], tensors=_tensors(record["tensors"]))


def _texts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return tensors as plain data: type, shape, and base64 of their bytes."""
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "data": b64encode(
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            ).decode(),
        }
        for name, tensor in tensors.items()
    }


def _tensors(texts: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    tensors = {}
    for name, text in texts.items():
        kind = getattr(torch, text["dtype"], None)
        if not isinstance(kind, torch.dtype):
            raise EsperError("E502", f'the saved tensor "{name}" has a type that does not exist: {text["dtype"]!r:.40}')
        data = bytearray(b64decode(text["data"]))
        flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
        tensors[name] = flat.view(kind).reshape(text["shape"])
    return tensors
