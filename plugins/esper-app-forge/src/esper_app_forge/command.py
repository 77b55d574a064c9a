"""``esper forge``: compile blueprints into a store of artifacts."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, option_values, plugin_options
from esper_app_forge.options import store_option, timeout_option

if TYPE_CHECKING:
    import threading

    from esper_app.api import PluginSet
    from esper_runs.tables import Table
    from esper_tezzeret.api import ForgeQueue, JobStatus, Order, Outcome

#: Of `esper_tezzeret.api`, which is imported only when something is compiled.
PRESETS, DTYPES = ("fast", "aggressive", "emergency"), ("float32", "float64")

#: The shape of a sample for each layout that a blueprint fits, unless shapes are given.
SHAPES = {"NCHW": (16, 16, 16), "BTD": (32, 64), "BD": (64,)}


@click.group(short_help="Compile blueprints into a store of artifacts.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the jobs, the keys and the default store.  [default: ESPER_STATE, or .esper]",
)
def forge(state: Path | None) -> None:
    """Compile blueprints into a store of artifacts, each in a process that can be killed.

    An artifact counts only once it computes what its blueprint computes. Runs take seeds from the store: esper run
    TASK --store URL.
    """
    if state is not None:
        # What looks for the state directory reads it there.
        os.environ["ESPER_STATE"] = str(state)


def _shapes(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    for value in values:
        if not re.fullmatch(r"[1-9][0-9]{0,6}(x[1-9][0-9]{0,6}){0,2}", value):
            raise click.BadParameter(f"{value!r} must be one to three sizes such as 16x8x8, without the batch")
    return tuple(tuple(map(int, value.split("x"))) for value in values)


@contextmanager
def _queue() -> "Iterator[ForgeQueue]":
    import uuid

    from esper_tezzeret.api import ForgeQueue, state_directory

    queue = ForgeQueue(state_directory(), f"forge-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield queue
    finally:
        queue.close()


@forge.command(short_help="Compile blueprints, and go on with jobs that wait.")
@click.option(
    "--blueprint", "names", multiple=True, metavar="NAME", help="A blueprint, or DISTRIBUTION/NAME. Repeatable."
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    callback=_shapes,
    metavar="CxHxW",
    help="Of one sample: 16x16x16 (images), 32x64 (sequences), 64 (vectors). Repeatable.  [default: those of the three "
    "that the blueprint fits]",
)
@click.option("--causal", is_flag=True, help="In sequences, positions see earlier ones only.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Of the activations.")
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="fast",
    show_default=True,
    help="fast: torch.export. aggressive: machine code where that can be made, else torch.export. emergency: eager.",
)
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="OPTION=VALUE",
    callback=option_values,
    help="An option of the blueprint, such as kernel=5. Repeatable.",
)
@store_option
@timeout_option
@click.option(
    "--bus",
    metavar="URL",
    help="Say on a bus what was saved and what failed: sqlite:PATH, redis://HOST, or what other plugins offer. "
    "The forge never waits for it.",
)
@click.option("--wait", is_flag=True, help="Wait for further jobs, until Ctrl-C or SIGTERM and the end of a job.")
@plugin_options
@click.pass_context
def run(
    context: click.Context,
    names: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    causal: bool,
    dtype: str,
    preset: str,
    options: dict[str, Any],
    url: str,
    timeout: float,
    bus: str | None,
    wait: bool,
    plugin_options: PluginOptions,
) -> None:
    """Compile each blueprint for each shape, and go on with jobs that wait, until none is left.

    A job that fails three times is quarantined, and keeps no other one from being done. Exit code 1 if one is.
    """
    from esper_app.api import load_selected
    from esper_app_forge.compile_process import COMMAND
    from esper_app_forge.publishing import speaking
    from esper_runs.printing import echo
    from esper_tezzeret.api import Forge, Workshop
    from esper_urza.api import open_store

    if not names and (shapes or causal or options):
        raise click.UsageError("--shape, --causal and --set say how a blueprint is compiled: name it with --blueprint")
    plugins = load_selected(plugin_options)
    store = open_store(url, plugins.registry)
    workshop = Workshop(command=COMMAND, plugins=plugin_options.as_data(), timeout=timeout)
    try:
        with _queue() as queue, speaking(bus, plugins) as (saved, attempted):
            made = Forge(queue, store, plugins.registry, workshop, saved=saved)
            before = _quarantined(queue)
            wanted = {"causal": causal, "dtype": dtype, "options": options}
            made.submit([it for name in names for it in _orders(name, plugins, shapes, preset, wanted)])
            if not (wait or queue.unfinished()):
                echo("no job waits; --blueprint names what is to be compiled")
            for outcome in made.run(_set_by_signals() if wait else None):
                echo(outcome_line(outcome))
                attempted(outcome)
            failed = _quarantined(queue) - before
    finally:
        store.store.close()
    if failed:
        echo(f"quarantined: {len(failed)}. esper forge status says why; esper forge retry tries them again")
    context.exit(1 if failed else 0)


def _set_by_signals() -> "threading.Event":
    """Return what SIGTERM or Ctrl-C sets; a second Ctrl-C ends the program at once."""
    import signal
    import threading
    from types import FrameType

    stop = threading.Event()

    def handler(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stop


def _quarantined(queue: "ForgeQueue") -> "set[tuple[str, float | None]]":
    """Return the jobs in quarantine, and since when they are: meanwhile somebody may let others be tried again."""
    return {(it.id, it.at) for it in queue.statuses() if it.state == "quarantined"}


def _orders(
    name: str, plugins: "PluginSet", shapes: Sequence[tuple[int, ...]], preset: str, wanted: dict[str, Any]
) -> "Iterator[Order]":
    from esper_core.api import EsperError
    from esper_core.specs import BlueprintSpec, Layout
    from esper_tezzeret.api import PRESETS as COMPILERS
    from esper_tezzeret.api import Order

    blueprint = plugins.registry.get(BlueprintSpec.kind, name, where="--blueprint")
    assert isinstance(blueprint.spec, BlueprintSpec)
    shapes = shapes or [SHAPES[str(it)] for it in sorted(blueprint.spec.layouts)]
    for shape in shapes:
        layout = next(it for it in Layout if it.rank == len(shape) + 1)
        if wanted["causal"] and layout is not Layout.BTD:
            what = f"an activation {'x'.join(map(str, shape))} has no positions"
            raise EsperError("E625", what, where="--causal", fix="leave --causal out, or give a shape such as 32x64")
        yield Order(blueprint=blueprint.id, layout=layout, shape=shape, compilers=COMPILERS[preset], **wanted)


def outcome_line(it: "Outcome") -> str:
    """Return what came of one attempt at a job, in one line."""
    head = f"{it.job}  {it.order.blueprint}  {_shape(it.order)}"
    if it.error is not None:
        then = "is tried again" if it.state == "waiting" else "is quarantined"
        return f"{head}  failed (attempt {it.attempt}, {then}): {it.error.code}: {it.error.why or it.error.what}"
    instead = "".join(f", instead of {name} ({why})" for name, why in it.instead_of.items())
    return f"{head}  {it.state} by {it.compiler}{instead}: artifact {it.artifact[:12]}{_times(it)}"


def _times(it: "Outcome") -> str:
    facts = it.facts
    named = [(name, facts.get(f"{name}_ms"), facts.get(f"eager_{name}_ms")) for name in ("training", "inference")]
    found = [f"{name} {ours:.3g} ms (eager {theirs:.3g})" for name, ours, theirs in named if ours is not None]
    return f"; {', '.join(found)}" if found else ""


def _shape(order: "Order") -> str:
    return f"{order.layout} {'x'.join(map(str, order.shape))}"


@forge.command(short_help="Show the jobs, and why one failed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the jobs of the state directory: their state, attempts, and last error. The last thousand are remembered."""
    from attrs import asdict

    from esper_core.api import plain
    from esper_runs.printing import echo, echo_json
    from esper_runs.terminal import Terminal

    jobs = _jobs()
    if as_json:
        echo_json([plain(asdict(it)) for it in jobs])
        return
    if jobs:
        terminal = Terminal(sys.stdout)
        terminal.print(terminal.table(_jobs_table(jobs)))
    counts = {state: sum(it.state == state for it in jobs) for state in dict.fromkeys(it.state for it in jobs)}
    echo(", ".join(f"{state}: {count}" for state, count in counts.items()) or "no jobs")


def _jobs() -> "Sequence[JobStatus]":
    """Return the jobs; looking makes no state directory."""
    from esper_tezzeret.api import ForgeQueue, state_path

    if not ForgeQueue.is_there(state_path()):
        return []
    with _queue() as queue:
        return queue.statuses()


def _jobs_table(jobs: "Sequence[JobStatus]") -> "Table":
    from esper_runs.tables import Cell, Column, Table

    styles = {"made": "good", "found": "good", "quarantined": "bad"}
    columns = (
        Column("JOB"),
        Column("BLUEPRINT"),
        Column("SHAPE"),
        Column("STATE"),
        Column("ATTEMPTS", right=True, spare=True),
        Column("ARTIFACT OR LAST ERROR", prose=True),
    )
    rows = tuple(
        (
            it.id,
            it.order.blueprint.partition("/")[2],
            _shape(it.order),
            Cell(it.state, styles.get(it.state, "")),
            f"{it.attempts}",
            it.error or it.artifact[:12],
        )
        for it in jobs
    )
    return Table(columns=columns, rows=rows)


@forge.command(short_help="Let quarantined jobs be tried again.")
@click.argument("jobs", nargs=-1)
def retry(jobs: tuple[str, ...]) -> None:
    """Let JOBS, or all in quarantine, be tried again by the next `esper forge run`."""
    from esper_runs.printing import echo

    known = {it.id for it in _jobs() if it.state == "quarantined"}
    if unknown := [it for it in jobs if it not in known]:
        raise click.ClickException(f"{unknown[0]} is not in quarantine")
    if not known:
        echo("no job is in quarantine")
        return
    with _queue() as queue:
        echo(f"tried again by the next run: {queue.retry(jobs)}")
