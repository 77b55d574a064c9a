"""What starting `esper` costs, in CPU milliseconds (user + system).

Run it as ``python tests/benchmarks/startup.py [ROUNDS]``. Every round runs every command once, so that a busy moment of
the machine falls on all of them. Bytecode is compiled in a first round that does not count. On a busy machine CPU time
itself grows: the column ``x pass`` gives it in units of an empty Python process measured in the same rounds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from distributions import write_distribution

#: Plugins in all; those that are installed anyway count, the rest is generated.
PLUGINS = 30
#: What the console script does.
ESPER = ("-c", "import sys; from esper_app.cli import main; sys.exit(main())")

#: Prints the CPU time of discovery, loading and registration alone; what the interpreter imports before is not in it.
IN_PROCESS = """
import time
from esper_core.plugins.loader import load_plugins
begin = time.process_time()
plugins = load_plugins()
print((time.process_time() - begin) * 1e3)
assert len(plugins.records) >= {count}, len(plugins.records)
"""

#: Name, arguments of Python, budget in CPU milliseconds.
COMMANDS: Sequence[tuple[str, tuple[str, ...], int | None]] = (
    ("python -c pass", ("-c", "pass"), None),
    ("esper --version", (*ESPER, "--version"), 60),
    ("esper --help", (*ESPER, "--help"), 120),
    (f"esper plugins list ({PLUGINS} plugins)", (*ESPER, "plugins", "list"), 220),
    ("esper run --help", (*ESPER, "run", "--help"), None),
    (f"discovery, load, registration ({PLUGINS} plugins)", ("-c", IN_PROCESS.format(count=PLUGINS)), 40),
)


def main(rounds: int) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PLUGINS - len(entry_points(group="esper"))):
            write_distribution(Path(folder, "site"), f"acme-blueprint-x{number}")
        environ = environment(Path(folder))
        samples: dict[str, list[float]] = {name: [] for name, _, _ in COMMANDS}
        for number in range(rounds + 1):
            for name, arguments, _ in COMMANDS:
                milliseconds = measure(arguments, environ)
                if number:
                    samples[name].append(milliseconds)
    yardstick = statistics.median(samples[COMMANDS[0][0]])
    print(f"{rounds} rounds, CPU milliseconds{'':24} median     min     max  x pass  budget")
    for name, _, budget in COMMANDS:
        values = samples[name]
        median = statistics.median(values)
        figures = f"{median:7.1f} {min(values):7.1f} {max(values):7.1f} {median / yardstick:7.1f}"
        print(f"{name:50} {figures}  {budget or ''}")


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with the generated plugins on the path and bytecode kept beside them."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return environ | {"PYTHONPATH": str(folder / "site"), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def measure(arguments: Sequence[str], environ: Mapping[str, str]) -> float:
    """Run Python and return its CPU time, or what it prints if it measures itself."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=environ, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed")
    own = "process_time" in arguments[-1]
    return float(output) if own else (usage.ru_utime + usage.ru_stime) * 1e3


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
