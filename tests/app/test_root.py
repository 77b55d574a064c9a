import gc
import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from esper_app.cli import main
from esper_app.cli.help_groups import LAST, under_headings
from esper_app.cli.options import complete_plugin_names, plugin_options
from esper_app.cli.root import RootGroup, cli
from esper_app.configuration.plugin_selection import PluginOptions
from esper_core import __version__
from esper_core.leyline.errors import CODES, EsperError, ExitCode

DOCS = Path(__file__).parents[2] / "docs"


def failing(error):
    @click.command()
    @plugin_options
    def fail(plugin_options):
        try:
            raise ZeroDivisionError("the cause")
        except ZeroDivisionError as cause:
            raise error from cause

    root = RootGroup("esper")
    root.add_command(fail)
    return root


class TestErrors:
    ERROR = EsperError("E204", "it is not known", where="run.toml", why="nobody made it", fix="make it")

    def test_they_are_four_lines_and_an_exit_code(self):
        done = CliRunner().invoke(failing(self.ERROR), ["fail"])
        assert done.exit_code == ExitCode.USAGE
        assert done.stderr == ("error[E204] it is not known\n  at run.toml\n  because nobody made it\n  fix: make it\n")
        assert done.stdout == ""

    @pytest.mark.parametrize("code", CODES)
    def test_every_code_leads_to_its_exit_code(self, code):
        assert CliRunner().invoke(failing(EsperError(code, "x")), ["fail"]).exit_code == CODES[code][1]

    def test_tracebacks_on_request(self):
        done = CliRunner().invoke(failing(self.ERROR), ["fail", "--trace-plugins"])
        assert "ZeroDivisionError: the cause" in done.stderr
        assert done.stderr.endswith(f"{self.ERROR}\n")

    @pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
    def test_tracebacks_by_environment(self, value, shown):
        done = CliRunner(env={"ESPER_TRACE": value}).invoke(failing(self.ERROR), ["fail"])
        assert ("ZeroDivisionError" in done.stderr) is shown

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["run", "digits", "--epochs", "5"], "--set epochs=VALUE"),
            (["run", "digits", "--batch-size=5"], "--set batch_size=VALUE"),
            (["config", "show", "digits", "--lr", "0.1"], "--set optimizer.lr=VALUE"),
            (["train", "digits", "--max-live-seeds", "3"], "--set limits.max_live_seeds=VALUE"),
        ],
    )
    def test_a_setting_that_is_written_as_an_option_is_shown_as_it_is_set(self, words, said):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == ExitCode.USAGE
        assert f"it is a setting: {said}\n" in done.stderr

    def test_a_setting_that_is_written_as_an_argument_is_shown_as_it_is_set(self):
        done = CliRunner().invoke(cli, ["run", "digits", "optimizer.lr=0.1"])
        assert done.exit_code == ExitCode.USAGE
        assert "with --set: --set optimizer.lr=0.1\n" in done.stderr
        assert "--set" not in CliRunner().invoke(cli, ["run", "digits", "teacher"]).stderr
        assert "--set" not in CliRunner().invoke(cli, ["show", "one", "lr=0.1"]).stderr

    @pytest.mark.parametrize("words", [["run", "digits", "--confg", "x"], ["show", "--seeds", "3"]])
    def test_an_option_that_is_no_setting_comes_with_the_nearest(self, words):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == ExitCode.USAGE
        assert "it is a setting" not in done.stderr
        assert "Did you mean" in done.stderr

    def test_a_command_of_a_group_is_found_by_its_last_word(self):
        done = CliRunner().invoke(cli, ["new", "blueprint", "foo"])
        assert done.stderr == 'error[E193] there is no command "new"\n  fix: did you mean "plugins new"?\n'

    def test_one_request_does_not_outlive_its_command(self):
        runner, root = CliRunner(), failing(self.ERROR)
        runner.invoke(root, ["fail", "--trace-plugins"])
        assert "ZeroDivisionError" not in runner.invoke(root, ["fail"]).stderr

    def test_an_interrupt_has_its_own_exit_code(self):
        assert CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"]).exit_code == ExitCode.INTERRUPTED


class TestRoot:
    def test_the_version(self, capsys):
        main(["--version"])
        assert capsys.readouterr().out == f"esper {__version__} (plugin API 2.0)\n"
        assert CliRunner().invoke(cli, ["--version"]).stdout == f"esper {__version__} (plugin API 2.0)\n"

    def test_every_listed_command_can_be_called_and_says_in_short_what_it_does(self):
        text = CliRunner().invoke(cli, ["--help"]).stdout
        for name in ("config", "export", "plugins", "run", "runs", "show"):
            command = cli.get_command(click.Context(cli), name).load()
            assert re.search(rf"^  {name} +{re.escape(command.get_short_help_str(100))}$", text, re.MULTILINE)
            assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0

    @pytest.mark.parametrize("columns", ["", "60", "200", "nonsense"])
    def test_help_is_as_wide_as_click_makes_it(self, columns, esper):
        shown = esper("run", "--help", environ={"COLUMNS": columns}).stdout
        code = "from esper_app.cli.root import cli; cli.main(['run', '--help'], prog_name='esper')"
        assert shown == esper.run([sys.executable, "-c", code], {"COLUMNS": columns}).stdout != ""

    def test_help_is_one_screen_of_forty_lines(self):
        lines = CliRunner().invoke(cli, ["--help"], env={"COLUMNS": "80"}).stdout.splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 80

    @pytest.mark.parametrize("columns", [60, 70, 100])
    def test_help_fits_the_terminal(self, columns, esper):
        text = esper("--help", environ={"COLUMNS": str(columns)}).stdout
        assert max(map(len, text.splitlines())) <= columns
        assert "zsh_source" in text
        assert text.rstrip().endswith("130 interrupted")

    def test_help_lists_every_command_once_and_ours_under_a_heading_of_their_own(self):
        text = CliRunner().invoke(cli, ["--help"], env={"COLUMNS": "200"}).stdout
        rows = dict(re.findall(r"^  ([a-z]+)  +(\S.*)$", text, re.MULTILINE))
        also = [name for line in re.findall(r"^  also  +(.*)$", text, re.MULTILINE) for name in line.split(", ")]
        assert sorted([*(rows.keys() - {"also"}), *also]) == cli.list_commands(click.Context(cli))
        assert LAST not in text

    def test_commands_of_others_stand_last(self):
        found = dict(under_headings(["zoo", "run", "show", "aviary", "config"]))
        assert found == {"Run": ["run", "config"], "Look": ["show"], LAST: ["zoo", "aviary"]}

    def test_help_names_every_exit_code(self):
        text = CliRunner().invoke(cli, ["--help"]).stdout
        assert {int(number) for number in re.findall(r"\b(\d+) [a-z]", text.partition("Exit codes:")[2])} == set(
            ExitCode
        )

    def test_garbage_is_collected_in_commands_that_may_live_long(self):
        seen = []
        root = RootGroup("esper")
        root.add_command(click.Command("long", callback=lambda: seen.append(gc.isenabled())))
        gc.disable()
        try:
            CliRunner().invoke(root, ["long"])
        finally:
            gc.enable()
        assert seen == [True]


class TestPluginOptions:
    @pytest.fixture
    def received(self):
        seen = []

        @click.command()
        @click.option("--other")
        @plugin_options
        def command(plugin_options, other):
            seen.append((plugin_options, other))

        return command, seen

    def test_they_arrive_as_one_record(self, received):
        command, seen = received
        arguments = "--plugins a,b --plugins c --no-plugin d --plugin-path e.py --strict-plugins --other f"
        assert CliRunner().invoke(command, arguments.split()).exit_code == 0
        expected = PluginOptions(plugins=("a,b", "c"), no_plugin=("d",), plugin_path=(Path("e.py"),), strict=True)
        assert seen == [(expected, "f")]

    def test_without_them_nothing_is_said(self, received):
        command, seen = received
        CliRunner().invoke(command, [])
        assert seen == [(PluginOptions(), None)]

    @pytest.mark.parametrize(
        ("incomplete", "completed"),
        [("au", ["auto"]), ("none,blueprint-f", ["none,blueprint-foo"]), ("blueprint-fooo", [])],
    )
    def test_names_are_completed_behind_commas(self, install, incomplete, completed):
        install("esper-blueprint-foo")
        found = complete_plugin_names(None, None, incomplete)
        assert [name for name in found if "flex" not in name] == completed


class TestErrorPages:
    PAGES = (DOCS / "errors.md").read_text()

    def test_every_code_has_a_page_and_every_page_a_code(self):
        assert re.findall(r"^## (E\d+)", self.PAGES, re.MULTILINE) == list(CODES)

    @pytest.mark.parametrize("code", CODES)
    def test_a_page_tells_meaning_exit_code_cause_and_fix(self, code):
        page = re.search(rf"^## {code}: (.*?)(?=^## |\Z)", self.PAGES, re.MULTILINE | re.DOTALL)[1]
        meaning, exit_code = CODES[code]
        assert page.startswith(meaning)
        assert f"Exit code {exit_code.value}." in page
        assert re.search(r"^\*\*Typical cause\.\*\* \S.{20}", page, re.MULTILINE)
        assert re.search(r"^\*\*Fix\.\*\* \S.{10}", page, re.MULTILINE)
