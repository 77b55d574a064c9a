"""A run's network as a file for others: a torch program, an ONNX graph, or its tensors."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from esper_app.api import PluginSet, RebuiltRun, rebuild_run
from esper_app_export.export_formats import TOPOLOGY_SUFFIX, Format
from esper_app_export.programs import network_program, onnx_bytes, onnx_runner, program_bytes, program_runner
from esper_core.adapting import forward_flops, parameter_count
from esper_core.api import EsperError, Stage, to_json
from esper_export import Live, NotPlainWarning, export_network, refuse_live_seeds, remove_live_seeds
from esper_runs.run_directory import RunDirectory, write_atomically

#: Where a run's exports are, in its directory.
FOLDER = "export"

#: A file may differ from the network by this part of the largest output: other kernels round otherwise.
_TOLERANCE = 1e-4


@frozen(kw_only=True)
class ExportedFile:
    """A network in a file.

    Attributes:
        path: where it is.
        format: what it is.
        run: the network with its seeds, and what it was made from.
        removed: the slots whose live seeds were left out.
        parameters: number of parameters in the file.
        forward_flops: of one sample's forward pass; None where they cannot be counted.
        batch: the batch size that the file is bound to; None: any.
        difference: largest difference between its outputs and the network's on random inputs; None where nothing here
            can run the file.
    """

    path: Path
    format: Format
    run: RebuiltRun
    removed: tuple[str, ...]
    parameters: int
    forward_flops: int | None
    batch: int | None
    difference: float | None


def destination(directory: RunDirectory, form: Format, output: Path | None, host: str | None = None) -> Path:
    """Return the file to export to: `output`, in the folder `output`, or in the folder ``export`` of the run.

    One host of several has a folder of its own there, for the model card beside it.

    Raises:
        EsperError: E508 if that folder is a link to somewhere else, E513 if the name of the file is that of another
            form.
    """
    name = directory.name + form.suffix
    other = [it for it in Format if output is not None and output.suffix == it.suffix and it is not form]
    if other and not (output is not None and output.is_dir()):
        what = f'"{output}" has the suffix of {other[0]}, and what is written is {form}'
        raise EsperError("E513", what, fix=f"--format {other[0]}, or a name that ends in {form.suffix}")
    if output is None:
        folder = directory.folder(FOLDER)
        return folder / name if host is None else folder / host / name
    return output / name if output.is_dir() else output


def export_run(
    directory: RunDirectory,
    plugins: PluginSet,
    form: Format,
    path: Path,
    *,
    live: Live = "refuse",
    host: str | None = None,
) -> ExportedFile:
    """Write the network that a run has grown to a file that needs no Esper.

    Args:
        directory: the run's.
        plugins: with those of the network's components.
        form: of the file.
        path: of the file; for safetensors another one is written beside it.
        live: refuse to export while there are seeds whose fate is open, or leave them out.
        host: whose network, where several hosts grew.

    Raises:
        EsperError: E507 if there are live seeds and they are refused; E512 if the network has no such form, or would
            compute something else in it; E513 if the file cannot be written; what `rebuild_network` raises.
    """
    run = rebuild_run(directory, plugins, host)
    if live == "refuse":
        refuse_live_seeds(run.network)
    removed = remove_live_seeds(run.network)
    sample = run.sample_inputs(3)
    content = _CONTENT[form](run, removed, sample)
    difference = _difference(run.network, content, sample)
    for suffix, data in content.files.items():
        write_file(path.with_suffix(suffix) if suffix else path, data)
    return ExportedFile(
        path=path,
        format=form,
        run=run,
        removed=removed,
        parameters=parameter_count(content.network),
        forward_flops=forward_flops(content.network, sample[0]),
        batch=content.batch,
        difference=difference,
    )


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, and the folder that it is in. Raises EsperError E513."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        fix = "give another place with --output"
        raise EsperError("E513", f'"{path}" cannot be written', why=error.strerror or str(error), fix=fix) from error


@frozen(kw_only=True)
class _Content:
    """What goes into the files of one format.

    Attributes:
        network: the network as it stands in them.
        files: bytes by the suffix of the file; the file itself has none.
        batch: the batch size that they are bound to.
        run: computes what the file computes, if something here can.
    """

    network: nn.Module
    files: Mapping[str, bytes]
    batch: int | None = None
    run: Callable[[Tensor], Tensor] | None = None


def _torch_export(run: RebuiltRun, removed: tuple[str, ...], sample: Tensor) -> _Content:
    network = _plain(run, removed, Format.TORCH_EXPORT)
    program, batch = network_program(network, sample)
    data = program_bytes(program)
    return _Content(network=network, files={"": data}, batch=batch, run=program_runner(data))


def _onnx(run: RebuiltRun, removed: tuple[str, ...], sample: Tensor) -> _Content:
    network = _plain(run, removed, Format.ONNX)
    program, batch = network_program(network, sample)
    data = onnx_bytes(program, sample, batch)
    return _Content(network=network, files={"": data}, batch=batch, run=onnx_runner(data))


def _safetensors(run: RebuiltRun, removed: tuple[str, ...], sample: Tensor) -> _Content:
    # Copies: the format takes no two names for one tensor.
    state = run.network.state_dict()
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    slots = [
        evolve(row, stage=Stage.DORMANT, blueprint=None, options={}, regime=None, alpha=None)
        if row.slot in removed
        else row
        for row in run.topology.slots
    ]
    topology = to_json(evolve(run.topology, slots=tuple(slots)), indent=2) + "\n"
    files = {"": safetensors.torch.save(tensors), TOPOLOGY_SUFFIX: topology.encode()}
    return _Content(network=run.network, files=files)


_CONTENT: Mapping[Format, Callable[[RebuiltRun, tuple[str, ...], Tensor], _Content]] = {
    Format.TORCH_EXPORT: _torch_export,
    Format.ONNX: _onnx,
    Format.SAFETENSORS: _safetensors,
}


def _plain(run: RebuiltRun, removed: tuple[str, ...], form: Format) -> nn.Module:
    if silent := [f"{title} ({place})" for place, title in run.no_export.items() if place not in removed]:
        raise EsperError(
            "E512",
            f"the network cannot be exported to {form}",
            where=", ".join(silent),
            why="it declares that it cannot be exported (capability no-export)",
            fix=f"choose --format {Format.SAFETENSORS}, or grow a network without it",
        )
    with warnings.catch_warnings():
        # Which classes are left does not matter to what is traced down to operations.
        warnings.simplefilter("ignore", NotPlainWarning)
        return export_network(run.network)


def _difference(network: nn.Module, content: _Content, sample: Tensor) -> float | None:
    if content.run is None:
        return None
    inputs = sample if content.batch is None else sample[: content.batch]
    with torch.no_grad():
        expected: Tensor = network(inputs)
    difference = (content.run(inputs) - expected).abs().max().item()
    if not difference <= _TOLERANCE * expected.abs().max().clamp(min=1.0).item():
        raise EsperError(
            "E512",
            "the exported network would not compute what the network computes",
            why=f"on random inputs their outputs differ by up to {difference:.3g}",
            fix=f"choose another format; {Format.SAFETENSORS} holds any network",
        )
    return difference
