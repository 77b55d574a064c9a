"""The wheels of the workspace, a clean environment that has them from pip, and each of them installed alone."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions as distributions_in
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("esper_test_declared", Path(__file__).with_name("declared.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
declared, entries = _module.declared, _module.entries

#: What checks a plugin: the suite, and the command that it is called by; what these stand on comes with them.
CHECKERS = ("esper-core", "esper-app", "esper-testing")

#: `esper plugins check` of several plugins by name, with their options; importing torch is what takes time.
CHECKED = """
import json, sys
from click.testing import CliRunner
from esper_app.cli.root import cli

answers = {}
for name, options in json.loads(sys.argv[1]).items():
    result = CliRunner().invoke(cli, ["plugins", "check", name, "--json", *options])
    if result.exit_code not in (0, 1):
        sys.exit(f"{name}: {result.output} {result.exception}")
    answers[name] = json.loads(result.stdout)
print(json.dumps(answers))
"""

#: The environment of a user's shell: nothing that points into this workspace.
DROPPED = ("ESPER_", "PYTHON", "UV_", "VIRTUAL_ENV")
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}


def call(*command: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRON | (environ or {}), capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """The environment of a user's shell."""
    return dict(ENVIRON)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    build = (sys.executable, "-m", "uv", "build", "--all-packages", "--wheel", "--python", sys.executable)
    call(*build, "--out-dir", folder, cwd=ROOT)
    return folder


@frozen
class Clean:
    """A virtual environment of Python's own `venv`, filled by its pip, and an empty folder to work in."""

    folder: Path
    wheels: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def create(self) -> None:
        self.work.mkdir()
        constraints = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
        (self.folder / "constraints.txt").write_text("\n".join(constraints))
        call(sys.executable, "-m", "venv", self.folder / "venv", cwd=self.work)

    def pip(self, *arguments: str | Path) -> str:
        return self.python("-m", "pip", *arguments)

    def install(self, distribution: str) -> None:
        """Install one of ours from the wheels; libraries come from wherever pip is configured to look."""
        options = ("--find-links", self.wheels, "--constraint", self.folder / "constraints.txt")
        self.pip("install", "--quiet", "--no-compile", *options, distribution)

    def python(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return call(self.folder / "venv/bin/python", *arguments, cwd=cwd or self.work)

    def esper(self, *arguments: str) -> str:
        return call(self.folder / "venv/bin/esper", *arguments, cwd=self.work)

    def plugins(self) -> dict[str, dict[str, Any]]:
        """What `esper plugins list` says, by distribution."""
        return {record["distribution"]: record for record in json.loads(self.esper("plugins", "list", "--json"))}

    def statuses(self) -> dict[str, str]:
        """The status of every plugin by distribution, where there is no `esper` command to ask."""
        code = "import json; from esper_core.plugins.loader import load_plugins; print(json.dumps({"
        code += "record.origin.distribution: record.status for record in load_plugins(tolerant=True).records}))"
        found: dict[str, str] = json.loads(self.python("-c", code))
        return found


@pytest.fixture(scope="session")
def clean(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clean]:
    """An environment without anything of ours."""
    environment = Clean(tmp_path_factory.mktemp("clean"), wheels)
    environment.create()
    yield environment
    # With torch in it, it takes a gigabyte; pytest would keep the last three.
    shutil.rmtree(environment.folder)


@pytest.fixture(scope="session")
def with_one_plugin(clean: Clean) -> dict[str, str]:
    """The plugins, with their status, after nothing but one blueprint was installed."""
    clean.install("esper-blueprint-noop")
    return clean.statuses()


@pytest.fixture(scope="session")
def standard(clean: Clean, with_one_plugin: object) -> Clean:
    """The environment with the standard distribution."""
    clean.install("esper-standard")
    return clean


def link_libraries(folder: Path) -> None:
    """Make a folder of links to the libraries of this environment, all that is not ours."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("esper_") and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)


@pytest.fixture(scope="session")
def workshop(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """An environment with all wheels of ours, which finds the libraries of this one: made in seconds, not minutes.

    They stand outside of it, so its pip counts them as installed, and touches none.
    """
    environment = Clean(tmp_path_factory.mktemp("workshop"), wheels)
    environment.create()
    link_libraries(environment.folder / "libraries")
    (packages,) = (environment.folder / "venv").glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(f"{environment.folder / 'libraries'}\n")
    environment.pip("install", "--quiet", "--no-compile", "--no-deps", "--no-index", *wheels.glob("*.whl"))
    return environment


@frozen
class Solo:
    """Every distribution of ours in a folder of its own, and the libraries of this environment in another.

    The libraries are linked, so that no plugin has to wait for a download. Whether each plugin declares those that it
    imports is a rule of `tests/meta`.
    """

    folder: Path

    @property
    def libraries(self) -> Path:
        return self.folder / "libraries"

    def seen_from(self, *folders: Path) -> list[list[dict[str, Any]]]:
        """The plugins seen from each folder, when only it, what it declares, the core and the libraries are there."""
        path = os.pathsep.join(map(str, [self.folder / "esper-core", self.libraries]))
        places = [os.pathsep.join(map(str, [folder, *ours(folder, self.folder)])) for folder in folders]
        script = (sys.executable, "-S", Path(__file__).with_name("alone.py"), *places)
        seen = json.loads(call(*script, cwd=self.folder, environ={"PYTHONPATH": path}))
        return [seen[str(folder)] for folder in folders]


@pytest.fixture(scope="session")
def solo(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Solo:
    """Every wheel installed where it sees no other; by uv, because pip takes seconds for each."""
    places = Solo(tmp_path_factory.mktemp("solo"))
    link_libraries(places.libraries)
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--no-index")
    for wheel in wheels.glob("*.whl"):
        target = places.folder / wheel.name.partition("-")[0].replace("_", "-")
        call(*install, "--python", sys.executable, "--target", target, wheel, cwd=places.folder)
    return places


@pytest.fixture(scope="session")
def alone(solo: Solo) -> dict[str, list[dict[str, Any]]]:
    """What is seen of the plugins, by distribution, when only it, what it declares and the core are there."""
    folders = [folder for folder in solo.folder.glob("esper-*") if folder.name != "esper-core"]
    return dict(zip([folder.name for folder in folders], solo.seen_from(*folders), strict=True))


@frozen
class Bare:
    """A Python that finds nothing but the standard library, one plugin, what checks it, and what these declare.

    The declared libraries are linked from this environment, so that nothing is downloaded.
    """

    folder: Path
    distributions: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv/bin/python"

    def create(self) -> None:
        call(sys.executable, "-m", "venv", "--without-pip", self.folder / "venv", cwd=self.folder)

    def check(
        self, plugin: Path, *options: str | Path, environ: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Run the conformance suite on the plugin installed in a folder, and return the results."""
        return self.check_each({plugin: options}, environ)[plugin.name]

    def check_each(
        self, plugins: Mapping[Path, Sequence[str | Path]], environ: Mapping[str, str] | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Run the conformance suite on each of some plugins that declare the same, in one process, with its options."""
        checkers = [self.distributions / name for name in CHECKERS]
        for folder in (*checkers, *plugins):
            checkers += [needed for needed in ours(folder, self.distributions) if needed not in checkers]
        path = [*plugins, *checkers, self._libraries(*plugins, *checkers)]
        surroundings = ENVIRON | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **(environ or {}),
        }
        asked = json.dumps({folder.name: [*map(str, options)] for folder, options in plugins.items()})
        command = (self.python, "-c", CHECKED, asked)
        done = subprocess.run(command, cwd=self.folder, env=surroundings, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        results: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return results

    def _libraries(self, *distributions: Path) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{distributions[0].name}-", dir=self.folder))
        lines = [line for it in distributions for line in requirements_in(it)]
        for name in declared(lines):
            for entry in entries(name):
                link = folder / entry.name
                if not link.exists():
                    link.symlink_to(entry)
        return folder


def requirements_in(folder: Path) -> list[str]:
    """The requirements of the one distribution that is installed in a folder."""
    (it,) = distributions_in(path=[str(folder)])
    return it.requires or []


def ours(folder: Path, distributions: Path) -> list[Path]:
    """The folders of the distributions of ours that one declares, and of those that these declare; not the core's."""
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        names = {requirement.name for requirement in map(Requirement, requirements_in(waiting.pop()))}
        new = {distributions / name for name in names if name.startswith("esper-") and name != "esper-core"}
        waiting += new - set(found)
        found += sorted(new - set(found))
    return found


@pytest.fixture(scope="session")
def bare(solo: Solo, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """A Python that finds next to nothing, and every distribution in a folder of its own."""
    environment = Bare(tmp_path_factory.mktemp("bare"), solo.folder)
    environment.create()
    return environment
