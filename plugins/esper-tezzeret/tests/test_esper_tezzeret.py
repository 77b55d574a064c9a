"""What is demanded of an artifact, what it is made from, processes that are killed, and the jobs."""

import errno
import os
import sys
import threading
import time
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch
from torch import nn

from esper_app.api import PluginOptions, load_plugins, load_selected
from esper_core.api import EsperError
from esper_core.plugins.records import Origin, Registered
from esper_core.specs import BlueprintSpec, Layout
from esper_tezzeret.api import (
    ATTEMPTS,
    CompilerSpec,
    ForgeQueue,
    Limits,
    Order,
    inputs_of,
    make,
    run_in_group,
    verify,
)
from esper_tezzeret.inputs import code_digest
from esper_tezzeret.testing.compiler_subject import activation, seed

LAX = Limits(slower_at_most=1e9, steps=3)


def busy(*_):
    """Compute for 20 ms."""
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass


def order(blueprint="esper-blueprint-conv-light/conv-light", **changes):
    usual = {"layout": Layout.NCHW, "shape": (4, 5, 6), "compilers": ("eager",)}
    return Order(blueprint=blueprint, **usual | changes)


def refusal(call):
    with pytest.raises(EsperError) as caught:
        call()
    return caught.value.code, caught.value.why


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


class TestVerification:
    def test_a_copy_passes_and_is_measured(self):
        found = verify(seed("gated"), seed("gated"), activation("gated"), trains=True, limits=LAX)
        assert found["worst_difference"] == 0.0
        assert min(found["training_ms"], found["eager_training_ms"], found["inference_ms"]) > 0

    def test_a_difference_beyond_the_tolerance_is_refused(self):
        near, far = seed("dropping"), seed("dropping")
        for module, factor in ((near, 1 + 1e-5), (far, 1 + 1e-3)):
            module.register_forward_hook(lambda _, __, delta, factor=factor: factor * delta)
        assert verify(near, seed("dropping"), activation("dropping"), trains=False, limits=LAX)["worst_difference"] > 0
        code, why = refusal(lambda: verify(far, seed("dropping"), activation("dropping"), trains=False, limits=LAX))
        assert (code, "the update differs by 0.001" in why) == ("E627", True)

    def test_numbers_that_are_not_finite_agree_with_nothing(self):
        odd = seed("dropping")
        odd.register_forward_hook(lambda _, __, delta: delta * float("nan"))
        assert (
            refusal(lambda: verify(odd, seed("dropping"), activation("dropping"), trains=False, limits=LAX))[0]
            == "E627"
        )

    def test_constants_that_do_not_cover_the_state_dict_are_refused(self):
        lacking = seed("gated")
        gate = lacking.gate.detach()
        del lacking.gate
        lacking.gate = gate
        code, why = refusal(lambda: verify(lacking, seed("gated"), activation("gated"), trains=True, limits=LAX))
        assert (code, why) == ("E627", "its constants do not cover the state dict: gate cannot be set")

    def test_a_parameter_that_no_longer_learns_is_refused(self):
        frozen = seed("gated")
        frozen.gate.requires_grad_(False)
        assert "gate" in refusal(lambda: verify(frozen, seed("gated"), activation("gated"), trains=True, limits=LAX))[1]

    def test_what_is_slow_is_refused(self):
        slow = seed("dropping")
        slow.register_forward_hook(busy)
        limits = Limits(steps=5)
        code, why = refusal(lambda: verify(slow, seed("dropping"), activation("dropping"), trains=False, limits=limits))
        assert (code, "more than 1.5 times as much and 1 ms" in why) == ("E627", True)

    def test_the_seed_that_is_compared_stays_as_it_is(self):
        eager, before = seed("gated"), seed("gated")
        verify(seed("gated"), eager, activation("gated"), trains=True, limits=LAX)
        assert all(map(torch.equal, eager.state_dict().values(), before.state_dict().values()))


class TestInputs:
    def test_what_decides_about_an_artifact_is_in_its_inputs(self, registry):
        made = inputs_of(order(options={}), registry, registry.get(CompilerSpec.kind, "eager"))
        assert (made.blueprint, made.distribution, made.compiler) == (
            "conv-light",
            "esper-blueprint-conv-light",
            "eager",
        )
        assert (made.shape, made.layout, made.cpu, len(made.code)) == ((4, 5, 6), "NCHW", (), 64)
        # Complete: also options that have their defaults.
        assert made.options

    def test_edited_code_gives_another_digest(self, tmp_path):
        file = tmp_path / "edited_blueprint.py"
        digests = []
        for summary in ("One.", "Other."):
            file.write_text(PLUGIN.replace("SUMMARY", summary))
            registry = load_selected(PluginOptions(plugin_path=(file,))).registry
            digests.append(code_digest(registry.get(BlueprintSpec.kind, "hangs")))
        assert digests[0] != digests[1]

    def test_what_is_no_file_is_no_code(self, monkeypatch, tmp_path):
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__init__.py").write_text("")
        (tmp_path / "package" / "module.py").write_text(PLUGIN)
        monkeypatch.syspath_prepend(tmp_path)
        spec = BlueprintSpec(name="b", summary="One.", factory="package.module:B", layouts=("NCHW",))
        blueprint = Registered(spec, Origin(plugin="b", module="package.module"))
        before = code_digest(blueprint)
        # What an editor leaves beside a file that is being edited.
        (tmp_path / "package" / ".#module.py").symlink_to("user@machine.1234:5678")
        (tmp_path / "package" / "folder.py").mkdir()
        assert code_digest(blueprint) == before

    def test_code_that_cannot_be_read_is_a_reason(self, registry, monkeypatch):
        def replaced(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        monkeypatch.setattr(Path, "read_bytes", replaced)
        code, why = refusal(lambda: code_digest(registry.get(BlueprintSpec.kind, "conv-light")))
        assert (code, "its code cannot be read: No such file" in why) == ("E626", True)

    def test_a_blueprint_that_needs_a_host_is_refused(self, registry):
        found = {it.spec.name: it for it in registry[BlueprintSpec.kind]}
        name = next(it for it, found in found.items() if "site-module" in found.spec.capabilities)
        layout = sorted(found[name].spec.layouts)[0]
        given = order(found[name].id, layout=layout, shape=(8,) * (layout.rank - 1))
        code, why = refusal(lambda: inputs_of(given, registry, registry.get(CompilerSpec.kind, "eager")))
        assert (code, "only a host has" in why) == ("E625", True)

    def test_another_layout_is_refused(self, registry):
        given = order(layout=Layout.BD, shape=(4,))
        assert refusal(lambda: inputs_of(given, registry, registry.get(CompilerSpec.kind, "eager")))[0] == "E625"

    def test_a_shape_of_another_rank_is_no_order(self):
        with pytest.raises(ValueError, match="shape has 1 sizes"):
            order(shape=(4,))


class TestMaking:
    def test_an_artifact_is_made_and_measured(self, registry):
        product = make(order(), registry, "eager", LAX)
        assert {"compile_ms", "load_ms", "training_ms", "worst_difference"} <= set(product.facts)

    def test_what_a_compiler_raises_is_an_error_with_its_reason(self, registry, monkeypatch):
        monkeypatch.setattr("esper_compiler_eager.compiler.EagerCompiler.compile", lambda *_: 1 / 0)
        assert refusal(lambda: make(order(), registry, "eager", LAX)) == ("E626", "ZeroDivisionError: division by zero")


PLUGIN = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="hangs", summary="SUMMARY", factory=print, layouts=("NCHW",))
"""

CHILDREN = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] + "/pids", "w").write(f"{os.getpid()} {child.pid} .")
time.sleep(float(sys.argv[2]))
print("the last line")
"""


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(folder):
    return [int(it) for it in (folder / "pids").read_text().split() if it != "."]


def gone(pids):
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return not any(map(alive, pids))


@pytest.fixture
def late(monkeypatch, tmp_path):
    """Time is over as soon as the process has said where it is."""

    def monotonic():
        told = tmp_path / "pids"
        return 1e6 if told.exists() and told.read_text().endswith(".") else 0.0

    monkeypatch.setattr("esper_tezzeret.process_group.time", SimpleNamespace(monotonic=monotonic))


class TestProcesses:
    def test_when_its_time_is_over_it_is_killed_with_its_group(self, tmp_path, late):
        ended = run_in_group([sys.executable, "-c", CHILDREN, str(tmp_path), "600"], tmp_path, 60.0)
        assert (ended.timed_out, ended.code) == (True, -9)
        assert gone(pids(tmp_path))

    def test_what_it_leaves_behind_is_killed(self, tmp_path):
        ended = run_in_group([sys.executable, "-c", CHILDREN, str(tmp_path), "0"], tmp_path, 250.0)
        assert (ended.timed_out, ended.code, ended.errors) == (False, 0, "the last line")
        assert gone(pids(tmp_path))

    def test_its_last_words_are_told(self, tmp_path):
        ended = run_in_group([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path, 250.0)
        assert ended.why == "its process ended with 1: no such thing"

    def test_what_a_beat_raises_ends_it(self, tmp_path):
        def beat():
            if (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("."):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_in_group([sys.executable, "-c", CHILDREN, str(tmp_path), "600"], tmp_path, 250.0, beat=beat)
        assert gone(pids(tmp_path))

    def test_what_it_makes_for_a_time_lies_in_its_folder(self, tmp_path):
        code = "import sys, tempfile; print(tempfile.mkdtemp(), file=sys.stderr)"
        ended = run_in_group([sys.executable, "-c", code], tmp_path, 250.0)
        assert Path(ended.errors).parent == tmp_path


class TestQueue:
    @pytest.fixture
    def queue(self, tmp_path):
        found = ForgeQueue(tmp_path, "one")
        yield found
        found.close()

    def test_a_job_is_done_once(self, queue):
        (id,) = queue.submit([order()])
        taken = queue.take()
        assert (taken.order, queue.take()) == (order(), None)
        assert [it.state for it in queue.statuses()] == ["begun"]
        queue.finish(taken, "made", "d" * 64)
        (job,) = queue.statuses()
        assert (job.id, job.state, job.attempts, job.artifact) == (id, "made", 1, "d" * 64)
        assert queue.unfinished() == 0

    def test_a_job_that_fails_lets_others_go_first(self, queue, monkeypatch):
        monkeypatch.setattr("esper_tezzeret.queue.DELAY_SECONDS", 600.0)
        queue.submit([order(), order(shape=(4, 9, 9))])
        first = queue.take()
        assert queue.fail(first, EsperError("E626", "x", why="it broke"), hopeless=False) == "waiting"
        assert queue.take().order.shape == (4, 9, 9)
        assert queue.statuses()[0].error == "E626: it broke"

    def test_after_three_attempts_it_is_quarantined_and_can_be_tried_again(self, queue, monkeypatch):
        monkeypatch.setattr("esper_tezzeret.queue.DELAY_SECONDS", 0.0)
        (id,) = queue.submit([order()])
        states = [
            queue.fail(queue.take(), EsperError("E626", "x", why="it broke"), hopeless=False) for _ in range(ATTEMPTS)
        ]
        assert states == ["waiting", "waiting", "quarantined"]
        assert (queue.unfinished(), queue.take()) == (0, None)
        (job,) = queue.statuses()
        assert (job.state, job.attempts, job.error) == ("quarantined", ATTEMPTS, "E626: it broke")
        assert (queue.retry(["other"]), queue.retry([id])) == (0, 1)
        assert queue.take().delivery.attempt == 1

    def test_a_job_that_kills_its_forges_is_quarantined(self, tmp_path):
        queue = ForgeQueue(tmp_path, "one", lease_seconds=0.0)
        queue.submit([order()])
        assert [queue.take().delivery.attempt for _ in range(ATTEMPTS)] == [1, 2, 3]
        assert queue.take() is None
        (job,) = queue.statuses()
        assert (job.state, "died" in job.error) == ("quarantined", True)
        queue.close()

    def test_what_is_hopeless_is_not_tried_again(self, queue):
        queue.submit([order()])
        assert queue.fail(queue.take(), EsperError("E625", "x"), hopeless=True) == "quarantined"

    def test_what_is_given_back_was_not_tried(self, queue):
        queue.submit([order()])
        queue.give_back(queue.take())
        assert queue.take().delivery.attempt == 1

    @pytest.mark.parametrize("way", ["fail", "give_back"])
    def test_what_another_forge_has_is_left_to_it(self, tmp_path, way):
        one, other = (ForgeQueue(tmp_path, name, lease_seconds=0.0) for name in ("one", "other"))
        one.submit([order()])
        taken = one.take()
        other.finish(other.take(), "made", "d" * 64)
        if way == "fail":
            assert one.fail(taken, EsperError("E626", "x", why="it broke"), hopeless=False) == "waiting"
        else:
            one.give_back(taken)
        (job,) = one.statuses()
        assert (job.state, job.error, one.take()) == ("made", "", None)
        one.close()
        other.close()

    def test_the_lease_of_another_is_not_renewed(self, tmp_path):
        one, other = (ForgeQueue(tmp_path, name, lease_seconds=0.0) for name in ("one", "other"))
        one.submit([order()])
        taken = one.take()
        assert one.renew(taken)
        assert other.take() is not None
        assert not one.renew(taken)
        one.close()
        other.close()


def test_an_order_is_written_and_read_as_it_is(tmp_path):
    given = order(options={"kernel": 5}, causal=False, dtype="float64", compilers=("aoti", "export"))
    queue = ForgeQueue(tmp_path, "one")
    queue.submit([given])
    assert queue.take().order == given
    assert len({given.id, attrs.evolve(given, dtype="float32").id}) == 2
    queue.close()


def test_a_module_without_gradients_is_not_taken_for_one_that_trains():
    detached = deepcopy(seed("dropping"))
    detached.register_forward_hook(lambda _, __, delta: delta.detach())
    assert isinstance(detached, nn.Module)
    code, _ = refusal(lambda: verify(detached, seed("dropping"), activation("dropping"), trains=True, limits=LAX))
    assert code == "E627"
