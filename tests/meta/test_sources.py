"""What the sources keep to: who imports what, and what is declared."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen
from packaging.requirements import Requirement

#: What a plugin may import of the core.
OPEN_MODULES = {f"esper_core.{name}" for name in ("hooks", "specs", "api", "nn", "testing")}

#: What some families may import besides: adapters grow other people's networks, a host of other people's networks finds
#: out what they do as `grow` does, sinks show runs, tasks load published data, buses carry messages, stores keep
#: artifacts, compilers make them, services keep programs running, apps do all of this and start runs as well.
FAMILY_MODULES = {
    "esper-adapter-": {"esper_core.adapting", "esper_distributed", "esper_growing"},
    "esper-adapter-gymnasium": {"esper_learning"},
    "esper-app-bench": {"esper_studies"},
    "esper-app-bus": {"esper_leyline_proto.conversion", "esper_messaging", "esper_oona.api"},
    "esper-app-catalogue": {"esper_karn.api", "esper_testing"},
    "esper-app-dashboard": {"esper_oona.api", "esper_weatherlight.api"},
    "esper-app-forge": {
        *("esper_leyline_proto.kernels", "esper_messaging", "esper_modules.api", "esper_oona.api"),
        *("esper_tezzeret.api", "esper_urza.api"),
    },
    "esper-app-simic": {
        *("esper_adapter_gymnasium", "esper_leyline_proto", "esper_messaging", "esper_oona.api"),
        "esper_simic.api",
    },
    "esper-app-store": {"esper_urza.api"},
    "esper-app-up": {"esper_oona.api", "esper_weatherlight.api"},
    "esper-bus-": {"esper_oona.api", "esper_oona.kinds"},
    "esper-bus-memory": {"esper_bus_sqlite.log"},
    "esper-compiler-": {"esper_tezzeret.api", "esper_tezzeret.kinds"},
    "esper-executor-ray": {f"esper_executor_processes.{it}" for it in ("messages", "remote_executor", "worker")},
    "esper-executor-torchrun": {
        *(f"esper_distributed.{it}" for it in ("ranks", "run_host")),
        *(
            f"esper_executor_processes.{it}"
            for it in ("dispatch", "messages", "remote_executor", "remote_host", "worker")
        ),
    },
    "esper-host-grown": {"esper_app.api", "esper_export"},
    "esper-host-hf": {"esper_growing.probing"},
    "esper-policy-": {"esper_learning"},
    "esper-service-": {
        "esper_app.api",
        "esper_oona.api",
        "esper_oona.kinds",
        "esper_runs",
        "esper_weatherlight.api",
        "esper_weatherlight.kinds",
    },
    "esper-service-nissa": {"esper_alerts", "esper_leyline_proto", "esper_messaging"},
    "esper-sink-": {"esper_runs"},
    "esper-sink-alerts": {"esper_alerts"},
    "esper-sink-prometheus": {"esper_alerts"},
    "esper-store-": {"esper_oona.api", "esper_runs", "esper_urza.api", "esper_urza.kinds"},
    "esper-task-": {"esper_public_data"},
    "esper-app-": {"esper_core.adapting", "esper_app.api", "esper_export", "esper_learning", "esper_runs"},
}

#: What no description may pull in: listing plugins would import it.
HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "transformers", "datasets", "tokenizers", "esper_core.nn"}

#: Distributions that are parts of the house, not guests: they may use what is not public.
HOUSE = {
    "esper-alerts",
    "esper-app",
    "esper-distributed",
    "esper-export",
    "esper-growing",
    "esper-karn",
    "esper-learning",
    "esper-leyline-proto",
    "esper-messaging",
    "esper-modules",
    "esper-nissa",
    "esper-oona",
    "esper-runs",
    "esper-simic",
    "esper-studies",
    "esper-testing",
    "esper-tezzeret",
    "esper-urza",
    "esper-weatherlight",
}

#: Modules that are not named as the distribution that provides them; a package inside of one goes before it.
PROVIDERS = {
    "nats": "nats-py",
    "PIL": "pillow",
    "google.protobuf": "protobuf",
    "mlflow": "mlflow-skinny",
    "opentelemetry": "opentelemetry-api",
    "opentelemetry.exporter.otlp.proto.common": "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "sklearn": "scikit-learn",
}

#: Where code is that only development needs.
DEVELOPMENT = ("tests/**/*.py", "plugins/*/tests/**/*.py", "tools/**/*.py", "docs/*.py", "docs/_ext/*.py")


@frozen
class Import:
    """One imported module; `deferred` if it is inside a function."""

    module: str
    line: int
    deferred: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def provider(self) -> str | None:
        """The distribution that it comes from, None for the standard library."""
        if self.top in sys.stdlib_module_names:
            return None
        parts = self.module.split(".")
        packages = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((PROVIDERS[it] for it in packages if it in PROVIDERS), self.top.replace("_", "-"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path, *, for_types: bool = True) -> Iterator[Import]:
    """Yield a file's imports; `for_types`: also those that only a type checker sees."""
    yield from _imports(parse(path), deferred=False, for_types=for_types)


def _imports(node: ast.AST, *, deferred: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING") and not for_types:
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(name, child.lineno, deferred) for name in _modules(child))
        inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, deferred=inside, for_types=for_types)


def _modules(node: ast.ImportFrom) -> list[str]:
    # "from esper_core import nn" imports esper_core.nn; "from esper_core.api import Site" imports esper_core.api.
    module = f"{'.' * node.level}{node.module or ''}"
    return [f"{module}.{alias.name}" for alias in node.names] if "." not in module else [module]


def foreign_imports_of_esper(it) -> Iterator[str]:
    """Fix: import esper_core.{hooks, specs, api, nn} and what FAMILY_MODULES says, no plugin; absolute imports."""
    if it.name in HOUSE:
        return
    more = [modules for family, modules in FAMILY_MODULES.items() if it.name.startswith(family)]
    open_modules = OPEN_MODULES.union(*more)
    for path in it.modules():
        for found in imports(path):
            ours = found.top.startswith("esper_") or found.module.startswith(".")
            is_open = any(f"{found.module}.".startswith(f"{module}.") for module in open_modules)
            if ours and found.top != it.package and not is_open:
                yield f"{path.name}:{found.line} imports {found.module}"


def reached_through(it) -> Iterator[str]:
    """Fix: an adapter calls methods of the handle; what it needs of growth, slots or seeds becomes one."""
    public = tuple(FAMILY_MODULES["esper-adapter-"])
    adapts = it.name not in HOUSE and any(
        found.module.startswith(public) for path in it.modules() for found in imports(path)
    )
    for path in it.modules() if adapts else ():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("growth", "grower"):
                yield f"{path.name}:{node.lineno} reaches through .{node.attr}"


def heavy_descriptions(it) -> Iterator[str]:
    """Fix: plugin.py and config.py name things by import strings; what computes stands in other modules."""
    waiting = [path for path in (it.sources / "plugin.py", it.sources / "config.py") if path.is_file()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        for found in imports(path, for_types=False):
            if found.top in HEAVY or ".".join(found.module.split(".")[:2]) in HEAVY:
                yield f"{path.name}:{found.line} imports {found.module}"
            own = it.sources.parent.joinpath(*found.module.split(".")).with_suffix(".py")
            if found.top == it.package and own.is_file() and own not in seen:
                seen.add(own)
                waiting.append(own)


def undeclared_imports(it) -> Iterator[str]:
    """Fix: declare in `dependencies` what is imported; an extra will do in functions, and in a package `testing`."""
    for path in it.modules():
        optional = path.parent == it.sources / "testing"
        for found in imports(path, for_types=False):
            declared = {None, it.name, *it.requirements, *(it.extras if found.deferred or optional else ())}
            if found.provider not in declared:
                yield f"{path.name}:{found.line} imports {found.module}"


def unused_dependencies(it) -> Iterator[str]:
    """Fix: drop from `dependencies` what the package does not import."""
    used = {found.provider for path in it.modules() for found in imports(path)}
    text = "".join(path.read_text() for path in it.modules())
    if ".numpy()" in text:  # torch brings no numpy along
        used.add("numpy")
    if "redis" in used:  # which takes it by itself where it is there
        used.add("hiredis")
    # Of a package whose data are read it is enough to find it.
    used |= {PROVIDERS.get(name, name.replace("_", "-")) for name in re.findall(r'find_spec\("(\w+)"\)', text)}
    if it.name != "esper-standard":
        yield from sorted(set(it.requirements) - used)


PLUGIN, TASKS = "src/esper_task_vision/plugin.py", "src/esper_task_vision/tasks.py"
API, CORE = 'ESPER_API = "2.0"\n', "from esper_core.api import"
EXPORT, PUBLIC = "src/esper_app_export/command.py", "from esper_app.api import"
PRIVATE_OF_APPS = (
    "from esper_app.execution.run import execute",
    "from esper_app import execution",
    "import esper_app",
    "from esper_core.leyline.errors import EsperError",
    "import esper_app_report.run_page",
)

#: Each rule, and changes of one file of a sound plugin that break it.
RULES = {
    foreign_imports_of_esper: [
        (PLUGIN, API, f"{API}import esper_core.plugins.loader\n"),
        (PLUGIN, API, f"{API}from esper_core import runtime\n"),
        (PLUGIN, API, f"{API}from . import tasks\n"),
        (PLUGIN, API, f"{API}from esper_core.adapting import forward_flops\n"),
        (PLUGIN, API, f"{API}from esper_growing import grow\n"),
        (PLUGIN, API, f"{API}import esper_sink_jsonl.sink\n"),
        (PLUGIN, API, f"{API}from esper_runs.verdict import verdict\n"),
        ("src/esper_sink_jsonl/plugin.py", API, f"{API}import esper_core.adapting\n", "esper-sink-jsonl"),
        ("src/esper_sink_jsonl/plugin.py", API, f"{API}import esper_runs_of_mine\n", "esper-sink-jsonl"),
        ("src/esper_sink_jsonl/plugin.py", API, f"{API}from esper_app.api import execute\n", "esper-sink-jsonl"),
        *((EXPORT, PUBLIC, f"{line}\n{PUBLIC}", "esper-app-export") for line in PRIVATE_OF_APPS),
    ],
    reached_through: [
        (TASKS, CORE, f"from esper_growing import grow\ngrow().growth.slot_set\n{CORE}"),
        (TASKS, CORE, f"from esper_core.adapting import forward_flops\nforward_flops.grower\n{CORE}"),
    ],
    heavy_descriptions: [
        (PLUGIN, API, f"{API}import torch.nn\n"),
        (PLUGIN, API, f"{API}from esper_core import nn\n"),
        (PLUGIN, API, f"{API}from esper_task_vision.tasks import VisionTask\n"),
    ],
    undeclared_imports: [
        (TASKS, CORE, f"import pluggy\n{CORE}"),
        (TASKS, CORE, f"import datasets\n{CORE}"),
        ("pyproject.toml", '    "attrs>=24.2",\n', ""),
    ],
    unused_dependencies: [("pyproject.toml", '    "attrs>=24.2",\n', '    "attrs>=24.2",\n    "click>=8.2.1",\n')],
}
MUTANTS = [(rule, mutation) for rule, mutations in RULES.items() for mutation in mutations]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_distribution(rule, plugins, core):
    checked = plugins if rule in {foreign_imports_of_esper, reached_through, heavy_descriptions} else [core, *plugins]
    broken = [f"{it.name}: {problem}" for it in checked for problem in rule(it)]
    assert not broken, "\n".join([rule.__doc__, *broken])


@pytest.mark.parametrize(("rule", "mutation"), MUTANTS, ids=lambda it: getattr(it, "__name__", ""))
def test_a_mutant_breaks_its_rule(rule, mutation, mutant):
    assert list(rule(mutant(*mutation))), f"{rule.__name__} overlooks {mutation}"


def test_what_the_tests_import_is_installed_by_the_development_group(root, core, plugins):
    declared = {name for it in [core, *plugins] for name in [it.name, *it.requirements]} | group(core)
    files = [path for pattern in DEVELOPMENT for path in root.glob(pattern)]
    beside = {(path.parent if path.stem == "__init__" else path).stem.replace("_", "-") for path in files}
    found = {it.provider: path.name for path in files for it in imports(path)}
    missing = {name: path for name, path in found.items() if name not in {None, *declared, *beside}}
    assert not missing, f"add to the dependency group `dev` in pyproject.toml: {missing}"


def test_extras_are_installed_by_the_development_group(core, plugins):
    ours = {it.name for it in plugins}
    missing = {name: it.name for it in [core, *plugins] for name in it.extras if name not in group(core) | ours}
    assert not missing, f"add to the dependency group `dev` in pyproject.toml, since tests use it: {missing}"


def group(core) -> set[str]:
    return {Requirement(line).name for line in core.pyproject["dependency-groups"]["dev"]}
