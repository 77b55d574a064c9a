import click
import pytest
from click.testing import CliRunner

from esper_app.cli.loading import load_selected
from esper_app.cli.options import plugin_options
from esper_app.cli.root import RootGroup


@pytest.fixture
def call(site):
    """Call a command that loads plugins as `esper run` does."""

    @click.command()
    @plugin_options
    def work(plugin_options):
        plugins = load_selected(plugin_options)
        click.echo(" ".join(record.origin.plugin for record in plugins.records if record.components))

    root = RootGroup("esper")
    root.add_command(work)
    return lambda *arguments: CliRunner().invoke(root, ["work", *arguments])


def test_a_broken_plugin_that_nobody_needs_is_one_line_of_warning(install, call):
    install("esper-blueprint-foo")
    install("esper-bad", code="import nobodys_module\n")
    done = call()
    assert done.exit_code == 0
    assert "blueprint-foo" in done.stdout.split()
    (line,) = [line for line in done.stderr.splitlines() if "esper-bad" in line]
    assert line.startswith('warning[E102] plugin "bad" (esper-bad 0.1.0) needs the module "nobodys_module"')
    assert line.endswith("(broken; esper plugins info bad)")


def test_what_is_left_out_on_purpose_is_not_spoken_of(install, call):
    install("esper-bad", code="import nobodys_module\n")
    assert "esper-bad" not in call("--no-plugin", "bad").stderr


@pytest.mark.parametrize("arguments", [["--plugins", "auto,bad"], ["--strict-plugins", "--plugins", "esper-bad"]])
def test_one_that_was_asked_for_is_an_error(install, call, arguments):
    install("esper-bad", code="import nobodys_module\n")
    done = call(*arguments)
    assert done.exit_code == 4
    assert done.stderr.startswith("error[E102]")
    assert "Traceback" not in done.stderr


def test_its_traceback_is_shown_on_request(install, call):
    install("esper-bad", code="import nobodys_module\n")
    assert "ModuleNotFoundError: No module named 'nobodys_module'" in call("--trace-plugins").stderr
