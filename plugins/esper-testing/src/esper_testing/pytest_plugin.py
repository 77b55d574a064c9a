"""``pytest --esper-plugin NAME``: the conformance suite without a test file.

pytest imports this module at every start wherever Esper is installed: it imports nothing but pytest, and does nothing
unless the option is given.
"""

from pathlib import Path

import pytest

#: The file whose one test is run once for each case.
SUITE = str(Path(__file__).with_name("suite.py"))

LEVELS = ("static", "contract", "training", "quick", "full", "perf")

#: What the session's conformance tests do not look at, for its last lines.
NOT_LOOKED_AT: pytest.StashKey[dict[str, None]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("esper", "conformance of Esper plugins")
    group.addoption(
        "--esper-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="check this plugin: entry point, distribution, Python file or folder; repeatable",
    )
    group.addoption(
        "--esper-level",
        choices=LEVELS,
        default="full",
        help="highest level of the checks; quick is the same as training (default: %(default)s)",
    )
    group.addoption(
        "--esper-select", action="append", default=[], metavar="ID", help="only these checks; * is a wildcard"
    )
    group.addoption("--esper-expect", metavar="FILE", help="TOML file of expected failures with their reasons")


def pytest_configure(config: pytest.Config) -> None:
    """Run the suite: in place of the folders that pytest would search by itself, beside paths that are given."""
    config.addinivalue_line("markers", "slow: takes longer than a few seconds")
    if config.getoption("esper_plugin") and SUITE not in config.args:
        given = config.args if config.args_source is config.ArgsSource.ARGS else []
        config.args = [*given, SUITE]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every case."""
    if "esper_case" in metafunc.fixturenames and metafunc.config.getoption("esper_plugin"):
        # Imported here: it imports torch.
        from esper_testing.suite_cases import parameters

        metafunc.parametrize("esper_case", parameters(metafunc.config))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the level leaves out."""
    for line in config.stash.get(NOT_LOOKED_AT, {}):
        terminalreporter.write_line(f"esper: not looked at: {line}")
