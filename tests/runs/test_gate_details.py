"""What a gate has said, in full."""

from esper_runs.gate_details import gate_details
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record


def test_a_verdict_has_what_was_measured_and_the_thresholds(make_run):
    files = make_run().short_life()
    options = {"name": "standard", "G2": {"max_update_ratio": 1.0, "consecutive_passes": 1}}
    files.write(files.manifest(config={"gates": options}))
    found = {(it.seed, it.gate): it for it in gate_details(read_run_record(RunDirectory(files.path)), 100)}
    assert [*found] == [("a-0", "G0"), ("a-0", "G2"), ("b-0", "G2")]
    passed = found["a-0", "G2"]
    assert (passed.words, passed.passed, passed.epochs) == ("G2 passed: small enough", True, (2,))
    assert passed.measured == ("update ratio = 0.25", "probe = +0.5000 ± 0.1250 nats (100 samples)")
    assert passed.thresholds == (("max update ratio", "1"), ("consecutive passes", "1"))
    failed = found["b-0", "G2"]
    assert (failed.passed, failed.epochs) == (False, (3, 4, 5))
    assert failed.words == "G2 not passed: update_ratio 5 > 1"
    assert found["a-0", "G0"].thresholds == ()


def test_of_many_those_asked_last_are_kept(make_run):
    record = read_run_record(RunDirectory(make_run().short_life().write()))
    assert [(it.seed, it.gate) for it in gate_details(record, 1)] == [("b-0", "G2")]
