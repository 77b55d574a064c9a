"""Evidence as plain data and back, its per-sample losses included."""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from esper_core.leyline.evidence import Evidence
from esper_core.leyline.records import plain
from esper_core.leyline.structure import structure


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
