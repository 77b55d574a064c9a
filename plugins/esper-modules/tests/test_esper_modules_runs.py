"""Runs whose seeds come from a store: the bits of a run that builds them itself, whatever happens on the way."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from attrs import frozen

from esper_app.api import execute, load_plugins, open_run, replay_run, resolve_run, resume
from esper_bus_redis.server import RedisServer
from esper_core.api import EsperError
from esper_modules.prefetching import Prefetcher
from esper_modules.worker import PrefetchWorker
from esper_oona.api import Signer, keyring, open_bus, state_directory
from esper_tezzeret.api import Forge, ForgeQueue, Limits, Order, make
from esper_urza.api import open_store

SETTINGS = {"epochs": 3, "policy.fit_accuracy": 1.0, "seed": 3, "twin": "none", "checkpoints.every": 0}
STORE = {"store": {"name": "local", "url": "local:"}}
TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds", "sequence"}
TIMES |= {"waited_seconds", "lookup_seconds", "load_seconds", "prewarm_p50_ms", "prewarm_p95_ms"}
LAX = Limits(slower_at_most=1e9, steps=3)
ORDER = Order(blueprint="esper-blueprint-conv-light/conv-light", layout="NCHW", shape=(4, 5, 6), compilers=("eager",))


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@frozen(kw_only=True)
class Inside:
    """A workshop that makes artifacts in this process: a process of its own would have to import torch."""

    command: object = None
    plugins: object = None
    timeout: float = 0.0
    registry: object = None

    def make(self, order, compiler, *, beat=lambda: None):
        return make(order, self.registry, compiler, LAX)


@frozen(kw_only=True)
class Failing(Inside):
    def make(self, order, compiler, *, beat=lambda: None):
        raise EsperError("E626", "not compiled", why="it is poisoned")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch, plugins):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ESPER_STORE", raising=False)
    monkeypatch.setattr("esper_modules.run_modules.Workshop", lambda **_: Inside(registry=plugins.registry))
    return state_directory()


def run(plugins, folder, **changes):
    settings = SETTINGS | {"runs": str(folder)} | changes
    return execute(resolve_run("digits", plugins, settings=settings), plugins).directory.path


@pytest.fixture(scope="module")
def local(plugins, tmp_path_factory):
    return run(plugins, tmp_path_factory.mktemp("local"))


def events(path):
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def told(path, kind=""):
    return [it["data"] for it in events(path) if it["kind"].startswith(f"modules.{kind}")]


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def assert_same(path, local):
    """Weights to the bit, and every event but the first, which holds the configuration."""
    assert (path / "weights.safetensors").read_bytes() == (local / "weights.safetensors").read_bytes()
    one, other = (
        [timeless(it) for it in events(found)[1:-1] if not it["kind"].startswith("modules.")] for found in (path, local)
    )
    assert one == other


class TestFromTheStore:
    @pytest.mark.parametrize("compiler", ["export", "eager"])
    def test_the_bits_are_those_of_a_run_that_builds_its_seeds(self, plugins, tmp_path, local, compiler):
        first = run(plugins, tmp_path / "1", **STORE, **{"compiler.name": compiler})
        second = run(plugins, tmp_path / "2", **STORE, **{"compiler.name": compiler})
        made, found = (told(path, "kernel-ready") for path in (first, second))
        assert [it["way"] for it in made] == ["compiled"] * len(made) != []
        assert [it["way"] for it in found] == ["store"] * len(made)
        assert all(it["exact"] and it["waited_seconds"] > 0 and it["lookup_seconds"] > 0 for it in found)
        assert all(it["compiler"] == compiler for it in found)
        for path in (first, second):
            assert_same(path, local)

    def test_a_corrupt_artifact_is_made_again(self, plugins, tmp_path, local, state):
        run(plugins, tmp_path / "1", **STORE)
        for path in (state / "store").rglob("*"):
            if path.is_file() and "sqlite" not in path.name:
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 1
                path.chmod(0o600)
                path.write_bytes(bytes(content))
        again = run(plugins, tmp_path / "2", **STORE)
        (ready,) = told(again, "kernel-ready")
        assert (ready["way"], ready["replaced"][:4]) == ("compiled", "E622")
        assert_same(again, local)

    def test_what_cannot_be_compiled_is_built_and_said(self, plugins, tmp_path, local, monkeypatch):
        monkeypatch.setattr("esper_modules.run_modules.Workshop", lambda **_: Failing())
        path = run(plugins, tmp_path, **STORE)
        (fallback,) = told(path)
        assert (fallback["code"], fallback["built"]) == ("E626", True)
        assert "poisoned" in fallback["reason"]
        assert_same(path, local)

    def test_or_its_seed_is_culled(self, plugins, tmp_path, monkeypatch):
        monkeypatch.setattr("esper_modules.run_modules.Workshop", lambda **_: Failing())
        path = run(plugins, tmp_path, **STORE, **{"prefetch.fallback": "cull"})
        assert not told(path, "kernel-fallback")[0]["built"]
        culled = [it["data"] for it in events(path) if it["kind"] == "seed_transition"][1]
        assert culled["target"] == "CULLED"
        assert "not compiled" in culled["reason"]

    @pytest.mark.slow
    @pytest.mark.parametrize("blueprint", ["bottleneck", "conv-heavy", "depthwise", "group-norm", "squeeze-excite"])
    def test_whatever_the_blueprint(self, plugins, tmp_path, blueprint):
        """The digits' host has activations in channels_last, whose GroupNorm would end the process without a graph."""
        settings = {"policy.blueprints": [blueprint]}
        there = run(plugins, tmp_path / "there", **STORE, **settings)
        here = run(plugins, tmp_path / "here", **settings)
        ready = told(there, "kernel-ready")
        assert ready
        assert all(it["exact"] for it in ready)
        assert not told(there, "kernel-fallback")
        assert_same(there, here)

    def test_a_seed_that_needs_its_host_is_built_and_said(self, plugins, tmp_path):
        path = run(plugins, tmp_path, **STORE, **{"policy.blueprints": ["residual-block"]})
        assert {it["blueprint"] for it in told(path, "kernel-unfit")} == {"residual-block"}

    def test_the_store_is_not_for_other_numerics(self, plugins, tmp_path):
        with pytest.raises(EsperError, match=r"training\.precision") as caught:
            run(plugins, tmp_path, **STORE, **{"training.precision": "bf16"})
        assert caught.value.code == "E202"

    @pytest.mark.parametrize(
        "settings",
        [{"compiler.name": "export"}, {"prefetch.timeout_seconds": 5.0}, STORE | {"modules.source": "local"}],
    )
    def test_what_nothing_would_use_is_refused(self, plugins, settings):
        with pytest.raises(EsperError, match="of no use"):
            resolve_run("digits", plugins, settings=settings)

    def test_the_environment_names_a_store_unless_the_run_does_not_want_one(self, plugins, tmp_path, monkeypatch):
        monkeypatch.setenv("ESPER_STORE", f"local:{tmp_path}/shared")
        named = resolve_run("digits", plugins).config
        assert named.section("store").options["url"] == f"local:{tmp_path}/shared"
        assert named.section("compiler").name == "export"
        assert resolve_run("digits", plugins, settings={"modules.source": "local"}).config.section("store") is None


def worker_of(plugins, url, state):
    queue, store = ForgeQueue(state, "worker"), open_store("local:", plugins.registry)
    forge = Forge(queue, store, plugins.registry, Inside(registry=plugins.registry))
    return PrefetchWorker(open_bus(url, plugins.registry), forge, queue, state, Signer(keyring(state)), name="worker")


@contextmanager
def working(plugins, url, state):
    """A worker in a thread."""
    worker, stop = worker_of(plugins, url, state), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(params=["sqlite", "redis"])
def bus(request, tmp_path):
    if request.param == "sqlite":
        yield {"bus": {"name": "sqlite", "url": f"sqlite:{tmp_path}/bus.sqlite"}}
        return
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        yield {"bus": {"name": "redis", "url": server.url}}
    finally:
        server.kill()


class TestPrefetched:
    def test_the_bits_are_those_of_a_run_that_builds_its_seeds(self, plugins, tmp_path, local, state, bus):
        with working(plugins, bus["bus"]["url"], state):
            path = run(plugins, tmp_path / "runs", **STORE, **bus, **{"prefetch.timeout_seconds": 250.0})
        (ready,) = told(path)
        assert (ready["way"], ready["exact"]) == ("prefetch", True)
        assert 0 < ready["prewarm_p50_ms"] <= ready["prewarm_p95_ms"]
        assert_same(path, local)

    def test_without_a_worker_seeds_are_built(self, plugins, tmp_path, local):
        url = f"sqlite:{tmp_path}/bus.sqlite"
        settings = STORE | {"bus": {"name": "sqlite", "url": url}, "prefetch.timeout_seconds": 0.2}
        path = run(plugins, tmp_path / "runs", **settings)
        (fallback,) = told(path)
        assert (fallback["code"], fallback["built"]) == ("E631", True)
        assert "no answer in time" in fallback["reason"]
        assert fallback["waited_seconds"] >= 0.2
        assert_same(path, local)


def test_what_went_into_another_store_is_made_again(plugins, tmp_path, state):
    url = f"sqlite:{tmp_path}/bus.sqlite"
    worker, bus = worker_of(plugins, url, state), open_bus(url, plugins.registry)
    prefetcher = Prefetcher(lambda: bus, Signer(keyring(state)), name="run")
    request_id = prefetcher.ask(ORDER, 250.0)
    other = open_store(f"local:{tmp_path}/other", plugins.registry)
    queue = ForgeQueue(state, "another")
    queue.submit([ORDER])
    # The other forge has the job before the worker hears of it, and finishes it meanwhile.
    taken = queue.take()
    worker.step()
    queue.finish(taken, "made", "d" * 64)
    answer = None
    while answer is None:
        worker.step()
        answer = prefetcher.poll(request_id)
    assert open_store("local:", plugins.registry).read(answer.artifact_ref) is not None
    for it in (queue, bus, other.store):
        it.close()


NOT_WAITING = {"epochs": 8, "prefetch.wait": False, "prefetch.timeout_seconds": 250.0, "name": "free"}


@pytest.fixture
def answers_after(plugins, tmp_path, state, monkeypatch):
    """Let answers be there at a request's n-th look, in whichever epoch that is; the worker works in between."""
    looks, patience, poll, wait = Counter(), [0], Prefetcher.poll, Prefetcher.wait
    worker = worker_of(plugins, f"sqlite:{tmp_path}/bus.sqlite", state)

    def answered(way, prefetcher, request_id):
        while worker.step():
            pass
        return way(prefetcher, request_id)

    def late(prefetcher, request_id):
        looks[request_id] += 1
        return answered(poll, prefetcher, request_id) if looks[request_id] >= patience[0] else None

    monkeypatch.setattr(Prefetcher, "poll", late)
    monkeypatch.setattr(Prefetcher, "wait", lambda self, it: answered(wait, self, it))
    return partial(patience.__setitem__, 0)


def arrivals(path):
    return [(it["kind"], it["epoch"]) for it in events(path) if it["kind"].startswith("modules.")]


class TestNotWaitedFor:
    @pytest.mark.slow
    def test_epochs_go_by_and_a_resumed_run_repeats_when_it_came(self, plugins, tmp_path, answers_after):
        answers_after(4)
        bus = {"bus": {"name": "sqlite", "url": f"sqlite:{tmp_path}/bus.sqlite"}}
        settings = STORE | bus | NOT_WAITING | {"checkpoints.every": 1, "checkpoints.keep": 9}
        path = run(plugins, tmp_path / "runs", **settings)
        moves = {}
        for it in events(path):
            if it["kind"] == "seed_transition":
                moves.setdefault(it["data"]["target"], it["epoch"])
        (kind, arrived), *_ = arrivals(path)
        assert kind == "modules.kernel-ready"
        assert arrived == moves["TRAINING"] >= moves["GERMINATED"] + 3
        log, weights = events(path), (path / "weights.safetensors").read_bytes()
        saved = sorted((path / "checkpoints").glob("*.safetensors"))
        for checkpoint in saved[moves["GERMINATED"] + 1 :]:
            checkpoint.unlink()
        (path / "result.json").unlink()
        answers_after(0)
        resume(open_run(path), resolve_run(None, plugins, file=path / "config.toml"), plugins)
        assert (path / "weights.safetensors").read_bytes() == weights
        assert timeless(events(path)) == timeless(log)
        replayed = replay_run(open_run(path), resolve_run(None, plugins, file=path / "config.toml"), plugins, (0, 0))
        replayed.advance(0, 8)
        (final,), _ = replayed.finish()
        replayed.close()
        (told_end,) = log[-1]["data"]["hosts"].values()
        assert final.test.loss == told_end["test_loss"]

    def test_a_seed_whose_module_never_comes_is_built_later(self, plugins, tmp_path, local):
        bus = {"bus": {"name": "sqlite", "url": f"sqlite:{tmp_path}/bus.sqlite"}}
        settings = STORE | bus | NOT_WAITING | {"prefetch.timeout_seconds": 0.01}
        path = run(plugins, tmp_path / "runs", **settings)
        assert {kind for kind, _ in arrivals(path)} == {"modules.kernel-fallback"}

    def test_without_a_bus_there_is_nothing_not_to_wait_for(self, plugins, tmp_path):
        with pytest.raises(EsperError, match=r"prefetch\.wait") as caught:
            run(plugins, tmp_path, **STORE, **NOT_WAITING)
        assert caught.value.code == "E202"


def test_a_resumed_run_ends_with_the_same_bits(plugins, tmp_path, local):
    path = run(plugins, tmp_path, **STORE, **{"checkpoints.every": 1, "checkpoints.keep": 3, "name": "r"})
    assert sorted(it.name for it in (path / "checkpoints").iterdir())
    newest = max((path / "checkpoints").glob("*.safetensors"))
    newest.unlink()
    (path / "result.json").unlink()
    directory = open_run(Path(path))
    resumed = resolve_run(None, plugins, file=path / "config.toml")
    resume(directory, resumed, plugins)
    assert (path / "weights.safetensors").read_bytes() == (local / "weights.safetensors").read_bytes()
