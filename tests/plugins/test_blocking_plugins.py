"""Plugins that block or leave the process while they are imported."""

import multiprocessing
import os
import threading

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.plugins.quarantine import quarantined
from esper_core.plugins.records import Status
from esper_core.plugins.selection import Selection

HEAD = 'from esper_core.hooks import hookimpl\nESPER_API = "2.0"\n'
BLOCKING = {
    "a lock": "import threading\nthreading.Event().wait()\n",
    "a loop": "while True:\n    try:\n        import time; time.sleep(9)\n    except Exception:\n        pass\n",
    "an input": "import os\nr, w = os.pipe()\nos.read(r, 1)\n",
}


@pytest.mark.parametrize("where", ["import", "hook"])
@pytest.mark.parametrize("blocks", BLOCKING)
def test_a_plugin_that_blocks_is_named_and_takes_nobody_along(install, load, monkeypatch, blocks, where):
    monkeypatch.setenv("ESPER_PLUGIN_SECONDS", "0.5")
    code = BLOCKING[blocks]
    if where == "hook":
        body = "".join(f"    {line}\n" for line in code.splitlines())
        code = f"{HEAD}@hookimpl\ndef esper_blueprints():\n{body}    return []\n"
    install("esper-bad", plugin="bad", code=code)
    install("esper-good", plugin="good", code=HEAD)
    records = {record.origin.plugin: record for record in load().records}
    assert records["good"].status is Status.ACTIVE
    (problem,) = records["bad"].problems
    assert problem.code == ("E108" if where == "import" else "E141")
    assert '"bad"' in str(problem)
    assert "0.5 seconds" in problem.why
    assert "ESPER_PLUGIN_SECONDS" in problem.fix
    with pytest.raises(EsperError):
        load(Selection(wanted=("bad",)))


def _child(status):
    os._exit(status)


def test_only_the_importing_thread_of_this_process_is_kept_from_leaving():
    real = os._exit
    kept = []

    def plugin():
        kept.append(os._exit)
        child = multiprocessing.get_context("fork").Process(target=_child, args=[7])
        child.start()
        child.join()
        return child.exitcode

    assert quarantined(plugin) == 7
    assert os._exit is real
    with pytest.raises(SystemExit):
        quarantined(lambda: os._exit(3))
    assert kept[0] is not real
    assert os._exit is real


def test_a_plugin_in_another_thread_is_kept_to_its_time_as_well(monkeypatch):
    monkeypatch.setenv("ESPER_PLUGIN_SECONDS", "0.1")
    raised = []

    def elsewhere():
        try:
            quarantined(threading.Event().wait)
        except BaseException as error:
            raised.append(type(error).__name__)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert raised == ["OverdueError"]


def test_a_time_that_is_no_number_is_the_usual_one(monkeypatch):
    monkeypatch.setenv("ESPER_PLUGIN_SECONDS", "soon")
    assert quarantined(lambda: 5) == 5
