"""The compiler `eager`: a seed's tensors in the format of safetensors, with the name of its blueprint."""

import json

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from esper_tezzeret.api import Compiled, CompileJob, LoadJob, not_loaded

_BLUEPRINT = "blueprint"


class EagerCompiler:
    """The compiler `eager`: see `esper_tezzeret.api.Compiler`."""

    def compile(self, job: CompileJob) -> Compiled:
        """Return the seed's tensors. Those that share memory are written once each."""
        tensors = {name: it.detach().clone().contiguous() for name, it in job.module.state_dict().items()}
        return Compiled(content=save(tensors, metadata={_BLUEPRINT: job.blueprint}))

    def load(self, job: LoadJob) -> nn.Module:
        """Return the job's module with the tensors of the artifact.

        Raises:
            EsperError: E628 if it is no safetensors file, of another blueprint, or has other names or shapes.
        """
        try:
            tensors = load(job.content)
        except SafetensorError as error:
            raise not_loaded(f"it is not in the format of safetensors: {error}") from error
        size = int.from_bytes(job.content[:8], "little")
        made_of = json.loads(job.content[8 : 8 + size]).get("__metadata__", {}).get(_BLUEPRINT)
        if made_of != job.blueprint:
            raise not_loaded(f"it was made of {made_of}, not of {job.blueprint}")
        try:
            job.module.load_state_dict(tensors)
        except RuntimeError as error:
            raise not_loaded(f"its tensors are not those of the blueprint: {str(error).splitlines()[-1]}") from error
        return job.module


def eager(config: None) -> EagerCompiler:
    """Return the compiler."""
    return EagerCompiler()
