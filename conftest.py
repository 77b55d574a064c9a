"""No test may reach a model or data hub, or the user's caches of one; in CI a test that fails is named at once."""

import os
from tempfile import TemporaryDirectory

import pytest

# The libraries read these when they are imported, which test modules and plugins' conftests do: a fixture is too late.
_HUB_CACHE = TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = _HUB_CACHE.name


class _NamesFailures:
    """Names what fails where it fails: a time limit of CI would cut the summary off."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when}): {_why(report)}")


def _why(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", None) or report.longreprtext).strip().partition("\n")[0][:200]


@pytest.hookimpl(trylast=True)  # the terminal's reporter comes first
def pytest_configure(config: pytest.Config) -> None:
    """In CI, and not in the processes that run tests for another one."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NamesFailures(terminal), "names-failures")
