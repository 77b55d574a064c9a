"""The grown network on disk: its weights, and what has grown where."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from attrs import field, frozen
from safetensors import SafetensorError
from torch import Tensor

from esper_core.kasmina.compose import Regime
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FinalReport, HostState
from esper_core.leyline.sites import Layout
from esper_core.leyline.stages import Blend, Stage
from esper_core.leyline.structure import structure
from esper_core.tolaria.state import model_tensors
from esper_runs.run_directory import CONFIG, RESULT, RunDirectory, write_atomically

WEIGHTS, TOPOLOGY = "weights.safetensors", "topology.json"


@frozen(kw_only=True)
class GrownSlot:
    """A slot of a network on disk.

    Attributes:
        slot: the site's id.
        path, layout, width: as in `Site`.
        stage: of the slot.
        blueprint: of the seed that it holds; None if it holds none.
        options: the blueprint's options.
        blend: how the seed was blended in; a gated one keeps its share.
        regime: how the seed acts; None if it is not planted.
        alpha: the seed's alpha, as it stands.
    """

    slot: str
    path: str
    layout: Layout
    width: int
    stage: Stage
    blueprint: str | None
    options: Mapping[str, Any] = field(factory=dict)
    blend: Blend | None = None
    regime: Regime | None = None
    alpha: float | None = None


@frozen(kw_only=True)
class Topology:
    """What has grown where.

    Attributes:
        slots: every slot, in site order.
        catalogue: what could have grown.
        digest: of the catalogue.
    """

    slots: tuple[GrownSlot, ...]
    catalogue: tuple[CatalogueEntry, ...]
    digest: str


def write_network(directory: RunDirectory, state: HostState, final: FinalReport, catalogue: Catalogue) -> None:
    """Write the grown network's weights (safetensors) and what has grown where (JSON), which rebuilds it."""
    tensors: dict[str, Tensor] = {name: tensor.cpu().contiguous() for name, tensor in model_tensors(state).items()}
    write_atomically(directory.path / WEIGHTS, safetensors.torch.save(tensors))
    topology = {"slots": plain(final.topology), "catalogue": plain(catalogue.entries), "digest": catalogue.digest}
    write_atomically(directory.path / TOPOLOGY, (to_json(topology, indent=2) + "\n").encode())


def read_weights(directory: RunDirectory) -> dict[str, Tensor]:
    """Return the grown network's tensors under their ``state_dict`` names.

    Raises:
        EsperError: E508 if they are missing or damaged.
    """
    data = _content(directory, WEIGHTS)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise damaged(directory, WEIGHTS, str(error)) from error
    return tensors


def read_topology(directory: RunDirectory) -> Topology:
    """Return what has grown where.

    Raises:
        EsperError: E508 if the file is missing, damaged or contradicts itself.
    """
    try:
        topology = structure(Topology, read_object(directory, TOPOLOGY))
    except EsperError as error:
        if error.code == "E508":
            raise
        raise damaged(directory, TOPOLOGY, f"{error.what}{f': {error.why}' if error.why else ''}") from error
    if Catalogue(topology.catalogue).digest != topology.digest:
        raise damaged(directory, TOPOLOGY, "its catalogue does not have the digest that was written with it")
    return topology


def read_object(directory: RunDirectory, name: str) -> dict[str, Any]:
    """Return the content of one of the run's JSON files.

    Raises:
        EsperError: E508 if it is missing or damaged.
    """
    try:
        data = json.loads(_content(directory, name))
    except ValueError as error:
        raise damaged(directory, name, str(error)) from error
    if not isinstance(data, dict):
        raise damaged(directory, name, f"it holds a {type(data).__name__}, not an object")
    return data


def damaged(directory: RunDirectory, name: str, why: str) -> EsperError:
    """Return the error E508 for one of the run's files."""
    again = "" if name == CONFIG else f", or run it again: esper run --config {directory.path / CONFIG}"
    return EsperError(
        "E508",
        f'"{name}" of run "{directory.name}" is not as it was written',
        where=str(directory.path / name),
        why=why,
        fix=f"bring the run's files back as they were{again}",
    )


def _content(directory: RunDirectory, name: str) -> bytes:
    path = directory.path / name
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        over = (directory.path / RESULT).is_file()
        raise EsperError(
            "E508",
            f'run "{directory.name}" has no "{name}"',
            where=str(directory.path),
            why="it was removed" if over else "the run has not come to its end",
            fix="bring it back" if over else f"go on with it: esper run --resume {directory.path}",
        ) from error
    except OSError as error:
        raise damaged(directory, name, error.strerror or str(error)) from error
