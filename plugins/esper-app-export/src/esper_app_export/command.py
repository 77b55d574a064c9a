"""``esper export``: a run's network as a file that needs no Esper."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, load_run_plugins, network_folder, plugin_options
from esper_app_export.export_formats import Format
from esper_app_export.model_card import MODEL_CARD, CardFacts, model_card, signature
from esper_core.api import EsperError
from esper_runs.printing import echo
from esper_runs.reading import reading
from esper_runs.run_directory import MANIFEST, RESULT
from esper_runs.run_list import locate_run

if TYPE_CHECKING:
    from esper_export import Live


@click.command(short_help="Export a run's network without its slots.")
@click.argument("run", type=click.Path(path_type=Path), default=Path("last"))
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default=Format.TORCH_EXPORT.value,
    show_default=True,
    help="What to write: a torch program, an ONNX graph, or the tensors alone.",
)
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The file to write, or an existing folder for it.  [default: export/ in the run's directory]",
)
@click.option(
    "--live",
    type=click.Choice(["refuse", "remove"]),
    default="refuse",
    show_default=True,
    help="What to do with seeds whose fate is still open.",
)
@click.option("--host", metavar="NAME", help="Whose network, in a run with several hosts.")
@plugin_options
def export(
    run: Path, form: str, output: Path | None, live: "Live", host: str | None, plugin_options: PluginOptions
) -> None:
    """Write a run's network to a file that needs no Esper, and a model card beside it.

    RUN is a run's directory, or its name under runs/; `last`, the default, is the newest one.
    """
    # Imported here: from this line on torch is needed.
    from esper_app_export.export_files import destination, export_run, write_file

    directory = locate_run(run)
    result, manifest = directory.read_json(RESULT), directory.read_json(MANIFEST)
    with reading(f'run "{directory.name}"', directory.path):
        one_of_several = host if network_folder(directory, host) else None
        signed = signature(manifest, one_of_several)
    path = destination(directory, Format(form), output, one_of_several)
    _refuse_another_card(path.with_name(MODEL_CARD), signed, path)
    plugins = load_run_plugins(directory, plugin_options)
    exported = export_run(directory, plugins, Format(form), path, live=live, host=host)
    facts = CardFacts(
        exported=exported,
        manifest=manifest,
        result=result,
        files=_files_beside(path, Format(form)),
        host=one_of_several,
    )
    with reading(f'run "{directory.name}"', directory.path):
        card = model_card(facts)
    write_file(path.with_name(MODEL_CARD), card.encode(errors="replace"))
    for change in exported.run.changed:
        echo(f"warning: {change}", err=True)
    echo(f"exported: {path}")


def _files_beside(path: Path, form: Format) -> dict[Format, str]:
    """The file that was written, and those of other formats that bear its name: they hold the same network."""
    paths = {other: path.with_suffix(other.suffix) for other in Format} | {form: path}
    return {other: found.name for other, found in paths.items() if found.is_file()}


def _refuse_another_card(path: Path, signed: str, exported: Path) -> None:
    if path == exported:
        fix = "give the file another name with --output"
        raise EsperError("E513", f'"{path}" is the name of the model card beside the exported file', fix=fix)
    if path.is_file() and signed not in path.read_text(encoding="utf-8", errors="replace"):
        raise EsperError(
            "E513",
            f'"{path}" is the model card of something else',
            why="a card stands beside each exported file, and this one would be overwritten",
            fix="give a folder of its own with --output",
        )
