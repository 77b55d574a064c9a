"""``esper compare``: policies and settings on the same random seeds."""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import ConfigOptions, PluginOptions, config_options, locked_option, plugin_options
from esper_app_bench.shared_options import Progress, jobs_option, parse_seeds, retry_option
from esper_runs.printing import echo, echo_json

if TYPE_CHECKING:
    from esper_app_bench.comparing import ArmResult, ComparedRun
    from esper_studies import RunRequest, Study

#: Settings that the comparison decides.
_OURS = ("seed", "runs", "name", "hosts")

PAGE = "compare.html"


@click.command(short_help="Compare policies and settings on the same random seeds.")
@click.argument("task")
@click.argument("arms", metavar="ARM...", nargs=-1, required=True)
@click.option(
    "--seeds", metavar="SEEDS", default="0-4", show_default=True, callback=parse_seeds, help="Such as 0-4 or 1,3,7-9."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("study"),
    show_default=True,
    metavar="DIR",
    help="Directory of the runs and the report. What is there already is not run again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as data.")
@jobs_option
@retry_option
@config_options
@plugin_options
@locked_option
def compare(
    task: str,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    output: Path,
    as_json: bool,
    jobs: int,
    retry_failed: bool,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Run TASK in every ARM with the same random seeds, and compare all arms with the first one, seed by seed.

    ARM is the name of a policy, a saved policy, or settings as for --set, joined by +: heuristic, runs/a-1/policy,
    lifecycle.incubation=none+lifecycle.ramp_epochs=0. Other options are those of `esper run`, for all arms. Every run
    is compared with its own twin and control as well, unless --set twin=none.
    """
    if len(set(arms)) < len(arms):
        raise click.UsageError("an arm is given twice")
    _refuse_ours(arms, config_options)
    # Imported here: help needs none of it.
    from esper_app_bench.comparing import arm_request, arm_results, compared_run
    from esper_studies import Study, mixed_sources

    places = [(arm, seed) for seed in seeds for arm in arms]
    requests = [arm_request(task, arm, config_options, seed) for arm, seed in places]
    progress = Progress()
    with Study(output, plugin_options, jobs=jobs, retry_failed=retry_failed, told=progress.told) as study:
        progress.part(f"{task}: {_count(arms, 'arm')}, {_count(seeds, 'random seed')}")
        constant = _constant_answer(study, requests[0])
        runs = [
            compared_run(arm, seed, run, constant)
            for (arm, seed), run in zip(places, study.run(requests), strict=True)
            if run is not None
        ]
    if len(runs) < len(places):
        echo("interrupted; the same command goes on where it was", err=True)
        click.get_current_context().exit(130)
    results = arm_results([run for arm in arms for run in runs if run.arm == arm])
    mixed = mixed_sources(run.run for run in runs)
    remarks = [f"Not all runs were made by the same code: {', '.join(mixed)} changed in between."] if mixed else []
    _write(output, task, runs, results, remarks)
    if as_json:
        echo_json(_data(results))
    else:
        _print(runs, results, remarks)
        echo(f"report: {output / PAGE}")


def _refuse_ours(arms: tuple[str, ...], options: ConfigOptions) -> None:
    from esper_app_bench.comparing import parts_of

    sets = [*options.sets, *(part for arm in arms for part in parts_of(arm))]
    given = {*options.settings, *(it.partition("=")[0].strip() for it in sets if "=" in it)}
    for key in _OURS:
        if key in given:
            says = {"seed": "--seeds names the random seeds", "hosts": "--seeds repeats an arm"}
            raise click.UsageError(f"{key} cannot be set here: {says.get(key, '--output says where the runs are')}")
    named = [arm for arm in arms if any("=" not in part for part in parts_of(arm))]
    if named and {"policy.name", "policy.saved"} & options.settings.keys():
        raise click.UsageError(f'arm "{named[0]}" names a policy, so --policy would not count; leave it out')


def _count(what: Sequence[object], name: str) -> str:
    return f"{len(what)} {name}{'' if len(what) == 1 else 's'}"


def _constant_answer(study: "Study", request: "RunRequest") -> Any:
    """Loss and accuracy of the constant answer; worked out when a run has failed, since it loads the data."""

    @cache
    def found() -> tuple[float, float | None]:
        from esper_app.api import prospects

        resolved = study.resolve(request)
        (prospect,) = prospects([resolved.configuration], resolved.plugins)
        return prospect.constant_loss, prospect.constant_accuracy

    return found


def _print(runs: "list[ComparedRun]", results: "tuple[ArmResult, ...]", remarks: list[str]) -> None:
    from esper_app_bench.comparing import EXPLAINED, arm_results_table, run_table, said
    from esper_runs.terminal import Terminal

    terminal = Terminal(sys.stdout)
    terminal.print(terminal.section("runs", "", terminal.table(run_table(runs)), ""))
    terminal.print(terminal.section("arms", "", terminal.table(arm_results_table(results)), ""))
    for sentence in (*said(results), *remarks):
        terminal.print(terminal.paragraph(sentence))
    terminal.print("", terminal.paragraph(EXPLAINED, "dim"), "")


def _write(
    output: Path, task: str, runs: "list[ComparedRun]", results: "tuple[ArmResult, ...]", remarks: list[str]
) -> None:
    from esper_app_bench.comparing import EXPLAINED, arm_results_table, run_table, said
    from esper_app_bench.page import page, run_grid, run_link
    from esper_runs.formatting import loss
    from esper_runs.html.markup import element, note, table
    from esper_runs.run_directory import write_atomically

    seeds = sorted({run.seed for run in runs})
    rows = [
        (it.arm, [run_link(run.run, loss(run.loss)) for run in sorted(it.runs, key=lambda one: one.seed)])
        for it in results
    ]
    grid = run_grid("test loss in nats of every run, with its directory", "arm", [f"seed {it}" for it in seeds], rows)
    sentences = element("ul", *(element("li", it) for it in (*said(results), *remarks)))
    parts = [
        ("What it says", [sentences, table(arm_results_table(results), "arms"), note(EXPLAINED)]),
        ("Runs", [grid, table(run_table(runs), "every run beside its twin and its control")]),
    ]
    write_atomically(output / PAGE, page(f"Esper: {task}, {len(results)} arms", parts).encode())


def _data(results: "tuple[ArmResult, ...]") -> list[dict[str, Any]]:
    from esper_core.api import plain

    return [
        {
            "arm": it.arm,
            "gain_at_equal_compute": plain(it.gain),
            "gain_to_first": plain(it.to_first),
            "p_corrected": it.p,
            "runs": [
                {
                    "seed": run.seed,
                    "directory": str(run.run.directory),
                    "failure": run.run.failure,
                    "loss": run.loss,
                    "accuracy": run.accuracy,
                    "gain_at_equal_compute": run.gain(),
                    "verdict": run.judgement,
                    "figures": plain(run.figures),
                }
                for run in it.runs
            ],
        }
        for it in results
    ]
