"""`esper catalogue`: what it prints and keeps, and what a run may use."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from esper_app.api import PluginOptions, execute, load_selected, resolve_run, resume, train
from esper_app_catalogue import probing
from esper_app_catalogue.command import catalogue
from esper_app_catalogue.probe_process import probe
from esper_app_catalogue.probing import HANG, HAZARDS, safety_sheet
from esper_core import grow
from esper_core.api import EsperError
from esper_karn.api import Keeper, entry_of
from esper_testing.all_checks import CHECKS

FILE = Path(__file__).with_name("faulty_blueprints.py")
FAULTS = PluginOptions(plugin_path=(FILE,))
SETTINGS = {
    "epochs": 3,
    "policy.name": "random",
    "policy.germination": 1.0,
    "lifecycle.ramp_epochs": 1,
    "gates.name": "permissive",
    "sinks.names": ["jsonl"],
    "task.train_samples": 64,
    "task.validation_samples": 32,
    "task.test_samples": 32,
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ESPER_TEST_PIDS", str(tmp_path / "pids"))
    return tmp_path / "state"


@pytest.fixture(scope="module")
def faulty():
    return load_selected(FAULTS)


def run(*args, code=0, columns=None):
    env = {} if columns is None else {"COLUMNS": str(columns)}
    result = CliRunner().invoke(catalogue, args, env=env, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


class TestCommands:
    @pytest.mark.parametrize("columns", [60, 120])
    def test_ls_fits_the_screen(self, columns):
        lines = run("ls", "--plugin-path", str(FILE), columns=columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert any("endless" in line and "high-risk" in line and "approve it" in line for line in lines)

    def test_ls_filters(self):
        names = [it["name"] for it in json.loads(run("ls", "--tag", "gate", "--layout", "BD", "--json"))]
        assert names == ["gated-mlp", "highway"]
        assert "no installed blueprint" in run("ls", "--tier", "high-risk")

    @pytest.mark.parametrize("command", [("ls",), ("choose", "x")])
    def test_a_tag_that_nothing_has_is_refused(self, command):
        output = run(*command, "--tag", "convolutoin", code=2)
        assert 'did you mean "convolution"?' in " ".join(output.split())

    @pytest.mark.parametrize("columns", [60, 120])
    def test_bench_is_kept_and_shown(self, columns):
        run("bench", "highway", "--shape", "4x16", "--repetitions", "5")
        text = run("show", "highway", columns=columns)
        assert "4x16" in text
        assert "-3.0 to 3.0" in text
        assert "none yet: esper catalogue probe" in text
        (profile,) = json.loads(run("show", "highway", "--json"))["benchmark"]["profiles"]
        assert profile["parameters"] > 2 * 16 * 16
        assert profile["forward_flops"] == 2 * 2 * 16 * 16
        assert 0 < profile["forward"]["p50_ms"] <= profile["forward"]["p95_ms"]

    @pytest.mark.parametrize("shape", ["4", "axb", "0x4", "1x2x3x4x5"])
    def test_a_shape_that_is_none_is_refused(self, shape):
        run("bench", "highway", "--shape", shape, code=2)

    def test_a_shape_that_does_not_fit_is_refused_by_name(self):
        with pytest.raises(EsperError, match="does not fit the shape 1x4x3x3"):
            run("bench", "highway", "--shape", "1x4x3x3")

    @pytest.mark.parametrize("command", [("ls",), ("show", "highway"), ("choose", "x")])
    def test_looking_makes_nothing(self, command, state):
        run(*command)
        assert not state.exists()

    def test_choose(self):
        assert run("choose", "block 1", "--conservative") == run("choose", "block 1", "--conservative")
        assert run("choose", "x", "--tag", "low-rank").strip() == "esper-blueprint-lora/lora"

    def test_approve_and_revoke(self):
        path = ("--plugin-path", str(FILE))
        assert "never probed" in run("approve", "leak", "--because", "a test", *path)
        assert "because: a test" in run("show", "leak", *path)
        run("revoke", "leak", *path)
        run("revoke", "leak", *path, code=1)
        assert "needs no approval" in run("approve", "mlp")


def probed(plugins, name, hazard):
    entry = entry_of(plugins.registry, name)
    return {check: outcome for check, outcome, _ in probe(entry, None, HAZARDS[hazard]) if outcome}


ASKS = """
import sys
from pathlib import Path
from esper_app.api import PluginOptions, load_selected
from esper_app_catalogue.probing import safety_sheet
from esper_karn.api import entry_of
options = PluginOptions(plugin_path=(Path(sys.argv[1]),))
safety_sheet(entry_of(load_selected(options).registry, "endless"), {}, options, timeout=250.0)
"""


def pids(tmp_path):
    found = [int(it) for it in (tmp_path / "pids").read_text().split() if it != "."]
    assert len(found) == 2
    return found


def gone(pids):
    deadline = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return not any(map(alive, pids))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestSafetySheets:
    def test_every_probe_is_a_conformance_check(self):
        assert {check for checks in HAZARDS.values() for check in checks} <= {check.id for check in CHECKS}

    @pytest.mark.parametrize(
        ("fault", "hazard"),
        [("vanishing", "vanishing"), ("not-a-number", "nan"), ("noise", "noise")],
    )
    def test_a_fault_is_found(self, faulty, fault, hazard):
        assert "found" in probed(faulty, fault, hazard).values()

    @pytest.mark.slow
    def test_a_leak_and_an_explosion_are_found(self, faulty):
        assert probed(faulty, "leak", "memory") == {"component-memory": "found"}
        assert probed(faulty, "exploding", "explosion") == {"blueprint-bounded": "found"}

    @pytest.mark.slow
    def test_a_probe_that_does_not_end_is_killed_with_what_it_started_and_the_rest_is_not_probed(
        self, faulty, tmp_path, monkeypatch
    ):
        line, told = probing._Process.line, tmp_path / "pids"

        def late(process, seconds):
            """Time is over as soon as the process has said where it is."""
            found = line(process, 0.05)
            while getattr(found, "timed_out", False) and not (told.exists() and told.read_text().endswith(".")):
                found = line(process, 0.05)
            return found

        monkeypatch.setattr(probing._Process, "line", late)
        entry = entry_of(faulty.registry, "endless")
        sheet = safety_sheet(entry, {}, FAULTS, timeout=250.0)
        assert sheet.hazards[HANG] == "found"
        assert gone(pids(tmp_path))
        (finding,) = [it for it in sheet.findings if it.hazard == HANG]
        assert finding.check == "blueprint-single-sample"
        assert sheet.hazards["memory"] == "not probed"
        assert len(sheet.findings) == sum(map(len, HAZARDS.values()))

    @pytest.mark.slow
    def test_probes_do_not_outlive_the_process_that_has_asked(self, tmp_path):
        asking = subprocess.Popen([sys.executable, "-c", ASKS, str(FILE)])
        while not ((tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith(".")):
            assert asking.poll() is None
            threading.Event().wait(0.05)
        asking.kill()
        asking.wait()
        assert gone(pids(tmp_path))

    @pytest.mark.slow
    def test_nothing_is_found_in_a_blueprint_that_is_sound(self):
        assert set(json.loads(run("probe", "highway", "--json"))["safety_sheet"]["findings"][0]) == {
            *("hazard", "check", "outcome", "seen")
        }
        kept = Keeper("state").safety_sheet(entry_of(load_selected(PluginOptions()).registry, "highway"))
        assert set(kept.hazards.values()) == {"clear"}


class TestRuns:
    def resolved(self, plugins, *names, **settings):
        wanted = SETTINGS | {"policy.blueprints": [*names]} | settings
        return resolve_run("teacher", plugins, settings={key: it for key, it in wanted.items() if it is not None})

    def test_what_is_not_approved_begins_no_run(self, faulty, tmp_path):
        with pytest.raises(EsperError, match='"exploding" is not approved') as error:
            execute(self.resolved(faulty, "conv-light", "exploding"), faulty)
        assert error.value.code == "E408"
        assert not (tmp_path / "runs").exists()

    def test_what_is_not_approved_begins_no_training(self, faulty, tmp_path):
        settings = {"policy.name": "ppo", "policy.germination": None, "twin": "epochs", "rewards.preset": "shaped"}
        with pytest.raises(EsperError, match='"exploding" is not approved') as error:
            train(self.resolved(faulty, "exploding", **settings), faulty)
        assert error.value.code == "E408"
        assert not (tmp_path / "runs").exists()

    def test_what_is_not_approved_does_not_grow_in_a_loop_of_ones_own(self, faulty):
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(EsperError, match='"exploding" is not approved') as error:
            grow(model, optimizer=optimizer, epochs=3, sites="0", blueprints=["exploding"], plugins=faulty)
        assert error.value.code == "E408"

    @pytest.mark.slow
    def test_a_run_whose_approval_was_revoked_does_not_go_on(self, faulty, tmp_path):
        run("approve", "exploding", "--plugin-path", str(FILE))
        resolved = self.resolved(faulty, "exploding", **{"checkpoints.every": 1})
        finished = execute(resolved, faulty)
        (finished.directory.path / "result.json").unlink()  # as it is after a kill at the very end
        run("revoke", "exploding", "--plugin-path", str(FILE))
        with pytest.raises(EsperError, match='"exploding" is not approved'):
            resume(finished.directory, resolved, faulty)
        run("approve", "exploding", "--plugin-path", str(FILE))
        assert resume(finished.directory, resolved, faulty).result["outcome"] == "completed"

    def test_options_out_of_bounds_begin_no_run(self, faulty):
        with pytest.raises(EsperError, match="kernel = 9"):
            execute(self.resolved(faulty, "conv-light", **{"blueprints.conv-light.kernel": 9}), faulty)

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", ["exploding", "not-a-number"])
    def test_a_run_survives_what_was_approved(self, faulty, fault):
        run("approve", fault, "--plugin-path", str(FILE))
        finished = execute(self.resolved(faulty, fault), faulty)
        grown = finished.result["hosts"]
        assert finished.result["outcome"] == "completed"
        assert all(host["test_loss"] < 10.0 for host in grown.values())
