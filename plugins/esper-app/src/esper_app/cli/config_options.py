"""The options that configure a run, the same for every command that needs a configuration."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import field, frozen

from esper_app.configuration.training import Compiled, MemoryFormat, Precision
from esper_core.leyline.specs import ExecutorSpec, HostSpec, PolicySpec

#: Options that are settings by another name: the key, the values, the help.
_SHORT = {
    "device": ("device", None, "Where the tensors live: cpu, cuda, cuda:1, xpu or mps."),
    "precision": ("training.precision", Precision, "Of matrix products; fp16 on CUDA only."),
    "memory_format": ("training.memory_format", MemoryFormat, "Of images; host: as the host has them."),
    "compile": ("training.compile", Compiled, "What torch.compile compiles."),
}


@frozen(kw_only=True)
class ConfigOptions:
    """What the command line says about the configuration.

    Attributes:
        file: the configuration file.
        settings: dotted key and value of each dedicated option that was given.
        sets: the texts of ``--set``; they go before dedicated options.
        bus: the address of a bus; it stands for the section ``bus``.
        store: the address of a store; it stands for the section ``store``.
        state: the state directory that was named.
        inside: the run's directory that the file belongs to: nothing in it may be a link. None: it is the user's own.
    """

    file: Path | None = None
    settings: dict[str, Any] = field(factory=dict)
    sets: tuple[str, ...] = ()
    bus: str | None = None
    store: str | None = None
    state: Path | None = None
    inside: Path | None = None


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the configuration options to a command; it receives them as the keyword argument `config_options`."""

    @click.option(
        "--config", "-c", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="A configuration file."
    )
    @click.option(
        "--host", metavar="NAME", shell_complete=complete_names(HostSpec.kind), help="The network that grows."
    )
    @click.option("--hosts", metavar="N", type=int, help="How many networks grow; the seed of each is one higher.")
    @click.option(
        "--executor",
        metavar="NAME",
        shell_complete=complete_names(ExecutorSpec.kind),
        help="Where they are trained: serial, processes or auto; torchrun or ray where its distribution is installed.",
    )
    @click.option("--devices", metavar="NAMES", help="Spread them over these devices, such as cuda:0,cuda:1.")
    @click.option(
        "--policy",
        metavar="NAME|PATH",
        shell_complete=complete_names(PolicySpec.kind),
        help="What decides: a policy's name, a saved policy, such as runs/digits-1/policy, or `champion`.",
    )
    @_short_options
    @click.option(
        "--set",
        "-s",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="A setting by its dotted key, such as optimizer.lr=0.05; the value is TOML or a bare word. Repeatable. "
        "`esper config show TASK` lists the keys.",
    )
    @wraps(command)
    def with_config_options(
        *args: Any,
        config_file: Path | None,
        host: str | None,
        hosts: int | None,
        executor: str | None,
        devices: str | None,
        policy: str | None,
        sets: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        given: dict[str, Any] = {
            "host.name": host,
            "hosts": hosts,
            "executor.name": executor,
            _policy_key(policy): policy,
        }
        given["devices"] = None if devices is None else [name.strip() for name in devices.split(",")]
        given |= {key: kwargs.pop(name) for name, (key, _, _) in _SHORT.items()}
        settings = {key: value for key, value in given.items() if value is not None}
        options = ConfigOptions(file=config_file, settings=settings, sets=sets)
        return command(*args, config_options=options, **kwargs)

    return with_config_options


def _policy_key(policy: str | None) -> str:
    if policy is None or (Path(policy).name == policy and policy != "champion"):
        return "policy.name"
    # Imported here: help needs none of it.
    from esper_app.configuration.policy_card import is_saved_policy

    return "policy.saved" if is_saved_policy(policy) else "policy.name"


def _short_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, (_, values, text) in reversed(_SHORT.items()):
        kind = click.Choice([value.value for value in values]) if values else None
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, metavar=None if kind else "NAME", type=kind, help=text)(command)
    return command


def complete_names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a completion of component names of this kind."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        from esper_core.plugins.loader import load_plugins

        names = load_plugins(tolerant=True).registry.names(kind)
        return [name for name in names if name.startswith(incomplete)]

    return complete
