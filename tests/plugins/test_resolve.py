import sys

import pytest

from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.records import Origin, Registered
from esper_core.plugins.resolve import build_config, config_class, resolve

ORIGIN = Origin(plugin="p", distribution="esper-p", version="1.2", module="esper_p.plugin")


def registered(**fields):
    return Registered(BlueprintSpec(name="foo", summary="-", layouts={"NCHW"}, **{"factory": "m:f"} | fields), ORIGIN)


@pytest.fixture
def foo(install, load):
    install("esper-blueprint-foo")
    return load().registry.get(BlueprintSpec.kind, "foo")


class TestFactories:
    def test_they_are_imported_on_first_use(self, foo):
        assert "esper_blueprint_foo.module" not in sys.modules
        assert resolve(foo) is sys.modules["esper_blueprint_foo.module"].Update

    def test_an_object_at_hand_is_its_own_factory(self):
        assert resolve(registered(factory=dict)) is dict

    def test_attributes_may_be_nested(self):
        assert resolve(registered(factory="collections:OrderedDict.fromkeys")).__name__ == "fromkeys"

    @pytest.mark.parametrize(
        ("code", "factory", "why", "fix"),
        [
            (
                "import nobodys_module\n",
                "esper_p.module:Foo",
                "No module named 'nobodys_module'",
                "pip install nobodys",
            ),
            ("", "esper_p.gone:Foo", "No module named 'esper_p.gone'", "reinstall esper-p"),
            ("1 / 0\n", "esper_p.module:Foo", "ZeroDivisionError", "report it to the author of esper-p"),
            ("raise SystemExit(1)\n", "esper_p.module:Foo", "SystemExit", "report it to the author of esper-p"),
        ],
    )
    def test_a_module_that_cannot_be_imported_is_named(self, install, code, factory, why, fix):
        install("esper-p", files={"module.py": code})
        with pytest.raises(EsperError) as raised:
            resolve(registered(factory=factory))
        error = raised.value
        assert (error.code, error.exit_code) == ("E160", ExitCode.PLUGIN)
        assert 'blueprint "foo" of plugin "p" (esper-p 1.2)' in error.what
        assert why in error.why
        assert fix in error.fix
        assert error.where == ("esper_p.gone:Foo" if "gone" in factory else str(error.where))

    def test_the_line_that_failed_is_named(self, install):
        root = install("esper-p", files={"module.py": "\n\nimport nobodys_module\n"})
        with pytest.raises(EsperError) as raised:
            resolve(registered(factory="esper_p.module:Foo"))
        assert raised.value.where == f"{root / 'module.py'}:3"

    def test_an_install_hint_goes_before_a_guess(self, install):
        install("esper-p", files={"module.py": "import nobodys_module\n"})
        with pytest.raises(EsperError) as raised:
            resolve(registered(factory="esper_p.module:Foo", install_hint="pip install esper-p[extra]"))
        assert raised.value.fix == "pip install esper-p[extra]"

    def test_a_missing_attribute_comes_with_the_nearest(self):
        with pytest.raises(EsperError) as raised:
            resolve(registered(factory="collections:OrderedDikt"))
        assert (raised.value.code, raised.value.where) == ("E160", "collections:OrderedDikt")
        assert raised.value.fix == 'did you mean "OrderedDict"?'

    def test_what_cannot_be_called_is_no_factory(self):
        with pytest.raises(EsperError, match="has no factory"):
            resolve(registered(factory="sys:path"))

    def test_an_unavailable_component_gives_its_reason(self):
        with pytest.raises(EsperError) as raised:
            resolve(registered(unavailable="needs an accelerator", install_hint="pip install torch"))
        assert (raised.value.code, raised.value.why, raised.value.fix) == (
            "E161",
            "needs an accelerator",
            "pip install torch",
        )


class TestOptions:
    def test_defaults_are_filled_in(self, foo):
        options = build_config(foo, {"width": 8})
        assert (options.width, options.gain) == (8, 1.0)
        assert type(options) is config_class(foo)

    def test_an_unknown_option_comes_with_path_and_nearest(self, foo):
        with pytest.raises(EsperError, match=r'"blueprint\.foo\.widht"') as raised:
            build_config(foo, {"widht": 8})
        assert (raised.value.code, raised.value.fix) == ("E201", 'did you mean "width"?')

    def test_a_bad_value_comes_with_its_path(self, foo):
        with pytest.raises(EsperError, match=r'"blueprints\.foo\.width"') as raised:
            build_config(foo, {"width": "wide"}, path="blueprints.foo", source="run.toml")
        assert raised.value.code == "E202"
        assert raised.value.where == "run.toml"
        assert "'wide'" in raised.value.why

    def test_a_component_without_options_takes_none(self):
        assert build_config(registered(), {}) is None
        with pytest.raises(EsperError) as raised:
            build_config(registered(), {"width": 1}, source="run.toml")
        assert (raised.value.code, raised.value.where) == ("E201", "run.toml")
        assert "has no options" in raised.value.why

    def test_an_options_class_must_be_an_attrs_class(self):
        with pytest.raises(EsperError, match="not an attrs class") as raised:
            build_config(registered(config=dict), {})
        assert raised.value.code == "E160"

    def test_an_options_class_that_cannot_be_imported_is_named(self):
        with pytest.raises(EsperError, match="options class of blueprint") as raised:
            build_config(registered(config="nobodys_module:Config"), {})
        assert raised.value.code == "E160"
