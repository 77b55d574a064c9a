"""What Esper adds to a pytest run that has nothing to do with it, in CPU milliseconds (user + system).

Run it as ``python tests/benchmarks/pytest_overhead.py [ROUNDS]``. Wherever Esper is installed, pytest imports
`esper_testing.pytest_plugin` at every start. Two figures, in turns, each in fresh processes: what importing and
registering that module takes, timed inside of the process; and a run of one trivial test with the module and without
it, no other plugin of pytest taking part. The second is the whole truth, and needs an idle machine. Budget: 5 ms.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BUDGET = 5.0
MODULE = "esper_testing.pytest_plugin"

#: As pytest does it with an entry point: import, register, add options.
REGISTER = f"""
import time
from _pytest.config import get_config
manager = get_config().pluginmanager
begin = time.process_time()
manager.import_plugin({MODULE!r})
print((time.process_time() - begin) * 1e3)
"""
RUN = ("-m", "pytest", "-q", "-p", "no:cacheprovider")


def main(rounds: int) -> None:
    """Measure, and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_trivial.py").write_text("def test_trivial():\n    assert True\n")
        registered, pairs = [], []
        for number in range(rounds + 1):
            registering = float(python(folder, ("-c", REGISTER))[1])
            variants = [(*RUN, "-p", MODULE), RUN]
            taken = {variant: python(folder, variant)[0] for variant in variants[:: 1 if number % 2 else -1]}
            if number:  # the first round compiles bytecode
                registered.append(registering)
                pairs.append((taken[variants[0]], taken[variants[1]]))
    show("importing and registering the module", registered)
    show("a run of one test, without it", [without for _, without in pairs])
    show("the same with it", [with_it for with_it, _ in pairs])
    show("the difference in each round", [with_it - without for with_it, without in pairs])
    print(f"{rounds} rounds; budget {BUDGET:.0f} ms")


def python(folder: str, arguments: Sequence[str]) -> tuple[float, str]:
    """Run Python in the folder and return its CPU time and what it printed."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return (usage.ru_utime + usage.ru_stime) * 1e3, output


def show(name: str, values: Sequence[float]) -> None:
    """Print median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    print(f"{name:38} {median:7.2f} ms (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
