"""Networks as programs that run without their code: `torch.export` and ONNX."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from esper_app_export.export_formats import Format
from esper_core.api import EsperError

#: Names of what a program takes and gives.
INPUTS, OUTPUTS = "inputs", "outputs"

#: An ONNX file is one protobuf message, which holds less than this.
_ONNX_BYTES = 2**31


def network_program(network: nn.Module, sample: Tensor) -> tuple[ExportedProgram, int | None]:
    """Return a network as a program, and the batch size that it is bound to: None, any, wherever that is possible.

    Args:
        network: in evaluation mode.
        sample: inputs, (B, ...), with B of 2 or more.

    Raises:
        EsperError: E512 if torch cannot make a program of the network.
    """
    with _quiet():
        try:
            program, batch = torch.export.export(network, (sample,), dynamic_shapes=({0: Dim("batch")},)), None
        except Exception:  # whatever a network's code raises where the size of the batch is not known
            program, batch = _bound_program(network, sample[:1]), 1
    _forget_source_lines(program)
    return program, batch


def program_bytes(program: ExportedProgram) -> bytes:
    """Return the content of a file for `torch.export.load`."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


def program_runner(data: bytes) -> Callable[[Tensor], Tensor]:
    """Return a function that computes what the file computes."""
    program = torch.export.load(io.BytesIO(data)).module()

    def run(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            outputs: Tensor = program(inputs)
        return outputs

    return run


def onnx_bytes(program: ExportedProgram, sample: Tensor, batch: int | None) -> bytes:
    """Return the content of an ONNX file.

    Raises:
        EsperError: E512 if a package is missing, the network is too large, or has an operation that ONNX has not.
    """
    _require_onnx(program)
    inputs = sample if batch is None else sample[:batch]
    shapes = ({0: "batch"},) if batch is None else None
    try:
        with _quiet():
            found = torch.onnx.export(
                program,
                (inputs,),
                dynamo=True,
                verbose=False,
                input_names=[INPUTS],
                output_names=[OUTPUTS],
                dynamic_shapes=shapes,
            )
    except (torch.onnx.errors.OnnxExporterError, ImportError) as error:  # an onnxscript that is older than torch knows
        raise _unfit(Format.ONNX, error) from error
    assert found is not None
    data: bytes = found.model_proto.SerializeToString()
    return data


def onnx_runner(data: bytes) -> Callable[[Tensor], Tensor] | None:
    """Return a function that computes what the file computes; None where onnxruntime is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {INPUTS: inputs.numpy()})[0])


def _bound_program(network: nn.Module, sample: Tensor) -> ExportedProgram:
    try:
        return torch.export.export(network, (sample,))
    except Exception as error:  # whatever a network's code raises under tracing says why it has no program
        raise _unfit(Format.TORCH_EXPORT, error) from error


def _forget_source_lines(program: ExportedProgram) -> None:
    """The lines of code behind each operation name places on this machine, which are nobody else's concern."""
    for module in program.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def _require_onnx(program: ExportedProgram) -> None:
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise EsperError(
            "E512",
            "the network cannot be exported to onnx",
            why=f"{' and '.join(missing)} is not installed",
            fix='pip install "esper-app-export[onnx]"',
        )
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size >= _ONNX_BYTES:
        why = f"its tensors take {size / 1e9:.1f} GB, and an ONNX file holds less than 2.1 GB"
        fix = f"choose --format {Format.TORCH_EXPORT}"
        raise EsperError("E512", "the network cannot be exported to onnx", why=why, fix=fix)


def _unfit(form: Format, error: Exception) -> EsperError:
    reason = next(iter(str(error).strip().splitlines()), "")
    return EsperError(
        "E512",
        f"the network cannot be exported to {form}",
        why=f"{type(error).__name__}: {reason}",
        fix=f"choose --format {Format.SAFETENSORS}, or grow a network without what cannot be exported",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of what does not matter here: packages that are not used, its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
