"""What a run leaves behind: the result, the weights, and the grown topology."""

from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.evidence import paired_difference
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FinalReport, HostState
from esper_core.runtime.run_directory import RunDirectory, write_atomically
from esper_core.simic.loop import Outcome
from esper_core.tolaria.state import model_tensors

WEIGHTS, TOPOLOGY = "weights.safetensors", "topology.json"


def build_result(task: str, outcome: Outcome) -> dict[str, Any]:
    """Return the result of a run as plain data; differences are grown minus twin, gains twin loss minus grown loss."""
    (grown,) = outcome.finals
    hosts = {grown.host: _host(grown)}
    if outcome.twin is not None:
        hosts[outcome.twin.host] = _host(outcome.twin)
    return {
        "task": task,
        "outcome": _outcome(outcome),
        "hosts": hosts,
        "difference": _difference(grown, outcome.twin),
        "seeds": plain(grown.seeds),
        "rewards": [sum(rewards) for rewards in outcome.rewards],
    }


def write_network(directory: RunDirectory, state: HostState, final: FinalReport, catalogue: Catalogue) -> None:
    """Write the grown network's weights (safetensors) and what has grown where (JSON), which rebuilds it."""
    tensors: dict[str, Tensor] = {name: tensor.cpu().contiguous() for name, tensor in model_tensors(state).items()}
    write_atomically(directory.path / WEIGHTS, safetensors.torch.save(tensors))
    topology = {"slots": plain(final.topology), "catalogue": plain(catalogue.entries), "digest": catalogue.digest}
    write_atomically(directory.path / TOPOLOGY, (to_json(topology, indent=2) + "\n").encode())


def _outcome(outcome: Outcome) -> str:
    if outcome.stopped:
        return "stopped"
    return "interrupted" if outcome.interrupted else "completed"


def _host(final: FinalReport) -> dict[str, Any]:
    return {
        "test_accuracy": final.test.accuracy,
        "test_loss": final.test.loss,
        "parameters": final.parameters,
        "host_parameters": final.host_parameters,
        "forward_flops": final.forward_flops,
        "train_seconds": final.train_seconds,
        "measure_seconds": final.measure_seconds,
        "epochs": final.epochs,
    }


def _difference(grown: FinalReport, twin: FinalReport | None) -> Mapping[str, Any] | None:
    if twin is None:
        return None
    gain = None
    if grown.test.sample_losses is not None and twin.test.sample_losses is not None:
        gain = plain(paired_difference(twin.test.sample_losses, grown.test.sample_losses))
    return {
        "test_accuracy": grown.test.accuracy - twin.test.accuracy,
        "test_loss": grown.test.loss - twin.test.loss,
        "test_gain": gain,
        "parameters": grown.parameters - twin.parameters,
        "forward_flops": (grown.forward_flops or 0) - (twin.forward_flops or 0),
        "train_seconds": grown.train_seconds - twin.train_seconds,
    }
