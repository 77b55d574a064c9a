"""The trajectories of one round as they come about, and as they are saved in its midst."""

import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from esper_core.leyline.evidence import Evidence
from esper_core.leyline.learning import Decision, Ended, Situation, Step, Trajectory
from esper_core.leyline.records import plain
from esper_core.leyline.structure import structure
from esper_core.simic.serialization import decision_of, decision_record

#: The name of the tensor that holds the records of all steps: JSON, compressed. They do not belong in a file's header.
_STEPS = "steps"
#: How much longer than compressed they may be, and how long in any case. What zlib can make is 1,000 times as long.
_MOST_TIMES, _ALWAYS = 200, 1 << 20


class TrajectoryLog:
    """Collects steps, host by host. A trajectory is complete when a step ends it; the host may then begin another one.

    Args:
        policy: name and version of the policy that decides.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._complete: list[Trajectory] = []
        self._open: dict[str, list[Step]] = {}

    def add(self, step: Step) -> None:
        """Take in the next step of a host, without the losses of single samples, which nobody learns from."""
        self._open.setdefault(step.host, []).append(_slim(step))

    def end(self, final: Situation) -> None:
        """Complete the trajectory of a host; `final` is how the host stands now.

        One that its last step has not ended is cut short there, as where the host has failed.
        """
        if not (steps := self._open.pop(final.host, [])):
            return
        if steps[-1].ended is Ended.NONE:
            steps[-1] = evolve(steps[-1], ended=Ended.TRUNCATED)
        self._complete.append(
            Trajectory(host=final.host, round=steps[0].round, policy=self._policy, steps=tuple(steps), final=final)
        )

    def ended(self, host: str) -> bool:
        """Say whether the last step of a host has ended its trajectory."""
        steps = self._open.get(host, [])
        return bool(steps) and steps[-1].ended is not Ended.NONE

    @property
    def complete(self) -> tuple[Trajectory, ...]:
        """The complete trajectories, in the order in which they ended."""
        return tuple(self._complete)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors."""
        tensors: dict[str, Tensor] = {}
        content = {
            "complete": [
                {"final": plain(it.final), "steps": _records(it.steps, tensors, f"complete/{index}")}
                for index, it in enumerate(self._complete)
            ],
            "open": {host: _records(steps, tensors, f"open/{host}") for host, steps in self._open.items()},
        }
        data = zlib.compress(json.dumps(content).encode())
        return tensors | {_STEPS: torch.frombuffer(bytearray(data), dtype=torch.uint8)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave. Raises ValueError for more than steps can be."""
        content = json.loads(_decompressed(tensors[_STEPS].numpy().tobytes()))
        self._complete.clear()
        for index, saved in enumerate(content["complete"]):
            final = structure(Situation, saved["final"])
            self._open[final.host] = _steps(saved["steps"], tensors, f"complete/{index}")
            self.end(final)
        self._open = {host: _steps(saved, tensors, f"open/{host}") for host, saved in content["open"].items()}


def _decompressed(data: bytes) -> bytes:
    reader = zlib.decompressobj()
    content = reader.decompress(data, _ALWAYS + _MOST_TIMES * len(data))
    if not reader.eof:
        raise ValueError(f"{_STEPS} are cut off, or more than {_MOST_TIMES} times as long as compressed")
    return content


def _slim(step: Step) -> Step:
    return evolve(
        step,
        before=step.before and _without_losses(step.before),
        after=_without_losses(step.after),
        twin_before=step.twin_before and _without_losses(step.twin_before),
        twin=step.twin and _without_losses(step.twin),
    )


def _without_losses(evidence: Evidence) -> Evidence:
    return evolve(evidence, validation=evolve(evidence.validation, sample_losses=None))


def _records(steps: Sequence[Step], tensors: dict[str, Tensor], prefix: str) -> list[dict[str, Any]]:
    """Return steps as plain data. Evidence of two steps in a row is written once."""
    records = []
    for index, step in enumerate(steps):
        record = plain(evolve(step, decision=Decision(), before=None, twin_before=None))
        record["decision"] = decision_record(step.decision, tensors, f"{prefix}/{index}/")
        records.append(record)
    if steps:
        records[0] |= {"before": plain(steps[0].before), "twin_before": plain(steps[0].twin_before)}
    return records


def _steps(records: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], prefix: str) -> list[Step]:
    steps = []
    for index, record in enumerate(records):
        decision = decision_of(record["decision"], tensors, f"{prefix}/{index}/")
        rest = {name: value for name, value in record.items() if name != "decision"}
        steps.append(evolve(structure(Step, rest), decision=decision))
    return steps[:1] + [evolve(step, before=last.after, twin_before=last.twin) for last, step in pairwise(steps)]
