"""Run directories made by hand, event by event, from the records that a run writes."""

import json
from pathlib import Path
from typing import Any

from esper_core.leyline.actions import Action, Op, Transition, Verdict
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FieldReport
from esper_core.leyline.stages import Blend, Cause, GateLevel, Stage

#: When handmade runs begin, in seconds since 1970.
BEGAN = 1_700_000_000


def paired(mean: float, error: float = 0.01) -> PairedDifference:
    return PairedDifference(mean=mean, standard_error=error, count=100)


def seed(slot: str, stage: Stage, **known: Any) -> SeedEvidence:
    facts: dict[str, Any] = {
        "seed_id": f"{slot}-0",
        "blueprint": "conv-light",
        "epochs_in_stage": 1,
        "age_epochs": 1,
        "alpha": 0.0,
        "parameters": 592,
    }
    return SeedEvidence(slot=slot, stage=stage, **(facts | known))


def verdict(gate: GateLevel, passed: bool, reason: str, **evidence: Any) -> GateResult:
    return GateResult(gate=gate, passed=passed, score=float(passed), reason=reason, evidence=evidence)


class RunFiles:
    """The files of one run: say what happens, then `write`."""

    def __init__(self, runs: Path, name: str = "digits-1") -> None:
        self.path = runs / name
        self.events: list[Event] = []

    def manifest(self, **changes: Any) -> dict[str, Any]:
        config = {
            "epochs": 10,
            "twin": True,
            "telemetry": "normal",
            "task": {"name": "digits"},
            "host": {"name": "cnn", "widths": [4, 8]},
            "policy": {"name": "heuristic"},
            "sinks": {"names": ["console", "jsonl"], "jsonl": {"path": None}},
        } | changes.pop("config", {})
        used = {"distribution": "esper-host-cnn", "version": "0.1.0", "used": [{"kind": "host", "name": "cnn"}]}
        return {
            "format": 1,
            "name": self.path.name,
            "started": "2023-11-14T22:13:20+00:00",
            "command": ["/bin/esper", "run", "digits"],
            "seed": 7,
            "config": config,
            "catalogue": [{"name": "conv-light", "options": {}}],
            "core": {"distribution": "esper-core", "version": "0.1.0"},
            "plugins": [used, {"distribution": "esper-idle", "version": "9.9", "used": []}],
        } | changes

    def result(self, grown: float = 0.9, twin: float | None = 0.8, **changes: Any) -> dict[str, Any]:
        host = {"epochs": 10, "test_loss": 0.5, "test_samples": 100, "parameters": 438, "forward_flops": 14_000}
        host |= {"train_seconds": 4.0}
        hosts = {"grown": host | {"test_accuracy": grown, "parameters": 1030}}
        difference = None
        if twin is not None:
            hosts["twin"] = host | {"test_accuracy": twin}
            difference = {"test_accuracy": grown - twin, "test_loss": -0.1, "parameters": 592, "forward_flops": 0}
            difference |= {"train_seconds": 1.0, "test_gain": plain(paired(-0.05 if grown < twin else 0.05))}
        return {
            "task": "digits",
            "outcome": "completed",
            "test_share_of": {"unit": "samples", "count": 100},
            "hosts": hosts,
            "difference": difference,
            "seeds": [],
        } | changes

    def event(self, kind: EventKind, data: Any, *, host: str = "grown", epoch: int | None = None) -> None:
        number = len(self.events)
        self.events.append(
            Event(kind=kind, host=host, epoch=epoch, data=plain(data), sequence=number, time=BEGAN + number)
        )

    def action(self, op: Op, epoch: int, slot: str | None = None, reason: str = "because", **more: Any) -> None:
        action = Action(op=op, slot=slot, reason=reason, policy="heuristic", id=f"grown/{epoch}", **more)
        self.event(EventKind.ACTION_DECIDED, action, epoch=epoch)

    def denial(self, epoch: int, reason: str) -> None:
        self.event(
            EventKind.ACTION_DENIED, Verdict(action_id=f"grown/{epoch}", allowed=False, reason=reason), epoch=epoch
        )

    def germination(self, slot: str, epoch: int, number: int = 0) -> None:
        self.action(Op.GERMINATE, epoch, slot, "it underfits", blueprint="conv-light", blend=Blend.LINEAR)
        self.transition(
            slot, Stage.DORMANT, Stage.GERMINATED, epoch, number=number, cause=Cause.ACTION, reason="it underfits"
        )

    def transition(self, slot: str, source: Stage, target: Stage, epoch: int, **more: Any) -> None:
        cause, number = more.pop("cause", Cause.GATE), more.pop("number", 0)
        facts: dict[str, Any] = {"epochs_in_source": 1, "reason": "it may"} | more
        if cause is Cause.ACTION:
            facts["action_id"] = f"grown/{epoch}"
        told = Transition(
            slot=slot,
            seed_id=f"{slot}-{number}",
            blueprint="conv-light",
            source=source,
            target=target,
            epoch=epoch,
            cause=cause,
            **facts,
        )
        self.event(EventKind.SEED_TRANSITION, told, epoch=epoch)

    def epoch(
        self,
        epoch: int,
        slots: dict[str, Stage],
        *seeds: SeedEvidence,
        host: str = "grown",
        gates: dict[str, tuple[GateResult, ...]] | None = None,
        accuracy: float = 0.5,
        loss: float = 1.0,
        parameters: int = 438,
    ) -> None:
        metrics = EpochMetrics(loss=loss, accuracy=accuracy, samples=100)
        evidence = Evidence(
            host=host,
            epoch=epoch,
            train=metrics,
            validation=metrics,
            seeds=seeds,
            gates=gates or {},
            parameters=parameters,
            forward_flops=14_000,
        )
        self.event(EventKind.EPOCH_COMPLETED, {**plain(evidence), "slots": slots}, host=host, epoch=epoch)

    def finished_seed(self, slot: str, stage: Stage, germinated: int, ended: int, **more: Any) -> None:
        report = FieldReport(
            slot=slot,
            seed_id=f"{slot}-0",
            blueprint="conv-light",
            parameters=592,
            germinated_epoch=germinated,
            ended_epoch=ended,
            final_stage=stage,
            epochs_by_stage={},
            **more,
        )
        self.event(EventKind.SEED_FINISHED, report, epoch=ended)

    def write(
        self, manifest: dict[str, Any] | None = None, result: dict[str, Any] | None = None, tail: str = ""
    ) -> Path:
        """Write what has happened, as a run does: a log grows. `tail` is put behind the last event as it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        _put(self.path / "manifest.json", json.dumps(manifest or self.manifest()))
        _put(self.path / "events.jsonl", "".join(f"{to_json(event)}\n" for event in self.events) + tail)
        if result is not None:
            (self.path / "result.json").write_text(json.dumps(result))
        return self.path

    def short_life(self) -> "RunFiles":
        """Ten epochs beside a twin: `a` is fossilized, `b` is culled after its gate was failed three times."""
        self.event(EventKind.RUN_STARTED, self.manifest(), host="")
        for epoch in range(10):
            self.epoch(epoch, {"a": Stage.DORMANT, "b": Stage.DORMANT}, host="twin", accuracy=0.3 + epoch / 30)
            self._before(epoch)
            self.epoch(
                epoch,
                {"a": _A[epoch], "b": _B[epoch]},
                *self._seeds(epoch),
                gates=self._gates(epoch),
                accuracy=0.3 + epoch / 20,
                loss=2.0 / (epoch + 1),
                parameters=438 if epoch < 2 else 1030,
            )
        return self

    def _before(self, epoch: int) -> None:
        if epoch < 2:
            self.action(Op.WAIT, epoch, reason=f"only {epoch} epochs are over")
        if epoch == 2:
            self.germination("a", 2)
            self.transition("a", Stage.GERMINATED, Stage.TRAINING, 2, gates=(verdict(GateLevel.G0, True, "it came"),))
        if epoch == 3:
            self.transition("a", Stage.TRAINING, Stage.BLENDING, 3, gates=(_G2,), reason=_G2.reason)
            self.germination("b", 3)
            self.transition("b", Stage.GERMINATED, Stage.TRAINING, 3)
        if epoch == 5:
            self.transition("a", Stage.BLENDING, Stage.PROBATIONARY, 5)
        if epoch == 6:
            self.transition("b", Stage.TRAINING, Stage.CULLED, 6, cause=Cause.TIMEOUT, reason="it did not learn")
            self.finished_seed("b", Stage.CULLED, 3, 6, reason="it did not learn")
        if epoch == 7:
            self.action(Op.FOSSILIZE, 7, "a", "it has passed", confidence=0.9)
            self.transition("a", Stage.PROBATIONARY, Stage.FOSSILIZED, 7, cause=Cause.ACTION, reason="it has passed")
            self.finished_seed("a", Stage.FOSSILIZED, 2, 7, ablation=paired(0.2), gain=paired(0.02))

    def _seeds(self, epoch: int) -> list[SeedEvidence]:
        there = [(slot, stages[epoch]) for slot, stages in (("a", _A), ("b", _B)) if stages[epoch].holds_module]
        alpha = {3: 0.25, 4: 0.75}.get(epoch, 1.0 if epoch > 4 else 0.0)
        return [
            seed(
                slot,
                stage,
                alpha=alpha if slot == "a" else 0.0,
                contribution=paired(0.1 + epoch / 100) if slot == "a" and epoch > 2 else None,
                host_gain=paired(0.01 * epoch),
            )
            for slot, stage in there
        ]

    def _gates(self, epoch: int) -> dict[str, tuple[GateResult, ...]]:
        found: dict[str, tuple[GateResult, ...]] = {}
        if epoch == 2:
            found["a"] = (_G2,)
        if 3 <= epoch <= 5:
            found["b"] = (verdict(GateLevel.G2, False, f"update_ratio {epoch} > 1", update_ratio=float(epoch)),)
        return found


def _put(path: Path, text: str) -> None:
    """Write a file so that who looks meanwhile sees nothing that never was: what is there is not written again."""
    before = path.read_text() if path.exists() else ""
    if before and text.startswith(before):
        with path.open("a") as file:
            file.write(text[len(before) :])
    else:
        path.write_text(text)


_G2 = verdict(
    GateLevel.G2, True, "small enough", update_ratio=0.25, probe_nats=0.5, probe_standard_error=0.125, probe_samples=100
)
_A = [Stage.DORMANT] * 2 + [Stage.TRAINING] + [Stage.BLENDING] * 2 + [Stage.PROBATIONARY] * 2 + [Stage.FOSSILIZED] * 3
_B = [Stage.DORMANT] * 3 + [Stage.TRAINING] * 3 + [Stage.CULLED] + [Stage.EMBARGOED] * 3
