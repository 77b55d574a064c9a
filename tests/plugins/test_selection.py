import sys
from pathlib import Path
from types import ModuleType

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from esper_app.configuration.plugin_selection import PluginOptions, select
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.discovery import Candidate, from_file, from_module
from esper_core.plugins.records import Origin, Status
from esper_core.plugins.selection import Block, Selection, choose


@frozen
class Table:
    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    locked: str | None = None


def candidate(plugin, distribution=None):
    origin = Origin(plugin=plugin, distribution=distribution or f"esper-{plugin}", version="1", module=plugin)
    return Candidate(origin=origin, load=ModuleType)


A, B, C = candidate("a"), candidate("b"), candidate("c")


def loaded(choices):
    return [choice.candidate.origin.plugin for choice in choices if choice.status is None]


class TestCallOrder:
    def test_auto_takes_all_in_sorted_order(self):
        assert loaded(choose([A, B, C], Selection())) == ["a", "b", "c"]

    def test_names_stand_where_they_are_named(self):
        assert loaded(choose([A, B, C], Selection(wanted=("c", "a")))) == ["c", "a"]

    def test_auto_stands_for_the_rest(self):
        assert loaded(choose([A, B, C], Selection(wanted=("c", "auto")))) == ["c", "a", "b"]
        assert loaded(choose([A, B, C], Selection(wanted=("auto", "b")))) == ["a", "c", "b"]

    def test_none_takes_none(self):
        assert [choice.status for choice in choose([A, B], Selection(wanted=("none",)))] == [Status.NOT_SELECTED] * 2

    def test_what_is_not_named_is_not_selected(self):
        choices = choose([A, B, C], Selection(wanted=("b",)))
        assert {c.candidate.origin.plugin: c.status for c in choices} == {
            "b": None,
            "a": Status.NOT_SELECTED,
            "c": Status.NOT_SELECTED,
        }

    def test_only_names_make_a_plugin_named(self):
        choices = choose([A, B], Selection(wanted=("all", "b")))
        assert [choice.candidate.origin.plugin for choice in choices if choice.named] == ["b"]

    def test_it_is_the_call_order_of_hooks(self, install, load):
        for name in ("esper-blueprint-one", "esper-blueprint-two", "esper-blueprint-three"):
            install(name)
        plugins = load(Selection(wanted=("blueprint-two", "auto")))
        assert plugins.registry.names(BlueprintSpec.kind) == ("two", "one", "three")
        assert [it.origin.plugin for it in plugins.implementations("esper_blueprints")] == [
            "blueprint-two",
            "blueprint-one",
            "blueprint-three",
        ]


class TestNames:
    @pytest.mark.parametrize("name", ["one", "esper-x", "Esper_X", "esper-x:one", "ESPER.X:one"])
    def test_entry_point_distribution_or_both(self, name):
        candidates = [candidate("one", "esper-x"), candidate("other", "esper-y")]
        assert loaded(choose(candidates, Selection(wanted=(name,)))) == ["one"]

    def test_a_distribution_means_all_of_its_plugins(self):
        candidates = [candidate("one", "esper-x"), candidate("two", "esper-x"), candidate("other", "esper-y")]
        assert loaded(choose(candidates, Selection(wanted=("esper-x",)))) == ["one", "two"]

    def test_an_unknown_name_comes_with_the_nearest(self):
        with pytest.raises(EsperError, match='"blueprint-fo"') as raised:
            choose([candidate("blueprint-foo")], Selection(wanted=("blueprint-fo",)))
        assert raised.value.code == "E150"
        assert raised.value.exit_code is ExitCode.USAGE
        assert raised.value.fix == 'did you mean "blueprint-foo"?'

    def test_a_component_name_leads_to_the_plugin_called_after_it(self):
        with pytest.raises(EsperError) as raised:
            choose([candidate("host-cnn"), candidate("sink-cnn"), A], Selection(wanted=("cnn",)))
        assert raised.value.fix == 'did you mean "host-cnn" or "sink-cnn"?'

    def test_a_name_like_no_other_leads_to_the_list(self):
        with pytest.raises(EsperError) as raised:
            choose([candidate("host-cnn"), A], Selection(wanted=("zzz",)))
        assert raised.value.fix == "take one of the names that `esper plugins list` shows, or all, or auto, or none"

    @pytest.mark.parametrize(("word", "meant"), [("nonee", "none"), ("atuo", "auto")])
    def test_a_word_for_several_plugins_may_be_what_is_meant(self, word, meant):
        with pytest.raises(EsperError) as raised:
            choose([candidate("host-cnn"), A], Selection(wanted=(word,)))
        assert raised.value.fix == f'did you mean "{meant}"?'
        with pytest.raises(EsperError) as raised:
            choose([candidate("host-cnn"), A], Selection(blocked=(Block(word),)))
        assert "none" not in raised.value.fix.replace(word, "")

    @pytest.mark.parametrize("name", ["blueprint-noop", "esper-blueprint-noop"])
    def test_a_first_party_plugin_comes_with_its_pip_line(self, name):
        with pytest.raises(EsperError) as raised:
            choose([A], Selection(wanted=(name,)))
        assert raised.value.fix == "pip install esper-blueprint-noop"

    def test_a_pip_line_is_never_guessed(self):
        with pytest.raises(EsperError) as raised:
            choose([A], Selection(wanted=("blueprint-of-somebody",)))
        assert "pip" not in raised.value.fix

    def test_an_unknown_name_to_switch_off_is_an_error_too(self):
        with pytest.raises(EsperError, match='"x" is not known'):
            choose([A], Selection(blocked=(Block("x"),)))

    def test_unless_the_environment_says_it(self):
        choices = choose([A], select(PluginOptions(), {"ESPER_NO_PLUGINS": "x"}))
        assert loaded(choices) == ["a"]


class TestPrecedence:
    ENVIRON = {"ESPER_PLUGINS": "b"}
    TABLE = Table(enable=("c",))

    def test_auto_if_nobody_speaks(self):
        assert select(PluginOptions(), {}).wanted == ("auto",)
        assert select(PluginOptions(), {"ESPER_PLUGINS": ""}, Table()).wanted == ("auto",)

    def test_the_configuration_goes_before_auto(self):
        assert select(PluginOptions(), {}, self.TABLE).wanted == ("c",)

    def test_the_environment_goes_before_the_configuration(self):
        assert select(PluginOptions(), self.ENVIRON, self.TABLE).wanted == ("b",)

    def test_the_command_line_goes_before_the_environment(self):
        assert select(PluginOptions(plugins=("a",)), self.ENVIRON, self.TABLE).wanted == ("a",)

    def test_options_add_up_and_take_comma_lists(self):
        assert select(PluginOptions(plugins=("a, b", "auto")), {}).wanted == ("a", "b", "auto")

    @pytest.mark.parametrize(
        "selection",
        [
            select(PluginOptions(no_plugin=("a",)), {}),
            select(PluginOptions(no_plugin=("b,a",)), {}),
            select(PluginOptions(), {"ESPER_NO_PLUGINS": "a"}),
            select(PluginOptions(), {}, Table(disable=("a",))),
            select(PluginOptions(no_plugin=("esper-a",)), {"ESPER_PLUGINS": "a,c"}),
            select(PluginOptions(), {"ESPER_NO_PLUGINS": "esper-a:a"}, Table(enable=("a", "c"))),
        ],
    )
    def test_every_source_can_switch_off(self, selection):
        choices = {choice.candidate.origin.plugin: choice.status for choice in choose([A, B, C], selection)}
        assert choices["a"] is Status.BLOCKED
        assert choices["c"] is None

    @pytest.mark.parametrize(
        "selection",
        [
            select(PluginOptions(plugins=("esper-a",)), {"ESPER_NO_PLUGINS": "a"}),
            select(PluginOptions(plugins=("a",)), {}, Table(disable=("esper-a",))),
            select(PluginOptions(), {"ESPER_PLUGINS": "a"}, Table(disable=("a",))),
        ],
    )
    def test_a_stronger_source_that_names_it_switches_it_on_again(self, selection):
        assert loaded(choose([A, B], selection)) == ["a"]

    def test_switching_off_stays_where_a_stronger_source_says_auto(self):
        selection = select(PluginOptions(plugins=("auto",)), {}, Table(disable=("a",)))
        assert loaded(choose([A, B], selection)) == ["b"]


class TestContradictions:
    @pytest.mark.parametrize(
        "options", [PluginOptions(plugins=("a",), no_plugin=("a",)), PluginOptions(plugins=("none,a",))]
    )
    def test_they_are_usage_errors(self, options):
        with pytest.raises(EsperError) as raised:
            select(options, {})
        assert raised.value.code == "E151"
        assert raised.value.exit_code is ExitCode.USAGE


class TestLocks:
    LOCKED = {"ESPER_LOCKED": "b.lock"}

    def test_the_strongest_lock_counts(self):
        table = Table(locked="c.lock")
        assert select(PluginOptions(locked=Path("a.lock")), self.LOCKED, table).lock == Path("a.lock")
        assert select(PluginOptions(), self.LOCKED, table).lock == Path("b.lock")
        assert select(PluginOptions(), {"ESPER_LOCKED": ""}, table).lock == Path("c.lock")
        assert select(PluginOptions(), {}, Table()).lock is None

    def test_a_lock_decides_alone_over_weaker_sources(self):
        environ, table = {"ESPER_PLUGINS": "b", "ESPER_NO_PLUGINS": "c"}, Table(enable=("d",), disable=("e",))
        selection = select(PluginOptions(locked=Path("a.lock")), environ, table)
        assert (selection.wanted, selection.blocked) == (("auto",), ())

    def test_what_belongs_to_no_selection_stays(self):
        options = PluginOptions(locked=Path("a.lock"), plugin_path=(Path("x.py"),), strict=True)
        selection = select(options, {}, Table(requires=("a>=1",)))
        assert (selection.paths, selection.strict, selection.requires) == ((Path("x.py"),), True, ("a>=1",))

    @pytest.mark.parametrize(
        ("options", "environ", "table", "where"),
        [
            (PluginOptions(locked=Path("a.lock"), plugins=("a",)), {}, None, "--locked"),
            (PluginOptions(locked=Path("a.lock"), no_plugin=("a",)), {}, None, "--locked"),
            (PluginOptions(), LOCKED | {"ESPER_PLUGINS": "a"}, None, "ESPER_LOCKED"),
            (PluginOptions(no_plugin=("a",)), LOCKED, None, "ESPER_LOCKED"),
            (PluginOptions(plugins=("a",)), {}, Table(locked="c.lock"), "plugins.locked"),
            (PluginOptions(), {"ESPER_NO_PLUGINS": "a"}, Table(locked="c.lock"), "plugins.locked"),
        ],
    )
    def test_nothing_as_strong_may_select_beside_it(self, options, environ, table, where):
        with pytest.raises(EsperError) as raised:
            select(options, environ, table)
        assert (raised.value.code, raised.value.where) == ("E151", where)
        assert raised.value.what.endswith(": a")

    def test_auto_selects_nothing_in_particular(self):
        options = PluginOptions(locked=Path("a.lock"), plugins=("auto",))
        assert select(options, {}, Table(enable=("auto",))).lock == Path("a.lock")


class TestBlocked:
    def test_it_is_never_imported(self, install, load):
        install("esper-loud", code="raise AssertionError('imported')\n")
        (record,) = load(Selection(blocked=(Block("loud"),))).records
        assert (record.status, record.load_ms) == (Status.BLOCKED, None)
        assert "esper_loud" not in sys.modules

    def test_what_it_offers_cannot_be_used_and_the_error_says_so(self, install, load):
        install("esper-blueprint-quiet")
        plugins = load(Selection(blocked=(Block("blueprint-quiet"),)))
        with pytest.raises(EsperError, match="cannot be used") as raised:
            plugins.registry.get(BlueprintSpec.kind, "quiet")
        assert raised.value.code == "E204"
        assert "is blocked" in raised.value.why
        assert "leave blueprint-quiet out of --no-plugin" in raised.value.fix


class TestFiles:
    CODE = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"

class Mine: pass

@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="mine", summary="-", layouts=(Layout.NCHW,), factory="my_plugin:Mine")
"""

    @pytest.fixture
    def file(self, site, tmp_path):
        path = tmp_path / "my_plugin.py"
        path.write_text(self.CODE)
        return path

    @pytest.mark.parametrize("wanted", ["auto", "none"])
    def test_a_file_is_a_plugin(self, file, load, wanted):
        from esper_core.plugins.resolve import resolve

        plugins = load(Selection(wanted=(wanted,), paths=(file,)))
        registered = plugins.registry.get(BlueprintSpec.kind, "my-plugin/mine")
        assert registered.origin.file == str(file)
        assert resolve(registered) is sys.modules["my_plugin"].Mine

    def test_it_is_read_anew_each_time(self, file, load):
        load(Selection(paths=(file,)))
        file.write_text(self.CODE.replace('name="mine"', 'name="yours"'))
        assert load(Selection(paths=(file,))).registry.names(BlueprintSpec.kind) == ("yours",)

    def test_a_broken_one_is_an_error(self, file, load):
        file.write_text("import nothing_of_the_sort\n")
        with pytest.raises(EsperError, match="nothing_of_the_sort") as raised:
            load(Selection(paths=(file,)))
        assert raised.value.code == "E102"
        assert "my_plugin" not in sys.modules

    @pytest.mark.parametrize("name", ["missing.py", "not-a-module.py", "json.py"])
    def test_an_impossible_file_is_a_usage_error(self, tmp_path, name):
        import json  # noqa: F401  (its name is taken)

        if name != "missing.py":
            (tmp_path / name).write_text("")
        with pytest.raises(EsperError) as raised:
            from_file(tmp_path / name)
        assert (raised.value.code, raised.value.exit_code) == ("E106", ExitCode.USAGE)

    def test_it_can_be_switched_off(self, file, load):
        (record,) = load(Selection(paths=(file,), blocked=(Block("my-plugin"),))).records
        assert record.status is Status.BLOCKED

    def test_heavy_imports_are_its_own_business(self, file, site, load):
        (site / "jax.py").write_text("")
        file.write_text(self.CODE + "import jax\n")
        (record,) = load(Selection(paths=(file,))).records
        assert record.problems == ()


def test_a_module_at_hand_is_a_plugin_too(load):
    module = ModuleType("in_a_notebook")
    exec(TestFiles.CODE, module.__dict__)
    from esper_core.plugins.loader import load_plugins

    plugins = load_plugins(sources=[from_module(module)])
    assert plugins.registry.get(BlueprintSpec.kind, "mine").origin.plugin == "in-a-notebook"


class TestRequires:
    @pytest.fixture(autouse=True)
    def plugin(self, install):
        install("esper-blueprint-foo", version="0.3.1")

    @pytest.mark.parametrize("requirement", ["esper-blueprint-foo", "esper_blueprint_foo>=0.3,<0.4", "attrs>=20"])
    def test_what_is_there_is_fine(self, load, requirement):
        assert load(Selection(requires=(requirement,))).records

    @pytest.mark.parametrize(
        ("requirement", "why"),
        [("esper-blueprint-foo>=0.4", "0.3.1 is installed"), ("esper-blueprint-bar", "is not installed")],
    )
    def test_what_is_not_there_is_an_error(self, load, requirement, why):
        with pytest.raises(EsperError, match=requirement) as raised:
            load(Selection(requires=(requirement,)))
        assert (raised.value.code, raised.value.exit_code) == ("E123", ExitCode.PLUGIN)
        assert why in raised.value.why

    def test_what_is_switched_off_is_an_error(self, load):
        selection = Selection(requires=("esper-blueprint-foo",), blocked=(Block("blueprint-foo"),))
        with pytest.raises(EsperError) as raised:
            load(selection)
        assert "is blocked" in raised.value.why


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(
    order=st.permutations(["a", "b", "c", "d"]),
    wanted=st.lists(st.sampled_from(["auto", "a", "b", "c", "esper-d"]), min_size=1, unique=True),
    blocked=st.lists(NAMES, unique=True),
)
def test_every_candidate_is_decided_once_and_what_is_blocked_stays_out(order, wanted, blocked):
    candidates = [candidate(name) for name in order]
    selection = Selection(wanted=tuple(wanted), blocked=tuple(map(Block, blocked)))
    choices = choose(candidates, selection)
    assert sorted(choice.candidate.origin.plugin for choice in choices) == sorted(order)
    assert not set(loaded(choices)) & set(blocked)
    named = {name.removeprefix("esper-") for name in wanted}
    expected = set(order) - set(blocked) if "auto" in named else named - set(blocked)
    assert set(loaded(choices)) == expected


def test_discovery_is_sorted_whatever_the_path_order(install, load):
    for name in ("esper-z", "esper-b", "acme-plugin", "Esper_a"):
        install(name, plugin=name.lower())
    origins = [record.origin.distribution for record in load().records]
    assert origins == ["acme-plugin", "Esper_a", "esper-b", "esper-z"]
    assert Path(load().records[0].origin.file).name == "plugin.py"
