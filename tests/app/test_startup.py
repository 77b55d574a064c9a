"""What starting `esper` imports. Milliseconds are reported by tests/benchmarks/startup.py; what is imported is law."""

import sys

import pytest

FORBIDDEN = ("torch", "numpy", "transformers", "datasets", "sklearn", "pydantic", "asyncio", "rich")

#: Runs a command and then tells on stderr which modules are there.
PROBE = """
import atexit, sys
atexit.register(lambda: print("MODULES", *sys.modules, file=sys.stderr))
from esper_app.cli import main
sys.exit(main())
"""


@pytest.fixture
def probe(esper):
    def run(*arguments, environ=None):
        done = esper.run([sys.executable, "-c", PROBE, *arguments], environ or {})
        assert done.returncode == 0, done.stderr
        output, _, modules = done.stderr.rpartition("MODULES ")
        return done.stdout, set(modules.split()), output

    return run


COMPLETION = {"_ESPER_COMPLETE": "bash_complete", "COMP_CWORD": "2"}


@pytest.mark.parametrize(
    ("arguments", "environ", "shows"),
    [
        (["--version"], {}, "esper 0."),
        (["--help"], {}, "plugins"),
        (["-h"], {}, "Exit codes"),
        (["plugins", "list"], {}, "blueprint-foo"),
        (["plugins", "list", "--json"], {}, '"blueprint-foo"'),
        (["plugins", "info", "blueprint-foo"], {}, "width: int = 4"),
        (["plugins", "graph", "digits", "--json"], {}, "host.name"),
        (["plugins", "new", "sink", "foo"], {}, "is a complete sink plugin"),
        (["plugins", "lock"], {}, "blueprint-foo"),
        (["show", "--help"], {}, "--epochs"),
        (["runs", "--help"], {}, "prune"),
        (["export", "--help"], {}, "--format"),
        ([], {"_ESPER_COMPLETE": "bash_source"}, "_esper_completion"),
        ([], COMPLETION | {"COMP_WORDS": "esper plugins "}, "plain,list"),
        ([], COMPLETION | {"COMP_WORDS": "esper pl", "COMP_CWORD": "1"}, "plain,plugins"),
        ([], COMPLETION | {"COMP_WORDS": "esper plugins info blueprint-f", "COMP_CWORD": "3"}, "plain,blueprint-foo"),
    ],
)
def test_it_imports_nothing_heavy(install, probe, arguments, environ, shows):
    install("esper-blueprint-foo")
    stdout, modules, _ = probe(*arguments, environ=environ)
    assert shows in stdout
    assert not modules & set(FORBIDDEN)


def test_a_page_imports_nothing_heavy_but_what_draws_it(install, probe):
    install("esper-blueprint-foo")
    stdout, modules, _ = probe("plugins", "graph", "digits")
    assert "host.name" in stdout
    assert modules & set(FORBIDDEN) == {"rich"}


def test_the_probe_would_notice(install, probe):
    install("esper-heavy", code="import asyncio\nESPER_API = '2.0'\n")
    _, modules, _ = probe("plugins", "list")
    assert "asyncio" in modules


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_help_and_version_look_for_no_plugins(install, probe, arguments):
    install("esper-blueprint-foo")
    _, modules, _ = probe(*arguments)
    assert not modules & {"esper_blueprint_foo", "pluggy", "importlib.metadata"}


def test_the_version_needs_no_click(probe):
    _, modules, _ = probe("--version")
    assert "click" not in modules


def test_listing_imports_no_factory(install, probe):
    install("esper-blueprint-foo")
    _, modules, _ = probe("plugins", "list")
    assert "esper_blueprint_foo.plugin" in modules
    assert not modules & {"esper_blueprint_foo.module", "esper_blueprint_foo.config", "cattrs"}


def test_listing_reads_metadata_by_itself(install, probe):
    """Each of these costs a tenth of a listing or more."""
    install("esper-blueprint-foo", requires=("esper-core>=0.1,<1", "attrs>=24.2", "acme ; extra == 'more'"))
    stdout, modules, _ = probe("plugins", "list")
    assert "blueprint-foo" in stdout
    assert modules & {"importlib.metadata", "email", "packaging", "pathlib", "json"} == set()


def test_importing_the_core_is_light(esper):
    code = "import sys, esper_core, esper_core.api, esper_core.specs, esper_core.hooks; print(*sys.modules)"
    modules = set(esper.run([sys.executable, "-c", code], {}).stdout.split())
    assert "esper_core.api" in modules
    assert not modules & set(FORBIDDEN)
