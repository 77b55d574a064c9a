"""``esper imitate``: teach a policy what recorded runs did, before it learns from rewards."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from esper_app.api import (
    ConfigOptions,
    PluginOptions,
    Resolved,
    config_options,
    locked_option,
    plugin_options,
    resolve_begun_run,
    resolve_command,
)
from esper_runs.printing import echo

if TYPE_CHECKING:
    from esper_core.api import Trajectory
    from esper_runs.run_directory import RunDirectory

#: What the policy that is taught has where nobody says otherwise: as in a training.
DEFAULTS: Mapping[str, Any] = {"policy.name": "ppo", "rewards.preset": "shaped", "sinks.names": [], "twin": "epochs"}


@click.command(short_help="Teach a policy what recorded runs did.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--to", "folder", metavar="FOLDER", required=True, type=click.Path(path_type=Path), help="Where it is saved."
)
@click.option(
    "--passes",
    metavar="N",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How often it goes over what was decided.",
)
@config_options
@plugin_options
@locked_option
def imitate(
    runs: tuple[Path, ...],
    folder: Path,
    passes: int,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Teach a policy to decide as those of the RUNs did, whatever they were, and save it in FOLDER.

    The policy is `ppo` unless --policy says otherwise; a saved policy is taught further. Task, host and blueprints are
    those of the first run. The runs are gone through again from their beginnings, which takes as long as they took, and
    what is repeated is compared with the record. Afterwards the policy can run, and be trained further:
    `esper train TASK --policy FOLDER`.
    """
    # Imported here: help needs no torch.
    from esper_app_train.imitation import taught
    from esper_runs.run_list import locate_run

    teachers = [(directory, resolve_begun_run(directory, plugin_options)) for directory in map(locate_run, runs)]
    options = evolve(config_options, settings={**_as_in(teachers[0][1]), **config_options.settings})
    resolved = resolve_command(None, options, plugin_options, DEFAULTS)
    figures = taught(resolved, teachers, folder, passes, _told)
    said = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
    echo(f"{folder}: taught by {', '.join(directory.name for directory, _ in teachers)}; {said}")
    task = resolved.task.name
    echo(f"train it further: {shlex.join(['esper', 'train', task, '--policy', str(folder)])}")


def _told(directory: "RunDirectory", trajectories: "Sequence[Trajectory]", compared: int) -> None:
    steps = sum(len(it.steps) for it in trajectories)
    echo(f"{directory.name}: {steps} decisions; {compared} events are as they were recorded", err=True)


def _as_in(teacher: Resolved) -> dict[str, Any]:
    """Return, by dotted key, the settings of a run that the policy must have alike, and what its card says of it."""
    tree = teacher.configuration.config.tree()
    found = {"epochs": tree["epochs"], "policy.blueprints": tree["policy"]["blueprints"]}
    for section in ("task", "host", "blueprints"):
        found |= {f"{section}.{name}": value for name, value in tree[section].items()}
    return {name: value for name, value in found.items() if value is not None}
