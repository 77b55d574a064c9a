"""What of an epoch reaches the log, and from which telemetry level on."""

from esper_core.leyline.actions import ActionMasks
from esper_core.leyline.events import EventKind, Level
from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult, SeedEvidence
from esper_core.leyline.reports import HostReport
from esper_core.leyline.stages import GateLevel, Stage
from esper_core.simic.recording import Recorder

METRICS = EpochMetrics(loss=1.0, accuracy=0.5, samples=10)
VERDICT = GateResult(gate=GateLevel.G2, passed=False, reason="too soon", evidence={"epochs_in_stage": 1})
SEED = SeedEvidence(
    slot="a", seed_id="a-0", blueprint="noop", stage=Stage.TRAINING, epochs_in_stage=1, age_epochs=1, alpha=0.0
)


class Collected:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)

    def epoch_end(self, host, evidence):
        pass


def recorded():
    services = Collected()
    evidence = Evidence(
        host="grown", epoch=3, train=METRICS, validation=METRICS, seeds=(SEED,), gates={"a": (VERDICT,)}
    )
    masks = ActionMasks(slots=("a",), blueprints=("noop",))
    Recorder("grown", services).trained(3, HostReport(host="grown", epoch=4, states=(), masks=masks, evidence=evidence))
    return {event.kind: event for event in services.events}


def test_a_log_at_the_normal_level_holds_every_verdict_with_its_evidence():
    epoch = recorded()[EventKind.EPOCH_COMPLETED]
    assert epoch.level <= Level.NORMAL
    (told,) = epoch.data["gates"]["a"]
    assert (told["gate"], told["passed"], told["reason"]) == ("G2", False, "too soon")
    assert told["evidence"] == {"epochs_in_stage": 1}


def test_events_of_gates_repeat_the_verdicts_for_debugging():
    events = recorded()
    gates = events[EventKind.GATES_EVALUATED]
    assert gates.level is Level.DEBUG
    assert (gates.data["slot"], gates.data["seed_id"]) == ("a", "a-0")
    assert gates.data["results"] == events[EventKind.EPOCH_COMPLETED].data["gates"]["a"]
