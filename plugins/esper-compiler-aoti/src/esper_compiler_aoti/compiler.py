"""The compiler `aoti`: a seed's evaluation as machine code of AOTInductor."""

import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.func import functional_call

from esper_compiler_aoti.machine_code import MachineCode, Signature, signatures, with_code
from esper_tezzeret.api import Compiled, CompileJob, LoadJob, not_loaded

_DESCRIPTION, _CODE, _VALUES, _FORMAT = "description.json", "evaluation.pt2", "values.safetensors", 3

#: A cache of headers pays for many programs of one process; here each has a process and a cache of its own.
_OPTIONS = {
    "compile_threads": 1,
    "cpp_cache_precompile_headers": False,
    "aot_inductor.precompile_headers": False,
}


class AotiCompiler:
    """The compiler `aoti`: see `esper_tezzeret.api.Compiler`.

    Parameters and buffers are arguments of the code, not constants in it. AOTInductor bakes small constants in, and
    the code goes on with the old ones when others are loaded; an argument cannot be baked in.
    """

    def compile(self, job: CompileJob) -> Compiled:
        """Return an archive with the code. The batch is an axis of any size.

        Raises whatever torch.export and AOTInductor raise, such as where the C++ compiler fails, and ValueError if the
        program does not take all of the seed's state.
        """
        begun = time.perf_counter()
        program = exported(job)
        state = signatures(job.module)
        require_covering(program, state)
        between = time.perf_counter()
        code = machine_code(program)
        ended = time.perf_counter()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(_DESCRIPTION, json.dumps(_described(job.blueprint, _activation(job.example), state)))
            file.writestr(_CODE, code)
            file.writestr(_VALUES, _saved(job.module))
        measured = {"export_ms": 1e3 * (between - begun), "aoti_ms": 1e3 * (ended - between)}
        return Compiled(content=archive.getvalue(), measured=measured)

    def load(self, job: LoadJob) -> nn.Module:
        """Return the job's module with the values that were compiled, which runs the code where nothing is learned.

        Raises:
            EsperError: E628 if it is not such an archive, of another blueprint, or its arguments do not cover the
                state dict.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(job.content)) as file:
                found = json.loads(file.read(_DESCRIPTION))
                code, values = file.read(_CODE), file.read(_VALUES)
            shape, dtype = found["h"]
            described = {*found["state"]}
            h = Signature(tuple(shape), getattr(torch, dtype))
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, AttributeError) as error:
            raise not_loaded("it is not an archive of machine code") from error
        if found.get("blueprint") != job.blueprint:
            raise not_loaded(f"it was made of {found.get('blueprint')}, not of {job.blueprint}")
        state = signatures(job.module)
        if found != _described(job.blueprint, h, state):
            missing = sorted({*state} - described)
            lacks = f": {missing[0]} is missing" if missing else " in names, shapes and dtypes"
            raise not_loaded(f"its arguments do not cover the state dict of the blueprint{lacks}")
        try:
            job.module.load_state_dict(load(values))
        except (SafetensorError, RuntimeError) as error:
            raise not_loaded("its values cannot be read") from error
        return with_code(job.module, MachineCode(runner(code), h, state))


def _saved(module: nn.Module) -> bytes:
    # Copies, because that format holds no tensor twice.
    return save({name: it.detach().clone().contiguous() for name, it in module.state_dict().items()})


def aoti(config: None) -> AotiCompiler:
    """Return the compiler."""
    return AotiCompiler()


class _Stateless(nn.Module):
    """A seed that is given its state at each call."""

    def __init__(self, seed: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule, whose tensors would be constants.
        self._seed = (seed,)

    def forward(self, h: Tensor, state: dict[str, Tensor]) -> Tensor:
        delta: Tensor = functional_call(self._seed[0], state, (h,))
        return delta


def exported(job: CompileJob) -> ExportedProgram:
    """Return the program of a seed in evaluation: its inputs are the activation and all parameters and buffers."""
    # A copy: its mode is changed, and tracing runs its code.
    module = deepcopy(job.module).eval()
    named = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    state = {name: it.detach() for name, it in named.items()}
    dynamic = ({0: torch.export.Dim("batch", min=1)}, dict.fromkeys(state))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return torch.export.export(_Stateless(module), (job.example, state), dynamic_shapes=dynamic, strict=False)


def require_covering(program: ExportedProgram, state: Mapping[str, Signature]) -> None:
    """Refuse a program that has a part of the seed's state as a constant, or gives back more than the update.

    Raises:
        ValueError: naming what is wrong.
    """
    inputs = [it for it in program.graph_signature.input_specs if it.kind is InputKind.USER_INPUT]
    if program.state_dict or len(inputs) != 1 + len(state):
        raise ValueError("the program's arguments do not cover the state dict: a part of it is a constant")
    if len(program.graph_signature.output_specs) != 1:
        raise ValueError("the seed returns more than an update")


def machine_code(program: ExportedProgram) -> bytes:
    """Return the package that AOTInductor makes of a program.

    Raises whatever it raises, such as where the C++ compiler fails.
    """
    from torch._inductor import aoti_compile_and_package, config
    from torch._inductor.utils import fresh_cache

    code = io.BytesIO()
    # A cache of its own: in the usual one, under /tmp, may lie what somebody else has put there.
    with fresh_cache(), config.patch(_OPTIONS):
        aoti_compile_and_package(program, package_path=code)
    return code.getvalue()


def runner(code: bytes) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """Return what runs a package; it takes the program's inputs one after the other.

    Raises:
        EsperError: E628 if it cannot be loaded.
    """
    from torch._inductor import aoti_load_package

    try:
        # Not its call, which takes the arguments apart by a description that it parses each time.
        run: Callable[[list[Tensor]], Sequence[Tensor]] = aoti_load_package(io.BytesIO(code)).loader.run
    except RuntimeError as error:
        raise not_loaded(f"AOTInductor cannot load it: {error}") from error
    return run


def _activation(h: Tensor) -> Signature:
    return Signature(tuple(h.shape[1:]), h.dtype)


def _described(blueprint: str, h: Signature, state: Mapping[str, Signature]) -> dict[str, object]:
    plain = {name: it.plain() for name, it in state.items()}
    return {"format": _FORMAT, "blueprint": blueprint, "h": h.plain(), "state": plain}
