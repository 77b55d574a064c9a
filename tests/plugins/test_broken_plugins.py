"""Every way in which a plugin can be broken is named precisely, and takes nothing else along."""

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

import esper_core.plugins
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.discovery import installed_plugins
from esper_core.plugins.records import Status
from esper_core.plugins.selection import Block, Selection

HEAD = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, HostSpec, Layout

ESPER_API = "2.0"


def spec(name="twice"):
    return BlueprintSpec(name=name, summary="-", layouts=(Layout.NCHW,), factory="nowhere:at_all")

"""


@frozen
class Broken:
    """A way to be broken: how the distribution is made, and what must be said of it.

    Attributes:
        code: of the error.
        says: texts that the problem must contain.
        install: arguments of `write_distribution`.
        status: what becomes of the plugin.
    """

    code: str
    says: Sequence[str]
    install: Mapping[str, Any] = field(factory=dict)
    status: Status = Status.BROKEN


WAYS = {
    "system-exit": Broken("E105", ["SystemExit: 3", "plugin.py:2"], {"code": "import sys\nsys.exit(3)\n"}),
    "import-error": Broken(
        "E101", ["cannot import name 'no_such_thing'", "plugin.py:1"], {"code": "from os import no_such_thing\n"}
    ),
    "exception": Broken("E101", ["ZeroDivisionError", "plugin.py:1"], {"code": "1 / 0\n"}),
    "missing-module": Broken(
        "E102",
        ['"einops_of_nobody"', "pip install einops_of_nobody", "plugin.py:3"],
        {"code": "\n\nimport einops_of_nobody.deep\n"},
    ),
    "own-module-missing": Broken("E103", ["No module named 'esper_bad.plugins'"], {"entry_point": "esper_bad.plugins"}),
    "own-import-missing": Broken(
        "E103", ["No module named 'esper_bad.gone'", "plugin.py:1"], {"code": "import esper_bad.gone\n"}
    ),
    "entry-point-names-object": Broken(
        "E103",
        ["esper_bad.plugin:esper_blueprints", 'bad = "esper_bad.plugin"'],
        {"entry_point": "esper_bad.plugin:esper_blueprints"},
    ),
    "syntax-error": Broken("E104", ["plugin.py:2", "SyntaxError"], {"code": "x = 1\ndef esper_blueprints(:\n"}),
    "requirement-version": Broken(
        "E120",
        ["it needs attrs>=900", "is installed", "pip install 'attrs>=900'"],
        {"requires": ["attrs>=900"]},
        Status.INCOMPATIBLE,
    ),
    "requirement-missing": Broken(
        "E120", ["it needs nobodys-dist>=2", "not installed"], {"requires": ["nobodys-dist>=2"]}, Status.INCOMPATIBLE
    ),
    "requirement-core": Broken(
        "E120", ["it needs esper-core>=99, but 0."], {"requires": ["esper-core>=99"]}, Status.INCOMPATIBLE
    ),
    "requirement-unreadable": Broken(
        "E120", ['"not a requirement!" cannot be read'], {"requires": ["not a requirement!"]}, Status.INCOMPATIBLE
    ),
    "api-newer": Broken(
        "E121",
        ["needs plugin API 2.9", "pip install -U esper-core"],
        {"code": 'ESPER_API = "2.9"\n'},
        Status.INCOMPATIBLE,
    ),
    "api-older": Broken("E121", ["install a newer esper-bad"], {"code": 'ESPER_API = "0.9"\n'}, Status.INCOMPATIBLE),
    "api-malformed": Broken("E121", ["(1, 0)"], {"code": "ESPER_API = (1, 0)\n"}, Status.INCOMPATIBLE),
    "misspelt-hook": Broken(
        "E131",
        ['"esper_blueprint"', 'did you mean "esper_blueprints"?', "plugin.py:11"],
        {"code": HEAD + "@hookimpl\ndef esper_blueprint():\n    return []\n"},
    ),
    "misspelt-specname": Broken(
        "E131", ['"esper_sinks"'], {"code": HEAD + '@hookimpl(specname="esper_sinks")\ndef sinks():\n    return []\n'}
    ),
    "unknown-argument": Broken(
        "E132",
        ['"slot"', "the hook has host, transition"],
        {"code": HEAD + "@hookimpl\ndef esper_seed_transition(host, slot):\n    pass\n"},
    ),
    "unknown-argument-with-default": Broken(
        "E132",
        ['"log"', "the hook has no arguments"],
        {"code": HEAD + "@hookimpl\ndef esper_blueprints(log=None):\n    return []\n"},
    ),
    "wrapper": Broken(
        "E133",
        ["esper_blueprints", "wrapper=True"],
        {"code": HEAD + "@hookimpl(wrapper=True)\ndef esper_blueprints():\n    return (yield)\n"},
    ),
    "missing-marker": Broken(
        "E134",
        ['"esper_blueprints"', "put @hookimpl above it"],
        {"code": HEAD + "def esper_blueprints():\n    yield spec()\n"},
    ),
    "missing-marker-misspelt": Broken(
        "E134", ['did you mean "esper_blueprints"?'], {"code": HEAD + "def esper_blueprint():\n    yield spec()\n"}
    ),
    "os-exit": Broken("E105", ["SystemExit: 0", "plugin.py:2"], {"code": "import os\nos._exit(0)\n"}),
    "os-exit-imported": Broken("E105", ["SystemExit: 7"], {"code": "from os import _exit\n_exit(7)\n"}),
    "hook-os-exits": Broken(
        "E141",
        ["SystemExit: 0"],
        {"code": HEAD + "import os\n@hookimpl\ndef esper_blueprints():\n    os._exit(0)\n"},
    ),
    "hook-raises": Broken(
        "E141",
        ["esper_blueprints", "ValueError: not today", "plugin.py:14"],
        {
            "code": HEAD
            + "@hookimpl\ndef esper_blueprints():\n    yield spec('one')\n    raise ValueError('not today')\n"
        },
    ),
    "hook-exits": Broken(
        "E141",
        ["SystemExit: bye"],
        {"code": HEAD + "@hookimpl\ndef esper_hosts():\n    raise SystemExit('bye')\n"},
    ),
    "hook-makes-bad-spec": Broken(
        "E141",
        ["lower-case words"],
        {"code": HEAD + "@hookimpl\ndef esper_blueprints():\n    yield spec('Not A Name')\n"},
    ),
    "hook-returns-none": Broken(
        "E142",
        ["it returned None", "yield BlueprintSpec"],
        {"code": HEAD + "@hookimpl\ndef esper_blueprints():\n    spec()\n"},
    ),
    "hook-returns-one": Broken(
        "E142", ["a single BlueprintSpec"], {"code": HEAD + "@hookimpl\ndef esper_blueprints():\n    return spec()\n"}
    ),
    "hook-returns-other-kind": Broken(
        "E142",
        ["one of its results is a single BlueprintSpec", "HostSpec"],
        {"code": HEAD + "@hookimpl\ndef esper_hosts():\n    return [spec()]\n"},
    ),
    "hook-returns-own-class": Broken(
        "E142",
        ["BlueprintSpec(...)"],
        {
            "code": HEAD
            + "class Mine(BlueprintSpec): pass\n\n@hookimpl\ndef esper_blueprints():\n"
            + "    yield Mine(name='mine', summary='-', layouts=(), factory='a:b')\n"
        },
    ),
    "exception-without-text": Broken(
        "E101",
        ["because Odd"],
        {"code": "class Odd(Exception):\n    def __str__(self): raise ValueError\n\nraise Odd\n"},
    ),
    "bound-method-with-unknown-argument": Broken(
        "E132",
        ['"log"'],
        {
            "code": HEAD
            + "class Offer:\n    @hookimpl\n    def hosts(self, log): return []\n\nesper_hosts = Offer().hosts\n"
        },
    ),
    "one-name-twice": Broken(
        "E112",
        ['blueprint "twice" twice'],
        {"code": HEAD + "@hookimpl\ndef esper_blueprints():\n    return [spec(), spec()]\n"},
    ),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def broken(request, install):
    install("esper-blueprint-sound")
    install("esper-bad", plugin="bad", **request.param.install)
    return request.param


def one(plugins, name):
    (record,) = plugins.find(name)
    return record


def test_it_is_named_precisely(broken, load):
    record = one(load(), "bad")
    assert record.status is broken.status
    assert record.problems[0].code == broken.code
    for text in ("esper-bad 0.1.0", *broken.says):
        assert text in record.problem
    assert len(str(record.problems[0]).splitlines()) <= 4


def test_what_is_sound_goes_on_working(broken, load):
    plugins = load()
    assert one(plugins, "blueprint-sound").status is Status.ACTIVE
    assert plugins.registry.get(BlueprintSpec.kind, "sound").origin.distribution == "esper-blueprint-sound"


def test_it_offers_nothing(broken, load):
    plugins = load()
    assert one(plugins, "bad").components == ()
    assert not [registered for registered in plugins.registry if registered.origin.plugin == "bad"]
    assert not [
        it
        for hook in one(plugins, "bad").hooks
        if hook.startswith("esper_") and hasattr(plugins.manager.hook, hook)
        for it in plugins.implementations(hook)
        if it.origin.plugin == "bad"
    ]


@pytest.mark.parametrize("name", ["bad", "esper-bad", "Esper_Bad", "esper-bad:bad"])
def test_asking_for_it_by_name_is_an_error(broken, name, load):
    with pytest.raises(EsperError) as raised:
        load(Selection(wanted=("auto", name)))
    assert raised.value.code == broken.code
    assert raised.value.exit_code is ExitCode.PLUGIN


def test_a_strict_selection_refuses_it(broken, load):
    with pytest.raises(EsperError) as raised:
        load(Selection(strict=True))
    assert raised.value.code == broken.code


def test_an_incompatible_plugin_is_not_imported(install, load):
    install("esper-bad", code="raise AssertionError('imported')\n", requires=["attrs>=900"])
    assert one(load(), "bad").status is Status.INCOMPATIBLE
    assert "esper_bad" not in sys.modules


@pytest.mark.parametrize(
    "requirement", ["nobodys-dist; extra == 'test'", "nobodys-dist; python_version < '3'", "attrs[nothing]>=20"]
)
def test_requirements_that_do_not_apply_here_are_no_obstacle(install, requirement, load):
    install("esper-good", requires=[requirement])
    assert one(load(), "good").status is Status.ACTIVE


def test_keyboard_interrupt_ends_the_program(install, load):
    install("esper-bad", code="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load()


def test_several_mistakes_are_told_together(install, load):
    code = HEAD + "@hookimpl\ndef esper_blueprint():\n    pass\n\ndef esper_hosts():\n    pass\n"
    install("esper-bad", code=code)
    assert [problem.code for problem in one(load(), "bad").problems] == ["E131", "E134"]


def test_an_undeclared_api_version_is_a_warning(install, load):
    install(
        "esper-old",
        code=HEAD.replace('ESPER_API = "2.0"', "") + "@hookimpl\ndef esper_blueprints():\n    yield spec()\n",
    )
    record = one(load(), "old")
    assert (record.status, record.api) == (Status.ACTIVE, "1.0")
    assert record.problem.startswith("warning[E122]")
    assert [registered.spec.name for registered in record.components] == ["twice"]


def test_a_descriptor_that_pulls_in_something_heavy_is_named(site, install, load):
    (site / "jax.py").write_text("")
    install("esper-heavy", code=HEAD + "import esper_heavy.deep\n", files={"deep.py": "import os\nimport jax\n"})
    record = one(load(), "heavy")
    assert record.status is Status.ACTIVE
    assert [problem.code for problem in record.problems] == ["E135"]
    assert "esper_heavy/deep.py:2" in record.problem
    assert "pulls in jax" in record.problem


def test_trying_for_something_heavy_that_is_not_there_is_no_fault(install, load):
    install("esper-light", code=HEAD + "try:\n    import tensorflow\nexcept ImportError:\n    pass\n")
    assert one(load(), "light").problems == ()


def test_helpers_that_a_plugin_imports_may_be_named_like_hooks(install, load):
    code = HEAD + "from esper_helper.deep import esper_helper_of_mine\n"
    install("esper-helper", code=code, files={"deep.py": "def esper_helper_of_mine(): pass\n"})
    assert one(load(), "helper").problems == ()


def test_only_what_was_verified_is_registered(install, load):
    code = (
        HEAD + "def __dir__():\n    raise RuntimeError('no')\n\n@hookimpl\ndef esper_blueprints():\n    yield spec()\n"
    )
    install("esper-secretive", code=code)
    assert load().registry.names(BlueprintSpec.kind) == ("twice",)


def test_hooks_of_other_plugins_may_be_optional(install, load):
    install("esper-guest", code=HEAD + "@hookimpl(optionalhook=True)\ndef esper_party(): pass\n")
    assert one(load(), "guest").problems == ()


class TestDuplicates:
    @pytest.fixture(autouse=True)
    def two_of_a_name(self, install):
        install("esper-first", plugin="same")
        install("esper-second", plugin="same", version="2.0")
        install("esper-blueprint-sound")

    def test_both_distributions_are_named(self, load):
        records = load().find("same")
        assert [record.status for record in records] == [Status.DUPLICATE] * 2
        for record in records:
            assert [problem.code for problem in record.problems] == ["E110"]
            assert "esper-first 0.1.0 and esper-second 2.0" in record.problem

    def test_neither_is_imported(self, load):
        load()
        assert not {"esper_first", "esper_second"} & set(sys.modules)

    def test_what_is_sound_goes_on_working(self, load):
        assert one(load(), "blueprint-sound").status is Status.ACTIVE

    def test_the_name_that_means_both_is_an_error(self, load):
        with pytest.raises(EsperError, match='"same" is provided twice') as raised:
            load(Selection(wanted=("same",)))
        assert raised.value.exit_code is ExitCode.PLUGIN

    @pytest.mark.parametrize("name", ["esper-second", "esper-second:same"])
    @pytest.mark.parametrize("others", [(), ("auto",)])
    def test_one_of_them_can_be_singled_out(self, name, others, load):
        plugins = load(Selection(wanted=(*others, name)))
        assert one(plugins, "esper-second").status is Status.ACTIVE
        assert one(plugins, "esper-first").status is not Status.ACTIVE
        assert plugins.registry.get(BlueprintSpec.kind, "second").origin.version == "2.0"

    def test_switching_one_off_leaves_the_other(self, load):
        plugins = load(Selection(blocked=(Block("esper-first"),)))
        assert [record.status for record in plugins.find("same")] == [Status.ACTIVE, Status.BLOCKED]


def test_two_entry_points_of_one_module_are_told_apart(install, site, load):
    install("esper-double")
    (site / "esper_double-0.1.0.dist-info" / "entry_points.txt").write_text(
        "[esper]\none = esper_double.plugin\ntwo = esper_double.plugin\n"
    )
    plugins = load()
    assert one(plugins, "one").status is Status.ACTIVE
    assert (one(plugins, "two").status, one(plugins, "two").problems[0].code) == (Status.DUPLICATE, "E110")


def test_all_of_them_at_once_from_the_command_line(install, esper):
    """The nine ways, and a sound plugin, in one environment: the list names each and succeeds."""
    install("esper-blueprint-sound")
    nine = ["system-exit", "import-error", "missing-module", "syntax-error", "requirement-version", "hook-raises",
            "misspelt-hook", "missing-marker"]  # fmt: skip
    for way in nine:
        install(f"acme-{way}", plugin=way, **WAYS[way].install)
    install("acme-one", plugin="same")
    install("acme-two", plugin="same")
    done = {record["name"]: record for record in esper.json("plugins", "list", "--json") if record["name"] != "same"}
    for way in nine:
        assert done[way]["status"] == WAYS[way].status
        assert done[way]["codes"] == [WAYS[way].code]
        assert f"acme-{way} 0.1.0" in done[way]["problem"]
        assert done[way]["distribution"] == f"acme-{way}"
        assert done[way]["version"] == "0.1.0"
        assert done[way]["kinds"] == []
    assert done["blueprint-sound"]["status"] == "active"
    assert done["blueprint-sound"]["kinds"] == ["blueprint"]
    assert done["blueprint-sound"]["problem"] is None
    duplicates = esper.json("plugins", "list", "--json", "--status", "duplicate")
    assert [record["distribution"] for record in duplicates] == ["acme-one", "acme-two"]
    assert all("acme-one 0.1.0 and acme-two 0.1.0" in record["problem"] for record in duplicates)


def test_damaged_metadata_damage_nobody_else(install, load, site):
    install("esper-blueprint-sound")
    install("esper-odd")
    folder = site / "esper_odd-0.1.0.dist-info"
    (folder / "METADATA").unlink()
    (folder / "direct_url.json").write_text("editable, or so")
    names = {candidate.origin.plugin: candidate.origin for candidate in installed_plugins()}
    assert (names["odd"].distribution, names["odd"].version) == ("esper-odd", "0.1.0")
    assert not names["odd"].editable
    assert names["blueprint-sound"].distribution == "esper-blueprint-sound"


def test_old_metadata_folders_are_read_too(install, site):
    install("esper-old")
    folder = site / "esper_old-0.1.0.dist-info"
    (folder / "METADATA").rename(folder / "PKG-INFO")
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: esper-old\nVersion: 0.1.0\n")
    (folder / "requires.txt").write_text("attrs>=900\n")
    folder.rename(site / "esper_old.egg-info")
    importlib.invalidate_caches()
    (old,) = [candidate for candidate in installed_plugins() if candidate.origin.plugin == "old"]
    assert (old.origin.distribution, old.origin.version, old.requires) == ("esper-old", "0.1.0", ("attrs>=900",))


def test_an_editable_installation_is_told(install, site):
    install("esper-edited")
    (site / "esper_edited-0.1.0.dist-info" / "direct_url.json").write_text(
        '{"url": "file:///somewhere", "dir_info": {"editable": true}}'
    )
    assert [c.origin.editable for c in installed_plugins() if c.origin.plugin == "edited"] == [True]


def test_only_public_parts_of_pluggy_are_used():
    sources = "".join(path.read_text() for path in Path(esper_core.plugins.__file__).parent.glob("*.py"))
    assert "from pluggy import" in sources
    assert not re.search(r"pluggy\._|from pluggy\.|manager\._|hook\._|implementation\._", sources)
