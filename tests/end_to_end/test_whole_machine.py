"""`esper up`, un-stubbed: everything runs, is killed at random, and ends with the run that was left alone."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic

import psutil
import pytest

from esper_app.api import load_plugins
from esper_leyline_proto.commands import EmergencySignal
from esper_messaging.reading import Reader
from esper_oona.api import Refusal, Replays, Signer, keyring, open_bus
from esper_weatherlight.api import find_supervisor, supervisor_status

TESTS = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("esper_test_distributions", TESTS / "distributions.py")
distributions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(distributions)

TIMES = {"sequence", "time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}

#: Germinates, blends, fossilizes one seed and culls another.
SETTINGS = [
    "twin=epochs",
    "host.widths=[4, 8]",
    "seed=3",
    "policy.germinate_until=0.6",
    "policy.fit_accuracy=1.0",
    'policy.blueprints=["conv-light", "group-norm"]',
    "lifecycle.ramp_epochs=1",
    "lifecycle.embargo_epochs=1",
    "lifecycle.probation_timeout_epochs=3",
    "gates.name=permissive",
    "checkpoints.every=1",
]
PATIENCE = 900.0

#: Services that may take as long as a loaded machine takes.
BUS, NISSA, FORGE = (
    f"[services.{name}]\nready_seconds = 900\n{more}"
    for name, more in (("bus", 'service = "bus-server"\n'), ("nissa", ""), ("forge", ""))
)

#: Offline learning, without a champion to learn from: reports are kept.
SIMIC = (
    '[services.simic]\nservice = "command"\nrequires = ["bus"]\ncommand = ["esper", "simic", "run", "--bus", "{bus}"]\n'
)

pytestmark = pytest.mark.timeout(3000)


def esper(*words):
    return [sys.executable, "-m", "esper_app.cli", *map(str, words)]


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


#: Notices that tell of what happens around a run: it is asked to stop, and its bus is away for a while.
AROUND = ("stopping at the end of this epoch", "degraded: the bus redis does not", "the bus redis answers again")


def events(run):
    """All but the first, which holds the configuration, and the notices of what happens around a run.

    Each is numbered; a notice takes a number, so that without it the numbers tell of nothing but the order.
    """
    read = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [it["sequence"] for it in read] == [*range(len(read))]
    kept = [it for it in read[1:] if not it["data"].get("message", "").startswith(AROUND)]
    return [timeless(it) for it in kept]


def assert_same_run(one, other):
    assert events(one) == events(other)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def said_by(process):
    """Return the command line of a process; "" if it has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""


def eventually(true, what, seconds=PATIENCE):
    """Wait until something is true; `what` says what is wrong if it is not."""
    end = monotonic() + seconds
    while not (found := true()):
        assert monotonic() < end, what()
        threading.Event().wait(0.05)
    return found


class Machine:
    """A folder with a file of services, and the supervisor that is up in it."""

    def __init__(self, folder: Path, epochs: int, services: str, **settings):
        self.folder, self.state, self.up = folder, folder / "s", None
        run = json.dumps([*SETTINGS, f"epochs={epochs}"])
        head = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        head += "[restarts]\nbudget = 1000\nfirst_seconds = 0.1\nlongest_seconds = 1.0\n"
        head += f'[services.digits]\nservice = "run"\ntask = "digits"\nset = {run}\nready_seconds = 900\n'
        (folder / "machine.toml").write_text(head + services)
        self.over, self.environ = folder / "over", {}

    def hold(self, epoch):
        """Let runs wait behind an epoch until `end`, so that they are under way when they are looked at."""
        site = self.folder / "site"
        distributions.write_distribution(site, "esper-held", code=(TESTS / "held.py").read_text())
        self.environ = {"PYTHONPATH": str(site), "ESPER_TEST_HELD": json.dumps({epoch: str(self.over)})}

    def begin(self, *words, until_done=True):
        self.said = (self.folder / "said").open("ab")
        self.up = subprocess.Popen(
            esper("up", "--config", "machine.toml", "--state", "s", *["--until-done"] * until_done, *words),
            cwd=self.folder,
            env=os.environ | self.environ,
            stdout=self.said,
            stderr=subprocess.STDOUT,
        )

    def status(self):
        return supervisor_status(self.state) or {"services": []}

    def service(self, name):
        return next((it for it in self.status()["services"] if it["name"] == name), None)

    def is_at(self, name, *states):
        found = self.service(name)
        return found is not None and found["state"] in states and found

    def wait(self, true):
        """Wait until something is true while the supervisor is up."""

        def found():
            up = self.up.poll() is None
            it = true()
            assert it or up, self.tail()
            return it

        return eventually(found, self.tail)

    def kill(self, name):
        """Kill a service while it is ready, and wait until it comes again."""
        before = self.wait(lambda: self.is_at(name, "ready"))
        with suppress(ProcessLookupError):  # it is starting again already
            os.kill(before["pid"], signal.SIGKILL)
        self.wait(lambda: (it := self.service(name)) and it["restarts"] > before["restarts"])

    def trains(self):
        """Whether the run has trained an epoch; its log says so at once, and its health only when it is asked."""
        return any('"epoch_completed"' in it.read_text() for it in self.folder.glob("runs/digits-*/events.jsonl"))

    def at_its_hold(self):
        """Whether the run has come to where it waits, or to the epoch before, as its log says."""
        logs = [it.read_text().rpartition("\n")[0] for it in self.folder.glob("runs/digits-*/events.jsonl")]
        lines = [line for log in logs for line in log.splitlines() if '"epoch_completed"' in line]
        return any(json.loads(it)["epoch"] >= EPOCHS - 3 for it in lines)

    def end(self):
        """Wait until all that was to be done is done; what was held is let go."""
        self.over.touch()
        code = self.up.wait(PATIENCE)
        assert code == 0, self.tail()

    def close(self):
        if self.up is not None and self.up.poll() is None:
            self.up.kill()
            self.up.wait()
        subprocess.run(esper("down", "--state", self.state), cwd=self.folder, check=True, timeout=120)
        # Not by its mark: Redis writes over its environment, and says in its command line where it is.
        assert not [it for it in psutil.process_iter() if str(self.folder) in said_by(it)]

    def tail(self):
        return (self.folder / "said").read_text()[-3000:]

    def run(self):
        """The one run that came to its end."""
        (found,) = [it.parent for it in (self.folder / "runs").glob("digits-*/result.json")]
        return found


@pytest.fixture
def machine(tmp_path_factory):
    made = []

    def make(epochs, services, **settings):
        made.append(Machine(tmp_path_factory.mktemp("m"), epochs, services, **settings))
        return made[-1]

    yield make
    for it in made:
        it.close()


#: A run waits behind its last but one until it was looked at, and killed.
EPOCHS = 80


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run that nobody disturbs, without a machine."""
    folder = tmp_path_factory.mktemp("alone")
    sets = [part for it in (*SETTINGS, f"epochs={EPOCHS}", "name=alone") for part in ("--set", it)]
    subprocess.run(esper("run", "digits", *sets), cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    return folder / "runs" / "alone"


@cache
def registry():
    return load_plugins().registry


def left_and_dead(machine, groups):
    """What the bus has that Nissa has not handled, and why messages were given up."""
    os.environ["ESPER_STATE"] = str(machine.state)
    bus = open_bus(f"sqlite:{machine.state}/bus.sqlite", registry())
    try:
        return [it for it in bus.backlogs() if it.group in groups and it.depth], {it.reason for it in bus.dead(100)}
    finally:
        bus.close()


def nothing_is_left(machine, groups=("nissa",)):
    """Every message of the bus was handled by Nissa, and none was given up.

    What a process had sent when it was killed, and not yet confirmed to itself, comes twice: the copy is refused.
    """
    left, dead = left_and_dead(machine, groups)
    assert not left
    assert dead <= {f"refused: {Refusal.REPLAYED}"}


@pytest.mark.slow
class TestEverythingRuns:
    def test_on_the_embedded_bus_with_kills_a_drain_and_a_dead_supervisor(self, machine, alone, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", "")
        it = machine(EPOCHS, NISSA + "sinks = {jsonl = {}}\n" + FORGE)
        it.hold(EPOCHS - 2)
        it.begin()
        it.wait(it.trains)
        it.kill("digits")
        it.kill("nissa")
        # SIGTERM: what runs is asked to end, and a run writes a checkpoint.
        it.wait(lambda: it.is_at("digits", "ready", "done"))
        began = monotonic()
        it.up.send_signal(signal.SIGTERM)
        it.up.wait(PATIENCE)
        assert monotonic() - began < 30 + 90  # the deadline, and what a loaded machine takes beside it
        assert find_supervisor(it.state) is None
        # SIGKILL: the next supervisor ends what the dead one has left.
        it.begin()
        leader = it.wait(lambda: it.is_at("nissa", "ready"))["pid"]
        it.up.kill()
        it.up.wait()
        assert psutil.pid_exists(leader)
        it.begin()
        eventually(lambda: not psutil.pid_exists(leader), lambda: "the old Nissa lives")
        # What Nissa had in its hands when it was killed comes again once its lease is over. When it is told to end, it
        # takes what is there, for some seconds: it has to be about there by then.
        groups = ("nissa", "nissa-jsonl")
        it.wait(it.at_its_hold)
        it.wait(lambda: not left_and_dead(it, groups)[0])
        it.end()
        assert_same_run(it.run(), alone)
        nothing_is_left(it, groups)
        # What Nissa has stored of the run is its log. What was sent, and was repeated after a kill, took another time.
        # A run that was killed before its first checkpoint was begun again, as another run.
        (stored,) = [
            path.parent
            for path in (it.state / "services/nissa/jsonl/runs").glob("*/events.jsonl")
            if json.loads(path.open().readline())["run"] == it.run().name
        ]
        assert events(stored) == events(it.run())

    def test_on_a_server_of_its_own_with_kills(self, machine, alone, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", "")
        it = machine(EPOCHS, BUS + NISSA + SIMIC)
        it.hold(EPOCHS - 2)
        it.begin()
        it.wait(it.trains)
        # One of the two that speak to the server, it itself, and what learns from it.
        for name in (random.Random(7).choice(["digits", "nissa"]), "bus", "simic"):
            it.kill(name)
        it.wait(lambda: it.status().get("ready"))
        self.check_status(it)
        it.end()
        assert_same_run(it.run(), alone)

    def test_a_server_that_a_dead_supervisor_has_left_is_ended(self, machine, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", "")
        it = machine(1, BUS)
        it.begin()
        it.wait(lambda: it.is_at("bus", "ready"))
        it.up.kill()
        it.up.wait()
        assert any(str(it.folder) in said_by(process) for process in psutil.process_iter())
        it.close()

    @staticmethod
    def check_status(it):
        """`esper status --json` is what HTTP says, but for what moves on; where more has moved meanwhile, once more."""
        moving = {"for_seconds", "up_seconds", "summary", "figures", "state", "pid", "ready"}

        def still(data):
            if isinstance(data, dict):
                return {key: still(value) for key, value in data.items() if key not in moving}
            return [still(value) for value in data] if isinstance(data, list) else data

        def agreed():
            before, words = it.status(), esper("status", "--json", "--state", it.state)
            asked = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
            try:
                with urllib.request.urlopen(f"{find_supervisor(it.state).url}/health") as answer:
                    over_http = json.loads(answer.read())
            except urllib.error.HTTPError:  # as it is while a service is not well
                return None
            same = still(json.loads(asked.stdout)) == still(over_http) == still(before)
            return over_http if same and asked.returncode == 0 else None

        services = it.wait(agreed)["services"]
        assert [s["name"] for s in services] == ["bus", "digits", "nissa", "simic"]


@pytest.mark.slow
class TestEmergencies:
    def test_a_spent_budget_is_heard_on_the_bus(self, machine, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", "")
        it = machine(1, "")
        (it.folder / "machine.toml").write_text(
            '[services.bad]\nservice = "command"\ncommand = ["sh", "-c", "exit 1"]\nrestarts = {budget = 0}\n'
            '[services.after]\nservice = "command"\ncommand = ["sleep", "1000"]\nrequires = ["bad"]\n'
        )
        it.begin(until_done=False)
        it.wait(lambda: it.is_at("after", "paused") and it.is_at("bad", "failed"))
        heard = []
        monkeypatch.setenv("ESPER_STATE", str(it.state))
        bus = open_bus("sqlite:", registry())
        reader = Reader(
            bus,
            "test",
            "t",
            {EmergencySignal: lambda signal, _: heard.append(signal)},
            signer=Signer(keyring(it.state)),
            replays=Replays(it.state / "replays.sqlite"),
        )
        eventually(lambda: reader.poll() or heard, lambda: "nothing is heard")
        bus.close()
        assert (heard[0].origin, heard[0].attributes) == ("weatherlight", {"service": "bad"})
        asked = subprocess.run(
            esper("status", "--state", it.state), capture_output=True, text=True, timeout=120, check=False
        )
        assert asked.returncode == 1
        assert "emergencies: 1" in asked.stdout
        assert "paused" in asked.stdout
        second = subprocess.run(
            esper("up", "--config", "machine.toml", "--state", "s"),
            cwd=it.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert second.returncode == 2
        assert "E641" in second.stderr
        assert f"process {it.up.pid}" in second.stderr


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_minutes_of_kills_among_all_services_and_the_supervisor(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", "")
    minutes, epochs = float(os.environ.get("ESPER_KILLS_MINUTES", "10")), 400
    sets = [part for it in (*SETTINGS, f"epochs={epochs}", "name=alone") for part in ("--set", it)]
    subprocess.run(esper("run", "digits", *sets), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    it = machine(epochs, BUS + NISSA + FORGE)
    it.begin()
    draw, end, kills = random.Random(3), monotonic() + 60 * minutes, 0
    while monotonic() < end and it.up.poll() is None:
        threading.Event().wait(draw.uniform(1.0, 8.0))
        name = draw.choice(["bus", "digits", "nissa", "forge", "supervisor"])
        if name == "supervisor":
            it.up.kill()
            it.up.wait()
            it.begin()
        elif (found := it.service(name)) and found["pid"] is not None:
            os.kill(found["pid"], signal.SIGKILL)
        kills += 1
    it.up.wait(3600)
    print(f"kills: {kills}")
    assert it.up.returncode == 0, it.tail()
    assert_same_run(it.run(), tmp_path / "runs" / "alone")
