"""``esper eval``: what a policy is worth on random seeds, beside others."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from esper_app.api import (
    ConfigOptions,
    PluginOptions,
    Resolved,
    config_options,
    is_saved_policy,
    locked_option,
    plugin_options,
    read_policy_card,
    resolve_command,
    saved_policy_path,
)
from esper_core.api import EsperError
from esper_runs.printing import echo, echo_json

if TYPE_CHECKING:
    from esper_app_train.evaluation import Evaluation

#: What an evaluation has where nobody says otherwise.
DEFAULTS: Mapping[str, Any] = {"sinks.names": [], "rewards.preset": "shaped", "twin": "epochs"}

#: Where a run says to others what happens in it.
_HEARD_BY = ("sinks.names", "bus.name")

#: The option by which a policy says whether it draws its actions.
_SAMPLE = "sample"


def _seeds(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Return the seeds of a text such as 0-4 or 1,3,7-9."""
    found: list[int] = []
    for part in value.split(","):
        if not (matched := re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)):
            raise click.BadParameter(f"{value!r} is not a list of seeds such as 0-4 or 1,3,7-9")
        first = int(matched[1])
        found += range(first, int(matched[2] or first) + 1)
    if not found or len(set(found)) < len(found):
        raise click.BadParameter(f"{value!r} names no seed, or one twice")
    return tuple(found)


@click.command("eval", short_help="Judge a policy on random seeds, beside others.")
@click.argument("judged", metavar="POLICY")
@click.argument("task")
@click.option(
    "--seeds", metavar="SEEDS", default="0-5", show_default=True, callback=_seeds, help="Such as 0-4 or 1,3,7-9."
)
@click.option(
    "--against", multiple=True, metavar="POLICY", help="Compare with another policy, seed by seed. Repeatable."
)
@click.option(
    "--sampled/--deterministic", default=None, help="Only with drawn, or only with the most probable actions."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as data.")
@config_options
@plugin_options
@locked_option
def evaluate(
    judged: str,
    task: str,
    seeds: tuple[int, ...],
    against: tuple[str, ...],
    sampled: bool | None,
    as_json: bool,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Run POLICY on TASK with several random seeds, each beside its twin, and say how good it is.

    POLICY is a policy's name, a saved policy such as runs/digits-1/policy, or the directory of a training. A policy
    that can draw its actions is judged twice: drawing them, and taking the most probable ones. All policies have the
    rewards that the first one was trained with, unless --set rewards.preset=NAME says otherwise. Nothing is written,
    and nothing is published: sinks and a bus of a configuration file are named and left out.
    """
    if "policy.name" in config_options.settings or "policy.saved" in config_options.settings:
        raise click.UsageError("the policy is the first argument; name others with --against")
    defaults = {**DEFAULTS, **_rewards_of(judged)}
    found: list[Evaluation] = []
    for name in (judged, *against):
        for title, options in _modes(name, task, sampled, config_options, plugin_options, defaults):
            resolved = resolve_command(task, options, plugin_options, defaults)
            if not found:
                _name_what_is_left_out(resolved)
            found.append(_judged(title, resolved, seeds))
    _print(found, as_json)


def _name_what_is_left_out(resolved: Resolved) -> None:
    """Say that sinks and a bus hear nothing, which may stand in a file of runs; who asks for them now is refused."""
    for path in _HEARD_BY:
        section, origin = path.partition(".")[0], resolved.configuration.origin(path)
        if not _asked_for(resolved, section):
            continue
        source = resolved.configuration.source(path)
        if origin == "cli":
            what = f"an evaluation writes and publishes nothing, and has no use for the section `{section}`"
            raise EsperError("E202", what, where=f"{path}, from {source}", fix=f"leave `{section}` out")
        if origin == "file":
            echo(f"`{path}` of {source} is left out: an evaluation writes and publishes nothing", err=True)


def _asked_for(resolved: Resolved, section: str) -> bool:
    config = resolved.configuration.config
    return bool(config.sinks.names) if section == "sinks" else config.section(section) is not None


def _judged(title: str, resolved: Resolved, seeds: tuple[int, ...]) -> "Evaluation":
    # Imported here: help needs no torch.
    from esper_app_train.evaluation import evaluate

    shown = sys.stderr.isatty()

    def told(done: int, of: int) -> None:
        if shown:
            echo(f"\r{title}: epoch {done} of {of} " + "\n" * (done == of), err=True, nl=False)

    return evaluate(title, resolved, seeds, told)


def _print(found: "list[Evaluation]", as_json: bool) -> None:
    from esper_app_train.evaluation_page import as_data, evaluation_page
    from esper_runs.terminal import Terminal

    if as_json:
        echo_json(as_data(found))
    else:
        terminal = Terminal(sys.stdout)
        terminal.print(*evaluation_page(found, terminal))


def _modes(
    name: str,
    task: str,
    sampled: bool | None,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
    defaults: Mapping[str, Any],
) -> Iterator[tuple[str, ConfigOptions]]:
    """The ways in which a policy is judged, with the configuration of each."""
    key = "policy.saved" if is_saved_policy(name) else "policy.name"
    options = evolve(config_options, settings={**config_options.settings, key: name})
    resolved = resolve_command(task, options, plugin_options, defaults)
    if _SAMPLE not in resolved.configuration.config.policy.options:
        yield name, options
        return
    for draws in (True, False) if sampled is None else (sampled,):
        title = f"{name} ({'sampled' if draws else 'deterministic'})"
        yield title, evolve(options, settings={**options.settings, f"policy.{_SAMPLE}": draws})


def _rewards_of(policy: str) -> dict[str, Any]:
    """The rewards that a saved policy was trained with."""
    if not is_saved_policy(policy):
        return {}
    return read_policy_card(saved_policy_path(policy)).reward_settings()
