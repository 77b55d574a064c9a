"""The compiler `export`: a seed as two programs of torch.export, for training and for evaluation."""

import io
import json
import time
import zipfile
from copy import deepcopy

import torch
from torch import nn
from torch.export import ExportedProgram

from esper_compiler_export.exported_seed import ExportedSeed
from esper_tezzeret.api import Compiled, CompileJob, LoadJob, not_loaded

_MODES = {"training": True, "evaluation": False}
_DESCRIPTION, _FORMAT = "description.json", 1


class ExportCompiler:
    """The compiler `export`: see `esper_tezzeret.api.Compiler`."""

    def compile(self, job: CompileJob) -> Compiled:
        """Return an archive with a program for each mode. The batch is an axis of any size.

        Raises whatever torch.export raises, such as where the computation depends on values, and ValueError if a
        program lacks a tensor of the seed's state.
        """
        begun = time.perf_counter()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(_DESCRIPTION, json.dumps({"format": _FORMAT, "blueprint": job.blueprint}))
            for name, training in _MODES.items():
                program = _exported(job, training=training)
                if missing := set(job.module.state_dict()) - set(program.state_dict):
                    raise ValueError(f"the program's constants do not cover the state dict: {min(missing)}")
                content = io.BytesIO()
                torch.export.save(program, content)
                file.writestr(f"{name}.pt2", content.getvalue())
        return Compiled(content=archive.getvalue(), measured={"export_ms": 1e3 * (time.perf_counter() - begun)})

    def load(self, job: LoadJob) -> nn.Module:
        """Return a module that runs the program of its mode, with parameters of its own that can be trained.

        Raises:
            EsperError: E628 if it is not such an archive, or of another blueprint.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(job.content)) as file:
                description = json.loads(file.read(_DESCRIPTION))
                parts = {training: file.read(f"{name}.pt2") for name, training in _MODES.items()}
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise not_loaded("it is not an archive of two programs") from error
        if description != {"format": _FORMAT, "blueprint": job.blueprint}:
            raise not_loaded(f"it was made of {description}, not of {job.blueprint}")
        try:
            programs = {training: torch.export.load(io.BytesIO(part)) for training, part in parts.items()}
            return ExportedSeed(programs)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise not_loaded(f"torch.export cannot read it: {error}") from error


def export(config: None) -> ExportCompiler:
    """Return the compiler."""
    return ExportCompiler()


def _exported(job: CompileJob, *, training: bool) -> ExportedProgram:
    # A copy: its mode is changed, and tracing runs its code.
    module = deepcopy(job.module).train(training)
    batch = torch.export.Dim("batch", min=1)
    with torch.random.fork_rng(devices=[]):
        program = torch.export.export(module, (job.example,), dynamic_shapes=({0: batch},), strict=False)
    # They would be pickled.
    program.example_inputs = None
    return program
