"""Every distribution of the workspace is packaged alike. A rule yields what breaks it; its docstring is the fix."""

import re
from collections.abc import Callable, Iterator

import pytest

from esper_core import API, __version__
from esper_core.plugins.known import install_line_for_plugin

#: What a run names, by the word behind ``esper-``. A plugin of these families is standard, unless it needs a library
#: that is not in LIGHT; adapters into other frameworks and apps are never standard.
FAMILIES = {"host", "blueprint", "gates", "evaluators", "diagnostics", "rewards", "policy", "executor", "sink", "task"}

#: The application, its libraries, and the commands that a first user needs.
APPLICATION = {
    *("esper-app", "esper-app-events", "esper-app-export", "esper-app-new", "esper-app-report", "esper-app-train"),
    *("esper-export", "esper-growing", "esper-runs", "esper-testing"),
}

#: Small, or needed by the core or the application anyway. A sink for a tracking service brings its own library: ask for
#: it by name.
LIGHT = {"esper-core", "esper-learning", "esper-runs", "attrs", "numpy", "rich", "safetensors", "scikit-learn", "torch"}

#: Light as well, and asked for by name: a catalogue that a run does not spell out has the blueprints of esper-standard,
#: and with another one the choices of saved policies, and so runs, would be others.
BY_NAME = {"esper-blueprint-block", "esper-blueprint-copy", "esper-blueprint-residual-block"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def named_as_its_folder(it, core) -> Iterator[str]:
    """Fix: `name` in pyproject.toml is the folder's name, and begins with `esper-`."""
    if it.name != it.folder.name or not it.name.startswith("esper-"):
        yield f"{it.name} in plugins/{it.folder.name}"


def one_package(it, core) -> Iterator[str]:
    """Fix: src/ holds one package, named as the distribution, with underscores."""
    found = sorted(path.name for path in (it.folder / "src").iterdir() if path.name != "__pycache__")
    if found != [it.package]:
        yield f"src/ holds {found}"


def version_of_the_core(it, core) -> Iterator[str]:
    """Fix: all distributions are released together; `version` is the core's."""
    if it.project["version"] != core.project["version"]:
        yield it.project["version"]


def python_of_the_core(it, core) -> Iterator[str]:
    """Fix: `requires-python` is the core's."""
    if it.project.get("requires-python") != core.project["requires-python"]:
        yield str(it.project.get("requires-python"))


def licence_of_the_core(it, core) -> Iterator[str]:
    """Fix: `license` is the core's."""
    if it.project.get("license") != core.project["license"]:
        yield str(it.project.get("license"))


def found_by_keyword(it, core) -> Iterator[str]:
    """Fix: the keyword `esper-plugin` marks what has an entry point, so that it can be found in an index."""
    if ("esper-plugin" in it.project.get("keywords", ())) != ("esper" in it.project.get("entry-points", {})):
        yield f"keywords {it.project.get('keywords')}"


def described(it, core) -> Iterator[str]:
    """Fix: `description` is one sentence of at most 120 characters; `readme` is README.md."""
    text = it.project.get("description", "")
    if not text.endswith(".") or len(text) > 120 or it.project.get("readme") != "README.md":
        yield repr(text)


def range_of_esper(it, core) -> Iterator[str]:
    """Fix: every requirement on a distribution of ours is `>=0.1,<1`, and the core is always one of them."""
    if "esper-core" not in it.requirements:
        yield "esper-core is missing"
    for name, requirement in {**it.requirements, **it.extras}.items():
        if name.startswith("esper-") and str(requirement.specifier) != "<1,>=0.1":
            yield str(requirement)


def lower_bounds(it, core) -> Iterator[str]:
    """Fix: a requirement says from which version on it is known to work."""
    for requirement in [*it.requirements.values(), *it.extras.values()]:
        if not any(bound.operator in {">=", "=="} for bound in requirement.specifier):
            yield str(requirement)


def entry_point(it, core) -> Iterator[str]:
    """Fix: in `[project.entry-points.esper]`, `<name without esper-> = "<package>.plugin"`; none without plugin.py."""
    expected = {it.name.removeprefix("esper-"): f"{it.package}.plugin"} if install_line_for_plugin(it.name) else {}
    found = it.project.get("entry-points", {}).get("esper", {})
    if found != expected:
        yield f"{found} instead of {expected}"


def declares_the_api(it, core) -> Iterator[str]:
    """Fix: plugin.py says for which plugin API it is written: `ESPER_API = "2.0"`."""
    plugin = it.sources / "plugin.py"
    line = f'ESPER_API = "{API[0]}.{API[1]}"'
    is_plugin = "esper" in it.project.get("entry-points", {})
    if is_plugin and (not plugin.is_file() or line not in plugin.read_text().splitlines()):
        yield f"no line {line}"


def readme_shows_its_use(it, core) -> Iterator[str]:
    """Fix: README.md has a code block with `pip install <name>`, and an `esper` command or Python code that uses it."""
    readme = it.folder / "README.md"
    blocks = FENCE.findall(readme.read_text()) if readme.is_file() else []
    lines = [line.strip() for _, block in blocks for line in block.splitlines()]
    if f"pip install {it.name}" not in lines:
        yield "README.md does not show its pip line"
    if not any(line.startswith("esper ") for line in lines) and not any(kind == "python" for kind, _ in blocks):
        yield "README.md shows no use"


def typed(it, core) -> Iterator[str]:
    """Fix: an empty py.typed in the package says that its annotations can be relied upon."""
    if not (it.sources / "py.typed").is_file():
        yield "no py.typed"


def has_tests(it, core) -> Iterator[str]:
    """Fix: tests/test_<package>*.py, or those of the application in a folder of the workspace's tests."""
    shared = core.folder / "tests" / it.package.removeprefix("esper_")
    own = [*(it.folder / "tests").glob(f"test_{it.package}*.py"), *shared.glob("test_*.py")]
    if it.name != "esper-standard" and not own:
        yield "no tests"


def built_by_uv(it, core) -> Iterator[str]:
    """Fix: the build system is the core's: uv builds all distributions without build environments."""
    if it.pyproject.get("build-system") != core.pyproject["build-system"]:
        yield str(it.pyproject.get("build-system"))


def sources_in_the_workspace(it, core) -> Iterator[str]:
    """Fix: `[tool.uv.sources]` has `{ workspace = true }` for each requirement on a distribution of ours, no other."""
    ours = {name for name in {**it.requirements, **it.extras} if name.startswith("esper-")}
    found = it.pyproject.get("tool", {}).get("uv", {}).get("sources", {})
    if found != {name: {"workspace": True} for name in ours}:
        yield f"sources {sorted(found)}"


Mutation = tuple[str, str, str]

#: Each rule, and a change of one file of a sound distribution that breaks it.
RULES: dict[Callable[..., Iterator[str]], Mutation] = {
    named_as_its_folder: ("pyproject.toml", 'name = "esper-task-vision"', 'name = "esper-vision"'),
    one_package: ("pyproject.toml", 'name = "esper-task-vision"', 'name = "esper-task-images"'),
    version_of_the_core: ("pyproject.toml", f'version = "{__version__}"', 'version = "0.0.9"'),
    python_of_the_core: ("pyproject.toml", ">=3.11", ">=3.10"),
    licence_of_the_core: ("pyproject.toml", '"MIT"', '"BSD-2-Clause"'),
    found_by_keyword: ("pyproject.toml", '"esper-plugin", ', ""),
    described: ("pyproject.toml", 'description = "', f'description = "{"very " * 30}'),
    range_of_esper: ("pyproject.toml", "esper-core>=0.1,<1", "esper-core>=0.1"),
    lower_bounds: ("pyproject.toml", "scikit-learn>=1.4", "scikit-learn"),
    entry_point: ("pyproject.toml", 'task-vision = "', 'vision = "'),
    declares_the_api: ("src/esper_task_vision/plugin.py", "ESPER_API", "ESPER_APIS"),
    readme_shows_its_use: ("README.md", "pip install esper-task-vision\n", "pip install esper-task-text\n"),
    typed: ("src/esper_task_vision/py.typed", "", ""),
    has_tests: ("tests", "", ""),
    built_by_uv: ("pyproject.toml", "uv_build>=0.9,<1", "uv_build"),
    sources_in_the_workspace: ("pyproject.toml", "esper-core = { workspace = true }", ""),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_distribution(rule, plugins, core):
    broken = [f"{it.name}: {problem}" for it in plugins for problem in rule(it, core)]
    assert not broken, "\n".join([rule.__doc__, *broken])


@pytest.mark.parametrize(("rule", "mutation"), RULES.items(), ids=lambda it: getattr(it, "__name__", ""))
def test_a_mutant_breaks_its_rule(rule, mutation, mutant, core):
    assert list(rule(mutant(*mutation), core)), f"{rule.__name__} overlooks {mutation}"


def test_the_standard_distribution_holds_the_standard_plugins(standard, plugins):
    members = {it.name for it in plugins if it.name.split("-")[1] in FAMILIES and set(it.requirements) <= LIGHT}
    fix = "make the dependencies of esper-standard those plugins that a run may name and that need nothing heavy"
    assert set(standard.requirements) == members - BY_NAME | APPLICATION | {"esper-core"}, fix
    assert members >= BY_NAME


def test_the_package_has_the_version_of_its_distribution(core):
    assert core.project["version"] == __version__, "esper_core/__init__.py and pyproject.toml name the same version"


def test_no_two_test_files_have_one_name(root):
    files = [path for folder in ("tests", "plugins", "examples") for path in root.glob(f"{folder}/**/test_*.py")]
    names = [path.name for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"rename one of each, so that a name in a report says which: {twice}"
