"""The grown network on disk: its weights, and what has grown where."""

import safetensors.torch
from torch import Tensor

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FinalReport, HostState
from esper_core.runtime.run_directory import RunDirectory, write_atomically
from esper_core.tolaria.state import model_tensors

WEIGHTS, TOPOLOGY = "weights.safetensors", "topology.json"


def write_network(directory: RunDirectory, state: HostState, final: FinalReport, catalogue: Catalogue) -> None:
    """Write the grown network's weights (safetensors) and what has grown where (JSON), which rebuilds it."""
    tensors: dict[str, Tensor] = {name: tensor.cpu().contiguous() for name, tensor in model_tensors(state).items()}
    write_atomically(directory.path / WEIGHTS, safetensors.torch.save(tensors))
    topology = {"slots": plain(final.topology), "catalogue": plain(catalogue.entries), "digest": catalogue.digest}
    write_atomically(directory.path / TOPOLOGY, (to_json(topology, indent=2) + "\n").encode())
