"""`esper forge`: what hangs is killed, what fails is quarantined, and others are made all the same."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from esper_app.api import PluginOptions, load_selected
from esper_app_forge.command import forge
from esper_app_forge.compile_process import COMMAND
from esper_core.api import EsperError
from esper_tezzeret.api import (
    PRESETS,
    CompilerSpec,
    Forge,
    ForgeQueue,
    Limits,
    LoadJob,
    Order,
    Workshop,
    inputs_of,
)
from esper_urza.api import open_store

FILE = Path(__file__).with_name("hanging_blueprints.py")
OPTIONS = PluginOptions(plugin_path=(FILE,))
SHAPE = (4, 5, 6)
LAX = Limits(slower_at_most=1e9, steps=3)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ESPER_TEST_PIDS", str(tmp_path / "pids"))
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture(scope="module")
def registry():
    return load_selected(OPTIONS).registry


@pytest.fixture
def store(registry, state):
    found = open_store("local:", registry)
    yield found
    found.store.close()


@pytest.fixture
def queue(state):
    found = ForgeQueue(state, "test")
    yield found
    found.close()


def order(name, compilers=("eager",)):
    return Order(blueprint=f"hanging-blueprints/{name}", layout="NCHW", shape=SHAPE, compilers=compilers)


def workshop(timeout=280.0):
    return Workshop(command=COMMAND, plugins=OPTIONS.as_data(), timeout=timeout, limits=LAX)


def run(*args, code=0, columns=None):
    env = {} if columns is None else {"COLUMNS": str(columns)}
    result = CliRunner().invoke(forge, args, env=env, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


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


def pids(tmp_path):
    return [int(it) for it in (tmp_path / "pids").read_text().split() if it != "."]


class Instead:
    """A workshop that answers at once."""

    def __init__(self, fail=(), sizes=None):
        self.fail, self.made, self.sizes, self.interrupt = fail, [], sizes or {}, False

    def make(self, order, compiler, *, beat):
        from esper_tezzeret.api import Product

        name = order.blueprint.partition("/")[2]
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        self.made.append(name)
        if name in self.fail:
            raise EsperError("E626", "not compiled", why=f"{name} is poisoned")
        return Product(content=b"artifact"[: self.sizes.get(name)], facts={"compile_ms": 1.0})


class TestForge:
    def test_a_poisoned_job_blocks_no_other_and_is_quarantined(self, queue, store, registry, monkeypatch):
        monkeypatch.setattr("esper_tezzeret.queue.DELAY_SECONDS", 0.01)
        shop = Instead(fail=("crashes",))
        made = Forge(queue, store, registry, shop)
        made.submit([order("crashes"), order("mix")])
        outcomes = [*made.run()]
        assert shop.made.count("crashes") == 3
        assert [it.state for it in outcomes if it.order.blueprint.endswith("mix")] == ["made"]
        assert {it.order.blueprint[19:]: it.state for it in queue.statuses()} == {
            "crashes": "quarantined",
            "mix": "made",
        }

    def test_what_the_store_has_is_not_made_again(self, queue, store, registry):
        shop = Instead()
        made = Forge(queue, store, registry, shop)
        made.submit([order("mix"), order("mix")])
        assert [it.state for it in made.run()] == ["made", "found"]
        assert shop.made == ["mix"]

    def test_what_is_refused_is_made_again(self, queue, store, registry, state):
        made = Forge(queue, store, registry, Instead())
        made.submit([order("mix")])
        assert [it.state for it in made.run()] == ["made"]
        (content,) = (state / "store" / "objects").glob("*/*")
        content.write_bytes(b"artifacT")
        made.submit([order("mix")])
        assert [it.state for it in made.run()] == ["made"]
        assert [error for _, error in store.verify()] == [None]

    def test_a_compiler_that_is_not_there_is_replaced_with_the_reason(self, queue, store, registry):
        made = Forge(queue, store, registry, Instead())
        made.submit([order("mix", compilers=("no-such-one", "eager"))])
        (outcome,) = made.run()
        assert outcome.compiler == "eager"
        assert outcome.instead_of == {"no-such-one": "it is not installed: pip install esper-compiler-no-such-one"}
        assert store.read(outcome.artifact).manifest.facts["instead_of"] == outcome.instead_of

    def test_without_a_cpp_compiler_a_program_takes_the_place_of_machine_code(self, queue, store, monkeypatch):
        monkeypatch.setenv("CXX", "/nowhere/g++")
        made = Forge(queue, store, load_selected(OPTIONS).registry, Instead())
        made.submit([order("mix", compilers=PRESETS["aggressive"])])
        (outcome,) = made.run()
        assert outcome.compiler == "export"
        assert outcome.instead_of == {
            "aoti": "there is no C++ compiler /nowhere/g++ (install one, or name it in CXX)",
        }

    def test_no_compiler_at_all_is_refused_before_it_is_a_job(self, queue, store, registry):
        with pytest.raises(EsperError) as caught:
            Forge(queue, store, registry, Instead()).submit([order("mix", compilers=("no-such-one",))])
        assert (caught.value.code, queue.unfinished()) == ("E625", 0)

    def test_a_store_that_does_not_answer_is_not_the_jobs_fault(self, queue, store, registry, monkeypatch):
        made = Forge(queue, store, registry, Instead())
        made.submit([order("mix")])

        def away(*_):
            raise EsperError("E621", "a store cannot be used")

        with monkeypatch.context() as context:
            context.setattr(store, "save", away)
            with pytest.raises(EsperError, match="a store cannot be used"):
                [*made.run()]
        (outcome,) = made.run()
        assert (outcome.state, outcome.attempt) == ("made", 1)

    def test_what_is_too_large_for_the_store_keeps_nothing_from_being_done(self, queue, registry):
        small = open_store("local:?max_bytes=4", registry)
        made = Forge(queue, small, registry, Instead(sizes={"mix": 4}))
        made.submit([order("depends"), order("mix")])
        outcomes = {it.order.blueprint[19:]: it for it in made.run()}
        assert {name: it.state for name, it in outcomes.items()} == {"depends": "quarantined", "mix": "made"}
        assert (outcomes["depends"].error.code, outcomes["depends"].attempt) == ("E646", 1)
        small.store.close()

    def test_a_forge_that_is_interrupted_leaves_its_job_at_once(self, queue, store, registry):
        shop = Instead()
        made = Forge(queue, store, registry, shop)
        made.submit([order("mix")])
        shop.interrupt = True
        with pytest.raises(KeyboardInterrupt):
            made.step()
        assert [it.state for it in queue.statuses()] == ["waiting"]
        assert made.step().state == "made"

    def test_code_that_changes_meanwhile_is_not_what_was_compiled(self, queue, store, registry, monkeypatch):
        digests = iter("abcdefgh")
        monkeypatch.setattr("esper_tezzeret.inputs.code_digest", lambda _: next(digests) * 64)
        made = Forge(queue, store, registry, Instead())
        made.submit([order("mix")])
        outcome = next(made.run())
        assert "changed while it was compiled" in outcome.error.why
        assert store.store.entries() == []


@pytest.fixture
def late(monkeypatch, tmp_path):
    """Time is over as soon as the process has said where it is."""

    def monotonic():
        told = tmp_path / "pids"
        return 1e6 if told.exists() and told.read_text().endswith(".") else 0.0

    monkeypatch.setattr("esper_tezzeret.process_group.time", SimpleNamespace(monotonic=monotonic))


class TestProcesses:
    """Each of them starts a process that imports torch."""

    @pytest.mark.slow
    def test_a_blueprint_that_hangs_is_killed_with_what_it_started(self, tmp_path, late):
        with pytest.raises(EsperError) as caught:
            workshop().make(order("hangs"), "eager")
        assert (caught.value.code, caught.value.why) == ("E626", "it did not end within 280 s, and was killed")
        found = pids(tmp_path)
        assert len(found) == 2
        assert gone(found)

    @pytest.mark.slow
    def test_a_crash_and_a_program_that_cannot_be_exported_are_told(self):
        with pytest.raises(EsperError, match="SIGSEGV"):
            workshop().make(order("crashes"), "eager")
        with pytest.raises(EsperError) as caught:
            workshop().make(order("depends"), "export")
        assert caught.value.code == "E626"

    @pytest.mark.slow
    def test_a_forge_that_is_killed_goes_on(self, tmp_path, state, queue, store, registry):
        script = tmp_path / "forge.py"
        script.write_text(SCRIPT)
        queue.submit([order("hangs-once"), order("mix")])
        (temporary := tmp_path / "temporary").mkdir()
        killed = subprocess.Popen([sys.executable, script, str(FILE)], env={**os.environ, "TMPDIR": str(temporary)})
        while not ((tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith(".")):
            assert killed.poll() is None
            threading.Event().wait(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        # Its process does not outlive it, and neither does what that had begun to write.
        assert gone(pids(tmp_path))
        assert [*temporary.iterdir()] == []
        assert {it.state for it in queue.statuses()} == {"begun", "waiting"}
        made = {it.order.blueprint[19:]: it for it in Forge(queue, store, registry, workshop()).run()}
        assert {name: it.state for name, it in made.items()} == {"hangs-once": "made", "mix": "made"}
        assert made["hangs-once"].attempt >= 2


SCRIPT = """
import os, sys
from pathlib import Path
from esper_app.api import PluginOptions, load_selected
from esper_app_forge.compile_process import COMMAND
from esper_tezzeret.api import Forge, ForgeQueue, Limits, Workshop
from esper_urza.api import open_store
options = PluginOptions(plugin_path=(Path(sys.argv[1]),))
registry = load_selected(options).registry
shop = Workshop(command=COMMAND, plugins=options.as_data(), limits=Limits(slower_at_most=1e9, steps=3))
queue = ForgeQueue(Path(os.environ["ESPER_STATE"]), "killed", lease_seconds=2.0)
list(Forge(queue, open_store("local:", registry), registry, shop).run())
"""


class TestCommands:
    @pytest.mark.slow
    def test_an_artifact_is_made_found_and_trains(self, store, registry):
        shape = "x".join(map(str, SHAPE))
        given = ("--blueprint", "conv-light", "--shape", shape, "--plugin-path", str(FILE))
        assert "made by export" in run("run", *given)
        assert "found by export" in run("run", *given)
        jobs = json.loads(run("status", "--json"))
        assert [it["state"] for it in jobs] == ["made", "found"]
        name = "esper-blueprint-conv-light/conv-light"
        wanted = Order(blueprint=name, layout="NCHW", shape=SHAPE, compilers=PRESETS["fast"])
        compiler = registry.get(CompilerSpec.kind, "export")
        artifact = store.find(inputs_of(wanted, registry, compiler))
        from esper_compiler_export.compiler import ExportCompiler

        job = LoadJob(blueprint=name, content=artifact.content, module=torch.nn.Identity())
        seed = ExportCompiler().load(job)
        h = torch.randn(5, *SHAPE)
        with torch.no_grad():
            for parameter in seed.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        before = (seed(h) - 1).square().mean()
        optimizer = torch.optim.SGD(seed.parameters(), lr=0.05)
        for _ in range(10):
            optimizer.zero_grad()
            loss = (seed(h) - 1).square().mean()
            loss.backward()
            optimizer.step()
        assert loss < before

    def test_quarantined_jobs_are_shown_and_tried_again(self, queue):
        (id,) = queue.submit([order("mix")])
        queue.fail(queue.take(), EsperError("E626", "x", why="it broke"), hopeless=True)
        output = run("status")
        assert all(it in output for it in (id, "quarantined", "E626: it broke", "NCHW 4x5x6"))
        assert "is not in quarantine" in run("retry", "0000", code=1)
        assert run("retry", id) == "tried again by the next run: 1\n"
        assert "waiting" in run("status")

    @pytest.mark.parametrize("columns", [60, 120])
    def test_status_fits_the_screen(self, queue, columns):
        queue.submit([order("mix"), order("depends")])
        why = "the computation depends on values, which torch.export cannot write down as a program " * 3
        queue.fail(queue.take(), EsperError("E626", "x", why=why), hopeless=True)
        lines = run("status", columns=columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert "depends on values" in " ".join(" ".join(lines).split())

    def test_looking_makes_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path / "none"))
        assert run("status") == "no jobs\n"
        assert run("retry") == "no job is in quarantine\n"
        assert not (tmp_path / "none").exists()

    def test_there_may_be_no_jobs(self):
        assert run("run") == "no job waits; --blueprint names what is to be compiled\n"

    def test_jobs_that_somebody_lets_be_tried_again_meanwhile_are_not_counted(self, queue, state, monkeypatch):
        queue.submit([order("depends")])
        queue.fail(queue.take(), EsperError("E626", "x", why="it broke"), hopeless=True)
        queue.submit([order("mix")])

        class Retrying(Instead):
            def make(self, order, compiler, *, beat):
                queue.retry()
                return super().make(order, compiler, beat=beat)

        monkeypatch.setattr("esper_tezzeret.api.Workshop", lambda **_: Retrying())
        output = run("run", "--plugin-path", str(FILE))
        assert output.count("made by eager") == 2
        assert "quarantined" not in output

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--shape", "4x5x6"), "name it with --blueprint"),
            (("--blueprint", "conv-light", "--shape", "4x0"), "must be one to three sizes"),
            (("--blueprint", "conv-light", "--set", "kernel"), "must be OPTION=VALUE"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, args, said):
        assert said in run("run", *args, code=2)

    @pytest.mark.parametrize(
        ("args", "code"),
        [
            (("--blueprint", "conv-lihgt"), "E204"),
            (("--blueprint", "conv-light", "--set", "kernle=3"), "E201"),
            (("--blueprint", "conv-light", "--shape", "64"), "E625"),
            (("--blueprint", "conv-light", "--causal"), "E625"),
        ],
    )
    def test_an_order_that_cannot_be_begun_is_no_job(self, args, code, queue):
        with pytest.raises(EsperError) as caught:
            run("run", *args)
        assert (caught.value.code, queue.unfinished()) == (code, 0)
