"""One run, and one training in somebody's own loop: every view says the same of them.

A further view is a function in `figures` from a run's directory to what it shows, and a row in `VIEWS`. A screen that
is driven, like a page in a browser, shows a run while it goes on: it belongs in the fixture `told`, beside the page.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # programs of others take their time on a busy machine

HERE = Path(__file__).parent
EPOCHS = 6
CONFIG = f"""
name = "watched"
epochs = {EPOCHS}
twin = "epochs"
host.widths = [4, 8]

[rewards]
terms = [{{ name = "attribution", weight = 5.0 }}]

[sinks]
names = ["console", "jsonl", "sqlite", "directory", "tensorboard", "mlflow", "alerts", "elasticsearch", "otlp",
    "prometheus", "wandb"]
wandb.module = "trackio"
prometheus.http = false
prometheus.textfile = "metrics.prom"
"""

#: Trainings wait behind these epochs until the page has said that they go on, and then how they do.
SEEN = {1: "seen-1", 3: "seen-2"}

#: How the trainings are begun, the name of their run, and what its host is called.
TRAININGS = {
    "esper run": (
        ["-m", "esper_app.cli", "run", "digits", "--config", "run.toml", "--plugin-path", str(HERE.parent / "held.py")],
        "watched",
        "grown",
    ),
    "grow": ([str(HERE / "own_loop.py")], "mine", "model"),
}


def _helper(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"esper_test_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser, server, servers, watching = (
    _helper(HERE.parent / path) for path in ("browser.py", "dashboard_server.py", "servers.py", "app_watch/watching.py")
)
figures = _helper(HERE / "figures.py")
programs = figures.programs

#: Each view that reads what a run has left, and figures that it must show.
EVERY_EPOCH = ("HOST: validation loss, nats, epoch 2", "HOST: parameters, epoch 3")
SEEDS = ("seed .*: end",)
VIEWS = {
    figures.result_json: ("verdict",),
    figures.sqlite: (*EVERY_EPOCH, *SEEDS, "verdict", "seed .*: alpha, epoch .*"),
    figures.directory: (*EVERY_EPOCH, *SEEDS, "verdict", "seed .*: alpha, epoch .*"),
    figures.elasticsearch: (*EVERY_EPOCH, *SEEDS, "verdict", "seed .*: alpha, epoch .*"),
    figures.otlp: EVERY_EPOCH,
    figures.mlflow: EVERY_EPOCH,
    figures.trackio: EVERY_EPOCH,
    figures.tensorboard: EVERY_EPOCH,
    figures.console: (*EVERY_EPOCH[:1], "verdict"),
    figures.watch: ("HOST: validation loss, nats, epoch 2", "HOST: parameters, epoch .*", *SEEDS, "verdict"),
    figures.prometheus: ("HOST: validation loss, nats, epoch .*", "HOST: parameters, epoch .*"),
    figures.report: (*EVERY_EPOCH, *SEEDS, "verdict"),
    figures.dashboard_data: (*EVERY_EPOCH, *SEEDS, "verdict"),
}


@frozen
class Told:
    """A training that is over.

    Attributes:
        run: its directory.
        host: what its host is called.
        seen: how far the dashboard's page said that it was, one after the other, while it went on.
        page: what the page said at the end, without having been loaded again.
        complaints: of the browser.
    """

    run: Path
    host: str
    seen: list[str]
    page: dict[str, str]
    complaints: list[str]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str, list[tuple[str, bytes]]]]:
    """A store of MLflow's, an Elasticsearch protocol server, an OTLP collector, and the requests that it gets."""
    folder = tmp_path_factory.mktemp("others")
    programs.make_mlflow_store(folder / programs.MLFLOW)
    with servers.elasticsearch_server(folder) as url, servers.otlp_collector() as (collector, requests):
        yield folder / programs.MLFLOW, url, collector, requests


@pytest.fixture(scope="module", params=TRAININGS)
def told(others: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    if browser.chromium() is None:
        assert not os.environ.get("CI"), "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed")
    command, name, host = TRAININGS[request.param]
    folder = tmp_path_factory.mktemp("views")
    (folder / "run.toml").write_text(CONFIG)
    (folder / "runs").mkdir()
    store, elasticsearch, collector, requests = others
    shutil.copy(store, folder / "runs" / programs.MLFLOW)
    environ = programs.environment(folder, elasticsearch, collector)
    environ["ESPER_TEST_HELD"] = json.dumps({epoch: str(folder / name) for epoch, name in SEEN.items()})
    with (
        server.serving(folder / "runs") as (_, port),
        browser.browser(folder / "profile", network=True) as page,
        (folder / programs.OUTPUT).open("w") as output,
    ):
        page.open(f"http://127.0.0.1:{port}/", 1280)
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            seen = _watch(page, process, folder)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, (folder / programs.OUTPUT).read_text()
        programs.keep_documents(folder, elasticsearch, name)
        programs.keep_metrics(folder, requests)
        requests.clear()
        page.until("document.querySelectorAll('.run.completed').length")
        page.until("document.querySelectorAll('.run .u-legend').length")
        yield Told(folder / "runs" / name, host, seen, figures.page_figures(page, name), page.complaints)


def _watch(page: Any, process: subprocess.Popen[bytes], folder: Path) -> list[str]:
    """Note what the page says of the run, which it shows as soon as there is one, until the run is over.

    The run waits until it was seen to be under way, and until more of it was seen.
    """
    seen: list[str] = []
    while process.poll() is None:
        said = page.evaluate("document.querySelector('.run small')?.textContent")
        if said and said not in seen[-1:]:
            seen.append(said)
            under_way = [it for it in seen if it.startswith("unfinished")]
            for name in [*SEEN.values()][: len(under_way)]:
                (folder / name).touch()
    return seen


@pytest.mark.parametrize("view", VIEWS, ids=lambda it: it.__name__)
def test_a_view_says_what_the_events_say(view, told: Told) -> None:
    expected, found = figures.events_jsonl(told.run), view(told.run)
    missing = [it for it in VIEWS[view] if not any(re.fullmatch(it.replace("HOST", told.host), name) for name in found)]
    assert not missing
    assert {name: expected.get(name) for name in found} == found


def test_the_page_says_it_too_without_being_loaded_again(told: Told) -> None:
    expected = figures.events_jsonl(told.run)
    legends = {name.removeprefix("legend "): it for name, it in told.page.items() if name.startswith("legend ")}
    last = max(json.loads(line)["epoch"] or 0 for line in (told.run / "events.jsonl").read_text().splitlines()) + 1
    for host in (told.host, "twin"):
        for title in ("validation accuracy", "validation loss, nats", "parameters"):
            if (wanted := expected.get(f"{host}: {title}, epoch {last}")) is not None:
                assert legends[f"{title}: {host}"] == wanted
    rest = {name: it for name, it in told.page.items() if not name.startswith("legend ")}
    assert len(rest) > 15
    assert {name: expected.get(name) for name in rest} == rest


def test_the_screen_in_the_terminal_says_it_too(told: Told) -> None:
    expected = figures.watch(told.run)
    last = max(int(name.rpartition(" ")[2]) for name in expected if "validation loss" in name)
    wanted = {
        "1": [
            it
            for name, it in expected.items()
            if name.endswith(f", epoch {last}") or "test" in name or "verdict" in name
        ],
        "2": [
            it
            for name, it in expected.items()
            if name.startswith(told.host) and name.endswith(f"loss, nats, epoch {last}")
        ],
        "3": [it for name, it in expected.items() if name.endswith(": end")],
    }

    async def play(app: Any, pilot: Any) -> None:
        for key, words in wanted.items():
            await pilot.press(key)
            await watching.settled(app, pilot)
            drawn = watching.text(app)
            assert words
            assert [word for word in words if word not in drawn] == []

    watching.watch([told.run], play, size=(160, 90))


def test_the_page_followed_while_it_went_on(told: Told) -> None:
    assert told.complaints == []
    epochs = [int(it.split()[1]) for it in told.seen if it.startswith("unfinished")]
    assert len(epochs) >= 2
    assert epochs == sorted(epochs)


def test_another_result_is_noticed(told: Told, tmp_path: Path) -> None:
    """What makes the comparisons above worth something: they fail if a file says something else."""
    run = tmp_path / "runs" / told.run.name
    shutil.copytree(told.run, run)
    result = json.loads((run / "result.json").read_text())
    result["seeds"][0]["final_stage"] = "CULLED"
    result["outcome"] = "stopped"
    (run / "result.json").write_text(json.dumps(result))
    expected = figures.events_jsonl(run)
    for view in (figures.result_json, figures.report, figures.dashboard_data):
        found = view(run)
        different = {name for name in found if expected.get(name) != found[name]}
        assert "verdict" in different
        assert view is figures.result_json or len(different) == 2
