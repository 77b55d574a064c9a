"""`esper watch` over a run that is going on, is killed, and is resumed; and in a terminal of its own."""

import importlib.util
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from esper_app_watch.model import read, shown
from esper_app_watch.state import RunState
from esper_runs.formatting import percent
from esper_runs.run_directory import RunDirectory, find_run
from esper_runs.run_follower import RunFollower
from esper_runs.run_record import read_run_record

_SPEC = importlib.util.spec_from_file_location("esper_test_watching", Path(__file__).with_name("watching.py"))
watching = sys.modules.setdefault("esper_test_watching", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(watching)
agree, lines, settled, text, watch = watching.agree, watching.lines, watching.settled, watching.text, watching.watch

pytestmark = pytest.mark.slow

EPOCHS = 30

#: A run waits behind its middle until it was looked at and killed, and near its end until it was seen to go on.
HELD = Path(__file__).parents[1] / "held.py"
LOOKED, RESUMED = "looked", "resumed"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was killed in its middle and resumed, and what was shown of it at each step."""
    place = tmp_path_factory.mktemp("live")
    path = place / "runs" / "live"
    esper = [sys.executable, "-m", "esper_app.cli", "run", "--plugin-path", str(HELD)]
    held = {EPOCHS // 2: str(place / LOOKED), EPOCHS - 3: str(place / RESUMED)}
    environ = os.environ | {"ESPER_TEST_HELD": json.dumps(held)}
    options = {"cwd": place, "env": environ, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    # There must be a checkpoint when it is killed.
    sets = [
        "--set",
        f"epochs={EPOCHS}",
        "--set",
        "twin=epochs",
        "--set",
        "host.widths=[4, 8]",
        "--set",
        "name=live",
        "--set",
        "checkpoints.every=1",
    ]
    first = subprocess.Popen([*esper, "digits", *sets], **options)
    seen = []

    async def while_it_goes_on(app, pilot):
        while app.states[0].board.done < EPOCHS // 3 or not [*path.glob("checkpoints/epoch-*")]:
            assert first.poll() is None, first.stderr.read()
            await settled(app, pilot)
        seen.append(("running", lines(app)[0]))
        first.send_signal(signal.SIGKILL)
        first.wait()
        (place / LOOKED).touch()
        await settled(app, pilot)
        killed = shown(app.states[0])
        agree(killed, read_run_record(RunDirectory(path)))
        seen.append(("killed", lines(app)[0]))
        again = subprocess.Popen([*esper, "--resume", "runs/live"], **options)
        while again.poll() is None:
            await settled(app, pilot)
            seen.append(("resumed", shown(app.states[0]).epochs_done))
            if EPOCHS // 2 + 1 < shown(app.states[0]).epochs_done < EPOCHS:
                (place / RESUMED).touch()
        assert again.returncode == 0, again.stderr.read()
        await settled(app, pilot)
        seen.append(("over", text(app)))
        seen.append(("shown", shown(app.states[0])))

    try:
        while not (path / "manifest.json").is_file():
            assert first.poll() is None, first.stderr.read()
            select.select([], [], [], 0.05)
        watch([path], while_it_goes_on, (120, 40))
    finally:
        first.kill()
        first.wait()
    return path, seen


def test_a_live_run_is_followed_through_a_kill_and_a_resume(run):
    _, seen = run
    running, killed = (dict(seen)[name] for name in ("running", "killed"))
    for line in (running, killed):
        done = int(re.search(rf"epoch (\d+)/{EPOCHS}", line)[1])
        assert EPOCHS // 3 <= done < EPOCHS
        assert "unfinished" in line
    assert "left" in running
    resumed = [epochs for name, epochs in seen if name == "resumed"]
    assert any(EPOCHS // 2 + 1 < epochs < EPOCHS for epochs in resumed)
    assert f"completed epoch {EPOCHS}/{EPOCHS}" in dict(seen)["over"]


def test_every_figure_at_the_end_is_that_of_the_record(run):
    path, seen = run
    record = read_run_record(RunDirectory(path))
    agree(dict(seen)["shown"], record)
    assert dict(seen)["shown"] == read(RunDirectory(path))
    assert percent(record.result["hosts"]["grown"]["test_accuracy"]) in dict(seen)["over"]


def test_a_log_that_is_read_in_small_parts_says_the_same(run):
    path, _ = run
    follower, state = RunFollower(RunDirectory(path)), RunState(path.name, str(path))
    while True:
        state.take(follower.read(1000))
        if not state.left:
            break
    assert shown(state) == read(RunDirectory(path))


def test_in_a_terminal(run):
    path, _ = run
    own, other = pty.openpty()
    environ = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    command = [sys.executable, "-m", "esper_app.cli", "watch", str(path)]
    watched = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environ, start_new_session=True)
    os.close(other)
    told = b""
    try:
        while b"completed" not in told:
            assert select.select([own], [], [], 60)[0], told.decode(errors="replace")
            told += os.read(own, 1 << 16)
        os.write(own, b"q")
        while select.select([own], [], [], 60)[0]:
            try:
                if not (more := os.read(own, 1 << 16)):
                    break
            except OSError:  # the other end is closed
                break
            told += more
        assert watched.wait(60) == 0
    finally:
        watched.kill()
        watched.wait()
        os.close(own)
    assert find_run(path).name.encode() in told
    # It leaves the other screen of the terminal, and the cursor is there again.
    assert b"\x1b[?1049l" in told
    assert b"\x1b[?25h" in told
