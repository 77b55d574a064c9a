"""Every metric that alerts, objectives, the dashboard and the documentation name comes from real runs."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

import esper_core.hooks
from esper_alerts.alerts import ALERTS
from esper_alerts.catalogue import CATALOGUE
from esper_alerts.objectives import objective_alerts, objective_recordings
from esper_alerts.recordings import RECORDINGS
from esper_alerts.tables import alerts_table, objectives_table
from esper_app.api import load_plugins
from esper_app.cli.root import cli
from esper_core.api import Event, EventKind
from esper_sink_prometheus.config import PrometheusConfig
from esper_sink_prometheus.dashboard import dashboard
from esper_sink_prometheus.sink import PrometheusSink

ROOT = Path(__file__).parents[3]

_NAME = re.compile(r"\besper[_:][a-z0-9_:]*[a-z0-9]\b")

#: What is called like a metric and is none: a parameter group, old names, and what readers are to name so themselves.
_OTHERS = {"esper_seed", "esper_unseen", "esper_commands", "esper_events"}
_EXAMPLES = ("esper_blueprint_", "esper_app_", "esper_bus", "esper_relay", "esper_adapter_")

#: A diagnostic of its own, so that there is one.
PLUGIN = """
from attrs import frozen

from esper_core.hooks import hookimpl
from esper_core.specs import DiagnosticSpec

ESPER_API = "2.0"


@frozen
class Found:
    figure: float


class Count:
    def __init__(self, config):
        pass

    def examine(self, view):
        return Found(1.0)


@hookimpl
def esper_diagnostics():
    yield DiagnosticSpec(name="count", summary="Counts.", factory=Count)
"""

#: Runs that have between them whatever a run can have a number of.
RUNS = {
    "digits": (
        "run digits --plugin-path count.py",
        "epochs=8",
        "telemetry=debug",
        "lifecycle.incubation=probe",
        "policy.fit_accuracy=1.0",
        'diagnostics.names=["count"]',
        'rewards.terms=[{name="stage-potential", weight=1.0}]',
    ),
    "regression": ("run diabetes", "epochs=2"),
    "training": ("train digits --rounds 1", "epochs=4", "policy.wait_bias=-1"),
}


def expressions() -> Iterator[str]:
    yield from (it.expression for it in (*ALERTS, *RECORDINGS, *objective_alerts(), *objective_recordings()))
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])


def pages() -> list[Path]:
    return [*ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("*.md")]


def named_by(text: str) -> set[str]:
    """The metrics that a text names, without those that are recorded."""
    found = {name for name in _NAME.findall(text) if name.startswith("esper_") and not _is_code(name)}
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in CATALOGUE else name for name in found}


@cache
def _hooks_of_kinds() -> set[str]:
    return {kind.hook for kind in load_plugins().registry.kinds}


def _is_code(name: str) -> bool:
    name = name.partition(":")[0]
    hook = f"def {name}(" in Path(esper_core.hooks.__file__).read_text() or name in _hooks_of_kinds()
    if name in CATALOGUE:  # two are called like hooks
        return False
    return name in _OTHERS or name.startswith(_EXAMPLES) or hook or find_spec(name) is not None


def _of_services() -> set[str]:
    """What services register for Prometheus themselves; their own tests hold that it is there."""
    sources = [ROOT / "plugins" / name / "src" for name in ("esper-weatherlight", "esper-service-nissa")]
    code = "".join(file.read_text() for source in sources for file in source.rglob("*.py"))
    return set(re.findall(r'(?:gauge|counter|MetricFamily)\(\s*"(esper_\w+)"', code))


def test_pages_name_metrics_that_are_registered_and_recordings_that_there_are() -> None:
    recorded = {it.name for it in (*RECORDINGS, *objective_recordings())}
    registered = CATALOGUE.keys() | _of_services()
    assert len(registered) > len(CATALOGUE)
    for page in pages():
        text = page.read_text()
        assert named_by(text) <= registered, page
        assert {name for name in _NAME.findall(text) if name.startswith("esper:")} <= recorded, page


def test_a_page_that_names_what_is_not_there_is_found() -> None:
    assert named_by("see `esper_seeds_planted_total` and `esper_core`") == {"esper_seeds_planted_total"}
    assert named_by("`esper_event_lag_seconds_bucket`") == {"esper_event_lag_seconds"}


def test_the_documentation_has_the_tables_of_alerts_and_objectives() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    for table in (alerts_table(), objectives_table()):
        assert table in text, "write the output of `esper prometheus alerts` into it"


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all metrics that have a value in one of the runs."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "count.py").write_text(PLUGIN)
    found: set[str] = set()
    for name, (command, *settings) in RUNS.items():
        given = ('sinks.names=["jsonl"]', f"runs={folder}", f"name={name}", *settings)
        words = [*command.replace("count.py", str(folder / "count.py")).split()]
        words += [word for setting in given for word in ("--set", setting)]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        found |= names_of(folder / name)
    return found


def names_of(run: Path) -> set[str]:
    sink = PrometheusSink(PrometheusConfig(http=False, textfile=str(run / "out.prom")))
    sink.open(json.loads((run / "manifest.json").read_text()))
    found: set[str] = set()
    fields = ("host", "epoch", "round", "data", "sequence", "time")
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        sink.emit([Event(kind=EventKind(event["kind"]), **{name: event[name] for name in fields})])
        found |= {it.name for it in sink.series.samples()}
    sink.close()
    return named_by(" ".join(found))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_metric_comes_from_a_real_run(emitted: set[str]) -> None:
    named = {name for text in (*expressions(), *(page.read_text() for page in pages())) for name in named_by(text)}
    named -= _of_services()  # no run emits what a supervisor says
    assert named <= emitted, named - emitted
    assert CATALOGUE.keys() <= emitted, CATALOGUE.keys() - emitted
