"""The first-party distributions by name, so that a missing one can be suggested with its `pip install` line."""

from collections.abc import Iterable
from difflib import get_close_matches

from esper_core.leyline.errors import did_you_mean
from esper_core.leyline.specs import Kind

#: The family in a distribution's name, by kind: ``esper-<family>-<name>``.
FAMILY_BY_KIND = {
    Kind.HOST: "host",
    Kind.BLUEPRINT: "blueprint",
    Kind.GATE: "gates",
    Kind.REWARD_TERM: "rewards",
    Kind.POLICY: "policy",
    Kind.SINK: "sink",
    Kind.TASK: "task",
}

#: The distributions of this project. Only these are ever suggested: a guessed name could be anybody's.
FIRST_PARTY = frozenset(
    {
        "esper-adapter-lightning",
        "esper-adapter-transformers",
        "esper-app",
        "esper-app-export",
        "esper-app-new",
        "esper-app-report",
        "esper-blueprint-attention",
        "esper-blueprint-bottleneck",
        "esper-blueprint-conv-heavy",
        "esper-blueprint-conv-light",
        "esper-blueprint-depthwise",
        "esper-blueprint-flex-attention",
        "esper-blueprint-group-norm",
        "esper-blueprint-layer-norm",
        "esper-blueprint-lora",
        "esper-blueprint-mlp",
        "esper-blueprint-noop",
        "esper-blueprint-squeeze-excite",
        "esper-gates-standard",
        "esper-host-cnn",
        "esper-host-hf",
        "esper-host-transformer",
        "esper-policy-baselines",
        "esper-policy-heuristic",
        "esper-runs",
        "esper-sink-console",
        "esper-sink-jsonl",
        "esper-standard",
        "esper-task-teacher",
        "esper-task-text",
        "esper-task-vision",
        "esper-testing",
    }
)

#: Those that are no plugins: adapters are imported in other frameworks' loops, the application and its libraries are no
#: part of a run, and the standard distribution has no code. No run can miss one as a plugin.
LIBRARIES = frozenset(
    {
        "esper-adapter-lightning",
        "esper-adapter-transformers",
        "esper-app",
        "esper-app-export",
        "esper-app-new",
        "esper-app-report",
        "esper-runs",
        "esper-standard",
        "esper-testing",
    }
)

#: Components (gate sets, for gates) whose distribution is not named after them.
_EXCEPTIONS = {
    (Kind.GATE, "permissive"): "esper-gates-standard",
    (Kind.GATE, "strict"): "esper-gates-standard",
    (Kind.POLICY, "null"): "esper-policy-baselines",
    (Kind.POLICY, "random"): "esper-policy-baselines",
    (Kind.TASK, "cifar10"): "esper-task-vision",
    (Kind.TASK, "digits"): "esper-task-vision",
    (Kind.TASK, "fashion-mnist"): "esper-task-vision",
    (Kind.TASK, "tinystories"): "esper-task-text",
}


def conventional_distribution(kind: Kind, name: str) -> str:
    """Return the distribution that offers this component, or gate set, if its author kept to the naming convention."""
    return _EXCEPTIONS.get((kind, name), f"esper-{FAMILY_BY_KIND[kind]}-{name}")


def install_line(kind: Kind, name: str) -> str | None:
    """Return the shell line that installs a first-party component, None if there is no such component."""
    return _pip_line(conventional_distribution(kind, name))


def install_line_for_plugin(name: str) -> str | None:
    """Return the shell line that installs a first-party plugin, given its plugin or distribution name."""
    return _pip_line(name if name.startswith("esper-") else f"esper-{name}")


def suggest(name: str, known: Iterable[str], install: str | None) -> str:
    """Say what to do about an unknown name: install it, take the nearest known one, or at least what is known."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    meant = did_you_mean(name, names) if near or not install else None
    return ", or ".join(text for text in (install, meant) if text)


def _pip_line(distribution: str) -> str | None:
    return f"pip install {distribution}" if distribution in FIRST_PARTY - LIBRARIES else None
