"""Runs compared seed by seed."""

import pytest

from esper_core.leyline.errors import EsperError
from esper_runs import statistics
from esper_runs.run_directory import RunDirectory
from esper_runs.run_groups import WITHOUT_SCIPY, comparison_of_groups, run_groups
from esper_runs.run_record import read_run_record
from esper_runs.statistics import paired_result

GAINS = {"heuristic": [0.11, 0.05, 0.08, 0.02, 0.09, 0.07], "random": [0.01, 0.02, -0.03, 0.04, 0.03, -0.01]}


@pytest.fixture
def record(make_run, tmp_path):
    def read(policy: str, seed: int, gain: float, name: str | None = None, **config):
        files = make_run(name or f"{policy}-{seed}")
        difference = {"test_accuracy": gain / 2, "test_gain": {"mean": gain, "standard_error": 0.01, "count": 100}}
        manifest = files.manifest(seed=seed, config={"policy": {"name": policy}, **config})
        return read_run_record(RunDirectory(files.write(manifest, files.result() | {"difference": difference})))

    return read


@pytest.fixture
def records(record):
    return [record(policy, seed, gain) for policy, gains in GAINS.items() for seed, gain in enumerate(gains)]


def rows(table):
    return {row[:2]: row[2:] for row in table.texts}


def test_runs_with_the_same_settings_are_one_group(records):
    groups = run_groups(records)
    assert [(group.label, list(group.judged)) for group in groups] == [
        ("heuristic", [0, 1, 2, 3, 4, 5]),
        ("random", [0, 1, 2, 3, 4, 5]),
    ]


def test_groups_are_compared_on_the_seeds_that_they_share(records):
    compared, _ = comparison_of_groups(run_groups(records[:-2]))
    expected = paired_result([b - a for a, b in zip(*GAINS.values(), strict=True)][:4])
    assert rows(compared)["random - heuristic", "test loss, nats"] == (
        "4",
        f"{expected.mean:+.3f}",
        f"{expected.low:+.3f} to {expected.high:+.3f}",
        f"{expected.p:.3f}",
    )


def test_each_group_is_compared_with_its_twins(records):
    compared, remarks = comparison_of_groups(run_groups(records))
    expected = paired_result(GAINS["heuristic"])
    seeds, mean, interval, _ = rows(compared)["heuristic: grown - twin", "test loss, nats"]
    assert (seeds, mean) == ("6", "+0.070")
    assert interval == f"{expected.low:+.3f} to {expected.high:+.3f}"
    assert expected.clear
    assert [row[3].style for row in compared.rows][1] == "good"
    assert not remarks


def test_each_group_is_compared_with_its_controls_too(make_run):
    def read(policy, seed, gain):
        files = make_run(f"{policy}-{seed}")
        result = files.result()
        result["hosts"]["control"] = result["hosts"]["twin"]
        gains = {"mean": gain, "standard_error": 0.01, "count": 100}
        result |= {"compute_difference": {"test_accuracy": gain / 2, "test_gain": gains}}
        manifest = files.manifest(seed=seed, config={"policy": {"name": policy}})
        return read_run_record(RunDirectory(files.write(manifest, result)))

    found = rows(comparison_of_groups(run_groups([read("one", 0, 0.2), read("two", 0, -0.1)]))[0])
    assert found["one: grown - twin", "test loss, nats"][:2] == ("1", "+0.050")
    assert found["one: grown - control", "test loss, nats"][:2] == ("1", "+0.200")
    assert found["two - one", "test loss, nats"][:2] == ("1", "0.000")
    assert found["two - one, over the control", "test loss, nats"][:2] == ("1", "-0.300")


def test_without_scipy_there_are_means_and_a_sentence(records, monkeypatch):
    def missing():
        raise EsperError("E190", "scipy is not installed")

    monkeypatch.setattr(statistics, "_scipy", missing)
    compared, remarks = comparison_of_groups(run_groups(records))
    assert rows(compared)["heuristic: grown - twin", "test loss, nats"] == ("6", "+0.070", "-", "-")
    assert remarks == (WITHOUT_SCIPY,)


def test_a_repeated_seed_is_left_out_and_named(record):
    groups = run_groups([record("null", 1, 0.1), record("null", 1, 0.3, name="again")])
    compared, remarks = comparison_of_groups(groups)
    assert rows(compared)["digits null: grown - twin", "test loss, nats"][0] == "1"
    assert "again" in remarks[0]


def test_groups_without_a_common_seed_are_not_compared(record):
    compared, remarks = comparison_of_groups(run_groups([record("null", 1, 0.1), record("random", 2, 0.1)]))
    assert not any(row[0] == "random - null" for row in compared.texts)
    assert "share no random seed" in remarks[0]


def test_labels_name_what_differs(record):
    groups = run_groups([record("null", 1, 0.1, epochs=5), record("null", 1, 0.1, name="b", epochs=7)])
    assert [group.label for group in groups] == ["epochs = 5", "epochs = 7"]


def test_each_host_of_a_run_is_one_pair(record, make_run):
    single = record("heuristic", 1, 0.1)
    files = make_run("several")
    hosts = [{"name": f"grown-{n}", "seed": n, "twin": f"twin-{n}"} for n in (1, 2)]
    figures = files.result()["hosts"]
    differences = {f"grown-{n}": {"test_gain": {"mean": n / 10, "standard_error": 0.01}} for n in (1, 2)}
    result = files.result() | {
        "hosts": {f"{name}-{n}": figures[name] for name in figures for n in (1, 2)},
        "twins": {f"grown-{n}": f"twin-{n}" for n in (1, 2)},
        "differences": differences,
        "difference": None,
    }
    config = {"policy": {"name": "random"}}
    several = read_run_record(RunDirectory(files.write(files.manifest(hosts=hosts, config=config), result)))
    compared, _ = comparison_of_groups(run_groups([single, several]))
    assert rows(compared)["random: grown - twin", "test loss, nats"][:2] == ("2", "+0.150")
    assert rows(compared)["random - heuristic", "test loss, nats"][:2] == ("1", "0.000")


def test_a_run_without_a_seed_is_named(record):
    groups = run_groups([record("null", 1, 0.1), record("null", None, 0.2, name="own-loop")])
    assert any("own-loop" in remark for remark in comparison_of_groups(groups)[1])
