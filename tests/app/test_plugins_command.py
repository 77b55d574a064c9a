import json

import pytest

OBSERVER = """
from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_run_finish():
    pass
"""

NOISY = """
from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec

print("noise while importing")
ESPER_API = "2.0"


@hookimpl
def esper_hosts():
    print("noise while asked")
    yield HostSpec(name="noisy", summary="Makes noise.", layouts=("NCHW",), factory="a:b")
"""


class TestList:
    @pytest.mark.parametrize(
        ("columns", "titles"),
        [
            (None, "PLUGIN DISTRIBUTION VERSION STATUS OFFERS"),
            ("300", "PLUGIN DISTRIBUTION VERSION STATUS OFFERS"),
            ("80", "PLUGIN DISTRIBUTION STATUS OFFERS"),
            ("50", "PLUGIN STATUS OFFERS"),
            ("10", "PLUGIN STATUS OFFERS"),
        ],
    )
    def test_columns_are_left_out_where_there_is_no_room_for_them(self, esper, columns, titles):
        # Without COLUMNS nothing says how wide a pipe is.
        environ = {} if columns is None else {"COLUMNS": columns}
        first, *lines = esper("plugins", "list", "--kind", "blueprint", environ=environ).stdout.splitlines()
        assert first.split() == titles.split()
        assert "blueprint-noop" in {line.split()[0] for line in lines}
        assert max(map(len, lines)) <= max(50, int(columns or 300))

    def test_records_hold_what_a_script_needs(self, install, esper):
        install("esper-blueprint-foo", version="0.3.1")
        (record,) = [r for r in esper.json("plugins", "list", "--json") if r["name"] == "blueprint-foo"]
        assert record | {"load_ms": 0, "file": ""} == {
            "name": "blueprint-foo",
            "distribution": "esper-blueprint-foo",
            "version": "0.3.1",
            "status": "active",
            "kinds": ["blueprint"],
            "problem": None,
            "codes": [],
            "components": [
                {
                    "kind": "blueprint",
                    "name": "foo",
                    "summary": "A blueprint for tests.",
                    "id": "esper-blueprint-foo/foo",
                }
            ],
            "adds_kind": None,
            "hooks": ["esper_blueprints"],
            "api": "2.0",
            "entry_point": "esper_blueprint_foo.plugin",
            "module": "esper_blueprint_foo.plugin",
            "file": "",
            "editable": False,
            "load_ms": 0,
        }
        assert record["load_ms"] > 0
        assert record["file"].endswith("site/esper_blueprint_foo/plugin.py")

    def test_what_plugins_print_does_not_get_into_the_records(self, install, esper):
        install("esper-host-noisy", code=NOISY)
        done = esper("plugins", "list", "--json")
        assert "noise while" not in done.stdout
        assert "noise while importing" in done.stderr
        assert "noise while asked" in done.stderr
        assert "noisy" in {name["name"] for record in json.loads(done.stdout) for name in record["components"]}

    def test_a_broken_plugin_is_a_line_and_its_problem_follows(self, install, esper):
        install("esper-bad", code="import nobodys_module\n")
        done = esper("plugins", "list")
        assert done.returncode == 0
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("bad ")]
        assert line.split() == ["bad", "esper-bad", "0.1.0", "broken"]
        assert "error[E102]" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            (["--kind", "host"], {"host-noisy"}),
            (["--kind", "observer"], {"watch-me"}),
            (["--status", "broken"], {"bad"}),
            (["--status", "blocked", "--no-plugin", "watch-me"], {"watch-me"}),
            (["--status", "not-selected", "--plugins", "esper-bad,host-noisy"], {"watch-me"}),
        ],
    )
    def test_it_can_be_narrowed_down(self, install, esper, options, names):
        install("esper-host-noisy", code=NOISY)
        install("esper-watch-me", code=OBSERVER)
        install("esper-bad", code="1 / 0\n")
        ours = {"host-noisy", "watch-me", "bad"}
        assert {r["name"] for r in esper.json("plugins", "list", "--json", *options)} & ours == names

    def test_the_environment_selects(self, install, esper):
        install("esper-bad", code="1 / 0\n")
        environ = {"ESPER_PLUGINS": "none"}
        statuses = {r["status"] for r in esper.json("plugins", "list", "--json", environ=environ)}
        assert statuses == {"not-selected"}

    def test_a_file_is_listed(self, install, esper):
        (esper.cwd / "one_file.py").write_text(NOISY)
        records = esper.json("plugins", "list", "--json", "--plugin-path", "one_file.py")
        (record,) = [r for r in records if r["name"] == "one-file"]
        assert (record["distribution"], record["version"], record["kinds"]) == (None, None, ["host"])

    def test_strict_fails(self, install, esper):
        install("esper-bad", code="1 / 0\n")
        done = esper("plugins", "list", "--strict-plugins", "--json")
        assert done.returncode == 4
        assert done.stderr.startswith("error[E101]")
        assert done.stdout == ""

    def test_an_unknown_name_is_a_usage_error(self, install, esper):
        install("esper-blueprint-foo")
        done = esper("plugins", "list", "--plugins", "blueprint-fooo")
        assert done.returncode == 2
        assert done.stderr == 'error[E150] plugin "blueprint-fooo" is not known\n  fix: did you mean "blueprint-foo"?\n'

    @pytest.mark.parametrize("switch", [["--trace-plugins"], []])
    def test_tracebacks_on_request_only(self, install, esper, switch):
        install("esper-bad", code="1 / 0\n")
        done = esper("plugins", "list", *switch)
        assert ("Traceback" in done.stderr) is bool(switch)
        assert ("ZeroDivisionError: division by zero" in done.stderr) is bool(switch)
        assert done.returncode == 0


class TestInfo:
    def test_it_shows_origin_components_and_options(self, install, esper):
        install("esper-blueprint-foo")
        shown = " ".join(esper("plugins", "info", "esper-blueprint-foo").stdout.split())
        for text in (
            "blueprint-foo: active",
            "distribution esper-blueprint-foo 0.1.0",
            "entry point esper_blueprint_foo.plugin",
            "plugin API 2.0",
            "hooks esper_blueprints()",
            'blueprint "foo": A blueprint for tests.',
            "options width: int = 4 gain: float = 1.0",
        ):
            assert text in shown

    def test_it_shows_what_is_wrong(self, install, esper):
        install("esper-bad", code="1 / 0\n")
        done = esper("plugins", "info", "bad")
        assert done.returncode == 0
        assert "bad: broken" in done.stdout
        assert "error[E101]" in done.stdout

    def test_it_shows_a_misspelt_hook(self, install, esper):
        hook = "from esper_core.hooks import hookimpl\n\n@hookimpl\ndef esper_telemetry_sink():\n    return []\n"
        install("esper-bad", code=f'ESPER_API = "2.0"\n{hook}')
        done = esper("plugins", "info", "bad")
        assert done.returncode == 0, done.stderr
        assert "error[E131]" in done.stdout
        assert 'did you mean "esper_telemetry_sinks"?' in done.stdout

    def test_an_options_class_that_fails_is_shown_as_such(self, install, esper):
        install("esper-blueprint-foo", files={"config.py": "import nobodys_module\n"})
        done = esper("plugins", "info", "blueprint-foo")
        assert done.returncode == 0
        assert "error[E160]" in done.stdout

    def test_as_data(self, install, esper):
        install("esper-blueprint-foo")
        assert esper.json("plugins", "info", "blueprint-foo", "--json")["status"] == "active"

    def test_an_unknown_name_comes_with_the_nearest(self, install, esper):
        install("esper-blueprint-foo")
        done = esper("plugins", "info", "blueprint-fo")
        assert done.returncode == 2
        assert 'did you mean "blueprint-foo"?' in done.stderr
