"""Each plugin passes the conformance suite where nothing is installed but its wheel, the core, and what they need."""

import importlib.util
import shutil
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

_SPEC = importlib.util.spec_from_file_location("esper_test_servers", ROOT / "tests" / "servers.py")
servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(servers)

PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text())["project"] for path in ROOT.glob("plugins/*/pyproject.toml")
}
PLUGINS = sorted(name for name, project in PROJECTS.items() if "esper" in project.get("entry-points", {}))
#: Compiling takes minutes, and so does making a database of mlflow, or beginning Ray, for each check. Their own tests
#: do that; here it is looked at whether what their wheels hold can be imported with what they declare.
LEVELS = {"esper-compiler-aoti": "static", "esper-executor-ray": "static", "esper-sink-mlflow": "static"}
GOOD = {"passed", "skipped", "expected-failure"}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The servers that some sinks and buses need, said in the environment as a user would."""
    with (
        servers.redis_server(tmp_path_factory.mktemp("redis")),
        servers.nats_server(tmp_path_factory.mktemp("nats")),
        servers.elasticsearch_server(tmp_path_factory.mktemp("elasticsearch")) as elasticsearch,
        servers.otlp_collector() as (collector, _),
    ):
        yield {"ESPER_ES_URL": elasticsearch, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}


def alike():
    """The plugins, those together that declare the same: what each of them finds is what the others find.

    That none of them imports another one is a rule of `tests/meta`.
    """
    groups = {}
    for name in PLUGINS:
        groups.setdefault(tuple(sorted(PROJECTS[name].get("dependencies", ()))), []).append(name)
    return [*groups.values()]


def options(name):
    expect = ROOT / "plugins" / name / "esper-expect.toml"
    return ("--level", LEVELS.get(name, "contract"), *(("--expect", expect) if expect.exists() else ()))


@pytest.mark.parametrize("names", alike(), ids=lambda names: names[0] + (f"+{len(names) - 1}" if names[1:] else ""))
def test_plugins_pass_alone(bare, names, addresses):
    results = bare.check_each({bare.distributions / name: options(name) for name in names}, addresses)
    bad = {
        f"{name}: {it['component']}: {it['check']}": it["message"]
        for name, found in results.items()
        for it in found
        if it["outcome"] not in GOOD
    }
    assert bad == {}
    assert [name for name in names if sum(it["outcome"] == "passed" for it in results[name]) <= 5] == []


@pytest.fixture
def spoilt(bare, tmp_path):
    """A copy of an installed plugin, to be spoilt."""

    def copy(name):
        return Path(shutil.copytree(bare.distributions / name, tmp_path / name))

    return copy


def failed(results):
    return {it["check"] for it in results if it["outcome"] == "failed"}


def test_a_missing_file_shows(bare, spoilt):
    plugin = spoilt("esper-sink-jsonl")
    (plugin / "esper_sink_jsonl" / "sink.py").unlink()
    assert {"plugin-factories-pure", "component-resolves"} <= failed(bare.check(plugin, "--level", "contract"))


def test_a_dependency_that_is_not_declared_shows(bare, spoilt):
    plugin = spoilt("esper-sink-tensorboard")
    (metadata,) = plugin.glob("*.dist-info/METADATA")
    kept = [line for line in metadata.read_text().splitlines() if not line.startswith("Requires-Dist: tensorboard")]
    metadata.write_text("\n".join(kept))
    results = bare.check(plugin, "--level", "contract")
    assert [it for it in results if it["outcome"] == "failed" and "No module named 'tensorboard'" in it["message"]]
