"""Commands that distributions offer: listed without an import, called, joined to groups, and named where broken."""

import subprocess
import sys

import pytest

COMMAND = """
import click


@click.command()
@click.argument("name")
def greet(name):
    '''Say hello.

    To somebody.
    '''
    click.echo("hello " + name)
"""

#: Importing it is an error: whatever lists it does not.
EXPLOSIVE = COMMAND + "\n1 / 0\n"


@pytest.fixture
def offer(install):
    """Install a distribution that offers commands, by their names."""

    def write(name, code=COMMAND, *, summary="", **commands):
        package = name.replace("-", "_")
        points = {place.replace("__", "."): value.format(package) for place, value in commands.items()}
        points = points or {"greet": f"{package}.command:greet"}
        info = install(name, files={"command.py": code}, groups={"esper.commands": points}).parent
        if summary:
            metadata = info / f"{package}-0.1.0.dist-info" / "METADATA"
            metadata.write_text(metadata.read_text().replace("Version: 0.1.0", f"Version: 0.1.0\nSummary: {summary}"))

    return write


def line(text, command):
    """What help says of a command, as one line."""
    _, found, rest = " ".join(text.split()).partition(f" {command} ")
    assert found, text
    return rest


class TestListing:
    def test_it_shows_the_summary_and_imports_nothing(self, offer, esper):
        offer("esper-app-greet", EXPLOSIVE)
        assert line(esper("--help").stdout, "greet").startswith("Say hello.")

    @pytest.mark.parametrize(
        ("code", "summary"),
        [
            (COMMAND.replace("click.command()", "click.command(short_help='Briefly.')"), "Briefly."),
            (COMMAND.replace("click.command()", 'click.command("x", short_help="Brief, too.")'), "Brief, too."),
            (COMMAND.replace("click.command()", r'click.command(short_help="So \"brief\".")'), 'So "brief".'),
            (COMMAND.replace("click.command()", "click.command(help='Helps.\\n\\nMore.')"), "Helps."),
            (COMMAND.replace("click.command()", "click.group(help='Groups.')"), "Groups."),
            (COMMAND.replace("def greet(name):", "def greet(\n    name: str,\n) -> None:"), "Say hello."),
            (COMMAND.replace("Say hello.", "Say hello.\nat column nought\ndef greet(:"), "Say hello."),
            (COMMAND.replace("\n", "\r\n"), "Say hello."),
            ("import click\ngreet = click.Command('greet', help='Unseen.')\n", "Of the distribution."),
            ("from elsewhere import greet\n", "Of the distribution."),
            ("from elsewhere import *\n", "Of the distribution."),
            ("def __getattr__(name): ...\n", "Of the distribution."),
            (COMMAND.replace("    '''Say hello.\n\n    To somebody.\n    '''\n", ""), "Of the distribution."),
        ],
    )
    def test_the_summary_is_what_the_command_says_of_itself(self, code, summary, offer, esper):
        offer("esper-app-greet", code, summary="Of the distribution.")
        assert line(esper("--help").stdout, "greet").startswith(summary)

    @pytest.mark.parametrize(
        ("value", "code", "reason"),
        [
            ("{}.nowhere:greet", COMMAND, 'there is no module "esper_app_greet.nowhere"'),
            ("no_such_package.x:greet", COMMAND, 'there is no module "no_such_package"'),
            ("{}.command", COMMAND, '"esper_app_greet.command" is not an object in a module'),
            ("{}.command:no-name", COMMAND, "is not an object in a module"),
            ("{}.command:missing", COMMAND, 'esper_app_greet.command has no "missing"'),
            ("{}.command:other", COMMAND + "def (:\n", "esper_app_greet.command has a syntax error in line"),
        ],
    )
    def test_a_broken_one_is_listed_as_broken_with_the_reason(self, value, code, reason, offer, esper):
        offer("esper-app-greet", code, greet=value)
        done = esper("--help")
        assert done.returncode == 0
        assert line(done.stdout, "greet").startswith("(broken: ")
        assert reason in " ".join(done.stdout.split())
        assert line(done.stdout, "run").startswith("Grow")

    def test_damaged_metadata_end_nothing(self, offer, site, esper):
        offer("esper-app-greet")
        (site / "esper_app_greet-0.1.0.dist-info" / "entry_points.txt").write_bytes(b"[esper.commands]\n\xff\n")
        assert esper("--help").returncode == 0
        done = esper("greet", "you")
        assert done.returncode == 2
        assert 'the metadata of the distribution "esper-app-greet" cannot be read' in done.stderr

    def test_a_shell_completes_it(self, offer, esper):
        offer("esper-app-greet", EXPLOSIVE)
        environ = {"_ESPER_COMPLETE": "bash_complete", "COMP_WORDS": "esper gre", "COMP_CWORD": "1"}
        assert esper(environ=environ).stdout == "plain,greet\n"
        inside = {"_ESPER_COMPLETE": "bash_complete", "COMP_WORDS": "esper greet --", "COMP_CWORD": "2"}
        done = esper(environ=inside)
        assert (done.returncode, done.stderr) == (0, "")


class TestCalling:
    def test_it_is_imported_and_called(self, offer, esper):
        offer("esper-app-greet")
        done = esper("greet", "you")
        assert (done.returncode, done.stdout) == (0, "hello you\n")
        assert "To somebody." in esper("greet", "--help").stdout

    @pytest.mark.parametrize(
        ("code", "says"),
        [
            (EXPLOSIVE, "because ZeroDivisionError"),
            ("import nobodys_module\ndef greet(): ...\n", "nobodys_module"),
            ("raise SystemExit(0)\ndef greet(): ...\n", "SystemExit"),
            ("def greet(): ...\n", "is not a click command, but function"),
            ("x = 1\n", "has no attribute"),
        ],
    )
    def test_one_that_cannot_be_loaded_names_its_distribution(self, code, says, offer, esper):
        offer("esper-app-greet", code)
        done = esper("greet", "you")
        assert done.returncode == 4
        assert done.stderr.startswith('error[E191] "esper greet" of esper-app-greet 0.1.0 cannot be loaded')
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert esper("runs").returncode == 0

    def test_its_traceback_is_shown_on_request(self, offer, esper):
        offer("esper-app-greet", EXPLOSIVE)
        assert "ZeroDivisionError: division by zero" in esper("greet", "you", environ={"ESPER_TRACE": "1"}).stderr

    def test_an_unknown_one_comes_with_the_nearest(self, offer, esper):
        offer("esper-app-greet")
        done = esper("gret", "you")
        assert done.returncode == 2
        assert done.stderr == 'error[E193] there is no command "gret"\n  fix: did you mean "greet"?\n'

    def test_one_of_ours_that_is_not_installed_comes_with_the_line_that_installs_it(self, esper):
        done = esper("export", environ={"ESPER_NO_PLUGINS": "esper-app-export"})
        assert done.returncode == 2
        assert "pip install esper-app-export" in done.stderr

    def test_an_option_in_its_place_is_told_as_one(self, esper):
        done = esper("--no-such-option")
        assert done.returncode == 2
        assert "--no-such-option" in done.stderr


class TestTwoOfOneName:
    @pytest.fixture
    def rivals(self, offer):
        offer("esper-app-greet")
        offer("esper-app-hello")

    def test_both_are_named_and_neither_is_called(self, rivals, esper):
        shown = "".join(esper("--help").stdout.split())
        assert "(broken:offeredbyesper-app-greet0.1.0andbyesper-app-hello0.1.0)" in shown
        done = esper("greet", "you")
        assert done.returncode == 4
        assert done.stderr.startswith(
            'error[E192] "esper greet" is offered by esper-app-greet 0.1.0 and by esper-app-hello 0.1.0'
        )

    def test_one_can_be_switched_off(self, rivals, esper):
        assert esper("greet", "you", environ={"ESPER_NO_PLUGINS": "Esper.App_Hello"}).stdout == "hello you\n"

    def test_ours_are_no_exception(self, offer, esper):
        offer("esper-app-other", runs="{}.command:greet")
        done = esper("runs")
        assert done.returncode == 4
        assert "esper-app-report" in done.stderr
        assert "esper-app-other" in done.stderr
        assert esper("config", "--help").returncode == 0


class TestJoining:
    def test_a_command_joins_a_group(self, offer, esper):
        offer("esper-app-greet", EXPLOSIVE, plugins__greet="{}.command:greet")
        assert line(esper("plugins", "--help").stdout, "greet").startswith("Say hello.")
        assert " greet " not in esper("--help").stdout
        assert esper("plugins", "list").returncode == 0

    def test_it_is_called_there(self, offer, esper):
        offer("esper-app-greet", plugins__greet="{}.command:greet")
        assert esper("plugins", "greet", "you").stdout == "hello you\n"

    def test_a_group_of_somebody_else_can_be_joined_too(self, offer, esper):
        group = "import click\n@click.group()\ndef more():\n    '''More.'''\n"
        offer("esper-app-more", group, more="{}.command:more")
        offer("esper-app-inner", group, more__inner="{}.command:more")
        offer("esper-app-greet", more__inner__greet="{}.command:greet")
        assert esper("more", "inner", "greet", "you").stdout == "hello you\n"

    def test_a_name_that_the_group_has_already_is_nobodys(self, offer, esper):
        offer("esper-app-greet", plugins__list="{}.command:greet")
        done = esper("plugins", "list")
        assert done.returncode == 4
        assert done.stderr.startswith('error[E192] "esper plugins list" is offered by esper-app')
        assert "esper-app-greet 0.1.0" in done.stderr
        assert esper("plugins", "graph", "--help").returncode == 0

    def test_without_the_group_it_is_listed_as_broken(self, offer, esper):
        offer("esper-app-greet", nobodys__greet="{}.command:greet")
        shown = line(esper("--help").stdout, "nobodys.greet")
        assert shown.startswith('(broken: there is no group "nobodys" to join)')
        assert "E191" in esper("nobodys.greet").stderr

    def test_what_is_no_group_works_on_with_a_warning(self, offer, esper):
        offer("esper-app-greet", greet="{}.command:greet", greet__more="{}.command:greet")
        done = esper("greet", "you")
        assert (done.returncode, done.stdout) == (0, "hello you\n")
        assert done.stderr == 'warning[E191] "greet.more" cannot join "greet", which is not a group\n'


def test_the_groups_of_one_call_do_not_know_those_of_another(install):
    """What joined a group is part of no module: another set of distributions is another set of commands."""
    code = (
        "from click.testing import CliRunner; from esper_app.cli.root import cli\n"
        "import os; run = lambda: CliRunner().invoke(cli, ['plugins', '--help']).output\n"
        "first = run(); os.environ['ESPER_NO_PLUGINS'] = 'esper-app-new'; second = run()\n"
        "assert ' new ' in first and ' new ' not in second, (first, second)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
