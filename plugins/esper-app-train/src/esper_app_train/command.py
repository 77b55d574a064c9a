"""``esper train``: train a policy that learns."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from esper_app.api import (
    ConfigOptions,
    PluginOptions,
    bus_options,
    config_options,
    locked_option,
    plugin_options,
    resolve_begun_run,
    resolve_command,
    store_options,
)
from esper_core.api import EsperError
from esper_runs.bus_text import bus_lines
from esper_runs.printing import echo

#: What a training has where nobody says otherwise; the display of this command takes the place of the sink `console`.
DEFAULTS: Mapping[str, Any] = {
    "policy.name": "ppo",
    "rewards.preset": "shaped",
    "sinks.names": ["jsonl"],
    "twin": "epochs",
}


@click.command(short_help="Train a policy that learns, over rounds of fresh hosts.")
@click.argument("task", required=False)
@click.option(
    "--rounds", metavar="N", type=click.IntRange(min=1), help="How many rounds to learn from: --set policy.rounds=N."
)
@click.option(
    "--follow",
    is_flag=True,
    help="With --policy champion: the policy does not learn here; between rounds it becomes the new champion, and goes "
    "back to the one before if that did better on the same random seeds.",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Go on with a training that was interrupted or killed: a directory, or a name under runs/; `last` is the "
    "newest one.",
)
@config_options
@bus_options
@store_options
@plugin_options
@locked_option
@click.pass_context
def train(
    ctx: click.Context,
    task: str | None,
    rounds: int | None,
    follow: bool,
    resume: Path | None,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Train a policy on TASK, over rounds of fresh hosts; it learns after each of them.

    The policy is `ppo`, rewarded by the preset `shaped`, unless --policy and --set rewards.preset=NAME say otherwise;
    a saved policy after --policy is trained further. Policies are saved in the run's folder policy/: `best` acted in
    the round with the highest mean return, `last` has learned from all rounds. Ctrl-C stops at the end of the epoch.
    """
    settings: dict[str, Any] = {} if rounds is None else {"policy.rounds": rounds}
    if follow:
        settings["policy.follow"] = True
    # Imported here: help needs neither torch nor rich.
    from esper_app.api import resume_training
    from esper_app.api import train as begin_training
    from esper_app_train.display import TrainingDisplay

    if resume is not None:
        if task or settings or evolve(config_options, state=None) != ConfigOptions():
            raise click.UsageError("--resume goes on with the training's own configuration; it takes no other")
        from esper_runs.run_list import locate_run

        directory = locate_run(resume)
        resolved = resolve_begun_run(directory, plugin_options)
        parts = directory, resolved.configuration, resolved.plugins
        finished = resume_training(*parts, command=sys.argv, strict=plugin_options.strict, display=TrainingDisplay())
    else:
        options = evolve(config_options, settings={**config_options.settings, **settings})
        try:
            resolved = resolve_command(task, options, plugin_options, DEFAULTS)
        except EsperError as error:
            if rounds is None or error.code != "E201" or '"policy.rounds"' not in error.what:
                raise
            raise _no_rounds() from error
        finished = begin_training(
            resolved.configuration,
            resolved.plugins,
            command=sys.argv,
            strict=plugin_options.strict,
            display=TrainingDisplay(),
        )
    _say(finished.directory.path, finished.result, interrupted=finished.interrupted)
    ctx.exit(finished.exit_code)


def _say(path: Path, result: Mapping[str, Any], *, interrupted: bool) -> None:
    """Say where a training is, and what to do with it."""
    echo(f"run: {path}")
    for line in bus_lines(result):
        echo(line)
    rounds_over = result["training"]["rounds"]
    if rounds_over and "following" in rounds_over[-1]:
        echo(f"policy: {rounds_over[-1]['following']['version']} (esper policy ls)")
    elif rounds_over:
        echo(f"use the policy: {shlex.join(['esper', 'run', result['task'], '--policy', str(path / 'policy')])}")
    if interrupted:
        echo(f"go on with: {shlex.join(['esper', 'train', '--resume', str(path)])}")


def _no_rounds() -> EsperError:
    """What an unknown key policy.rounds means to somebody who has written --rounds."""
    why = "it has no option policy.rounds: it does not learn, or says otherwise how long it does"
    fix = "train one that learns, such as ppo: --policy ppo; or leave --rounds out"
    return EsperError("E202", "the policy does not take a number of rounds", where="--rounds", why=why, fix=fix)
