import pytest

OBSERVER = """
from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_run_start(manifest):
    pass
"""


@pytest.fixture
def graph(esper):
    def run(*arguments):
        return esper.json("plugins", "graph", "digits", "--json", *arguments)

    return run


def plugin(data, name):
    (found,) = [entry for entry in data["plugins"] if entry["name"] == name]
    return found


def component(data, kind):
    (found,) = [entry for entry in data["components"] if entry["kind"] == kind]
    return found


def test_every_component_comes_with_the_reason(graph):
    data = graph("--set", "sinks.names=['jsonl']", "--set", "policy.blueprints=['depthwise']")
    assert data["task"] == "digits"
    assert component(data, "task")["because"] == "task.name: the command line"
    assert component(data, "host")["because"] == 'host.name: the settings of task "digits"'
    assert component(data, "policy")["because"] == "policy.name: the built-in defaults"
    assert component(data, "sink")["id"] == "esper-sink-jsonl/jsonl"
    assert component(data, "sink")["because"].startswith("sinks.names: ")
    assert component(data, "blueprint") == {
        "kind": "blueprint",
        "name": "depthwise",
        "id": "esper-blueprint-depthwise/depthwise",
        "plugin": "blueprint-depthwise",
        "because": "policy.blueprints: the command line",
    }


def test_the_default_catalogue_is_what_is_standard_and_fits(graph, install):
    install("acme-blueprint-foo")
    chosen = {entry["name"]: entry["because"] for entry in graph()["components"] if entry["kind"] == "blueprint"}
    assert set(chosen.values()) == {"esper-standard brings it and it fits host cnn"}
    assert "depthwise" in chosen
    assert not {"foo", "noop", "attention"} & set(chosen)


def test_an_installed_observer_does_nothing_until_it_is_named(graph, install):
    install("acme-observer", code=OBSERVER)
    install("acme-bad", code="1 / 0\n")
    data = graph()
    assert plugin(data, "acme-observer")["roles"] == ["unused"]
    assert plugin(data, "host-cnn")["roles"] == ["used"]
    assert plugin(data, "acme-bad")["roles"] == ["broken"]
    assert "could not be imported" in plugin(data, "acme-bad")["because"]
    named = plugin(graph("--plugins", "auto,acme-observer"), "acme-observer")
    assert (named["roles"], named["because"]) == (["observes"], "it is named")


def test_as_text(esper):
    shown = esper("plugins", "graph", "digits").stdout
    assert "host       cnn" in shown
    assert "offers digits" in shown


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_fits_the_terminal_and_leaves_no_reason_out(esper, install, columns):
    install("acme-bad", code="1 / 0\n")
    shown = esper("plugins", "graph", "digits", environ={"COLUMNS": str(columns)}).stdout
    assert max(map(len, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    for expected in ("host.name:", "acme-bad", "broken", "executor-serial", "offers serial", "offers digits"):
        assert expected in words


def test_what_cannot_run_is_an_error(esper):
    done = esper("plugins", "graph", "digits", "--no-plugin", "host-cnn")
    assert done.returncode == 2
    assert done.stderr.startswith('error[E204] host "cnn" cannot be used')
    assert "is blocked" in done.stderr
