"""The grown network on disk: its weights, and what has grown where."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import safetensors.torch
from attrs import field, frozen
from safetensors import SafetensorError
from torch import Tensor

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FinalReport, HostState
from esper_core.leyline.stages import Blend, Stage
from esper_core.leyline.structure import structure
from esper_core.tolaria.state import model_tensors
from esper_runs.run_directory import MANIFEST, RunDirectory, write_atomically

WEIGHTS, TOPOLOGY = "weights.safetensors", "topology.json"

#: The folder of the networks of a run with several hosts.
HOSTS = "hosts"


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
    regime: ForwardMode | None = None
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


def write_networks(
    directory: RunDirectory, states: Sequence[HostState], finals: Sequence[FinalReport], catalogue: Catalogue
) -> None:
    """Write the weights of every grown network (safetensors) and what has grown where (JSON), which rebuild it.

    Where there are several hosts, each has a folder of its own; one that has failed has no network.
    """
    for state, final in zip(states, finals, strict=True):
        if final.failure is not None:
            continue
        folder = directory.path
        if len(finals) > 1:
            (folder := folder / HOSTS / final.host).mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {name: tensor.cpu().contiguous() for name, tensor in model_tensors(state).items()}
        write_atomically(folder / WEIGHTS, safetensors.torch.save(tensors))
        topology = {"slots": plain(final.topology), "catalogue": plain(catalogue.entries), "digest": catalogue.digest}
        write_atomically(folder / TOPOLOGY, (to_json(topology, indent=2) + "\n").encode())


def network_folder(directory: RunDirectory, host: str | None = None) -> str:
    """Return the folder of a host's network in a run's directory: "" where a single host grew.

    Args:
        directory: the run's.
        host: its name; None: the only one.

    Raises:
        EsperError: E505 if no such host grew, or several did and none is named.
    """
    recorded = directory.read_json(MANIFEST).get("hosts")
    names = [it["name"] for it in recorded] if isinstance(recorded, list) else [host or ""]
    if len(names) == 1 and host in (None, names[0]):
        return ""
    if host is not None and host in names and PurePath(host).name == host:
        return f"{HOSTS}/{host}/"
    what = f'in run "{directory.name}" {len(names)} hosts grew' if host is None else f'no host "{host}" grew in the run'
    fix = f"--host NAME, which is one of {', '.join(names)}"
    raise EsperError("E505", what, where=str(directory.path), fix=fix if len(names) > 1 else "leave --host out")


def read_weights(directory: RunDirectory, folder: str = "") -> dict[str, Tensor]:
    """Return a grown network's tensors under their ``state_dict`` names.

    Args:
        directory: the run's.
        folder: as `network_folder` returns it.

    Raises:
        EsperError: E508 if they are missing or damaged.
    """
    name = folder + WEIGHTS
    data = directory.read_bytes(name)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, MemoryError) as error:
        raise directory.damaged(name, str(error)) from error
    return tensors


def read_topology(directory: RunDirectory, folder: str = "") -> Topology:
    """Return what has grown where.

    Args:
        directory: the run's.
        folder: as `network_folder` returns it.

    Raises:
        EsperError: E508 if the file is missing, damaged or contradicts itself.
    """
    name = folder + TOPOLOGY
    try:
        topology = structure(Topology, directory.read_json(name))
    except EsperError as error:
        if error.code == "E508":
            raise
        raise directory.damaged(name, f"{error.what}{f': {error.why}' if error.why else ''}") from error
    if Catalogue(topology.catalogue).digest != topology.digest:
        raise directory.damaged(name, "its catalogue does not have the digest that was written with it")
    return topology


def read_object(directory: RunDirectory, name: str) -> dict[str, Any]:
    """Return the content of one of the run's JSON files. Raises EsperError E508 if it is missing or damaged."""
    return directory.read_json(name)
