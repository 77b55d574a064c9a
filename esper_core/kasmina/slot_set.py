"""Where live seeds stand in a host: modules, hooks and optimizer groups come and go together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from esper_core.kasmina.config import UPDATE_LIMIT
from esper_core.kasmina.groups import add_seed_group, remove_seed_group
from esper_core.kasmina.root_module import SEEDS
from esper_core.kasmina.seed_factory import normalises_its_input, probe_module
from esper_core.kasmina.slot import Slot
from esper_core.leyline.errors import summary
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed


class SlotSet:
    """The live slots of one model.

    Planting puts a seed's module under ``model.esper`` and its parameters into the optimizer; attaching lets it act;
    uprooting takes all of it away again. Nothing else touches the host.

    Args:
        model: a root prepared by `roots.prepare_root`.
        sites: its confirmed sites.
        optimizer: the optimizer that trains it.
        update_limit: how many times as large as the activation a seed's update may be.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        optimizer: torch.optim.Optimizer,
        *,
        update_limit: float = UPDATE_LIMIT,
    ) -> None:
        self.model = model
        self._update_limit = update_limit
        self.sites: Mapping[str, Site] = {site.id: site for site in sites}
        self.optimizer = optimizer
        self.host_parameters: tuple[nn.Parameter, ...] = tuple(model.parameters())

    @property
    def slots(self) -> dict[str, Slot]:
        """Slots that hold a seed, in site order."""
        container = self._container
        return {name: container[name] for name in self.sites if name in container}  # type: ignore[misc]

    def plant(
        self,
        site: Site,
        seed_id: str,
        module: nn.Module,
        stream: int,
        *,
        random: bool,
        learning_rate: float,
        masked: bool = False,
        fed: bool = False,
        blueprint: str = "",
    ) -> str:
        """Take a module in, without letting it act. Return what is wrong with it instead, if anything is.

        Args:
            site: where.
            seed_id: names its optimizer group.
            module: the seed module, on any device.
            stream: seed of all random numbers that this seed may draw.
            random: it draws random numbers in its forward.
            learning_rate: of its optimizer group.
            masked: it takes a padding mask beside the activation, where the site has one.
            fed: it takes the input of the site's submodule beside the activation, where that is known.
            blueprint: what the module was built from, for messages.
        """
        like = self.like(site)
        module = module.to(device=like.device, dtype=like.dtype)
        masked, fed = masked and site.mask is not None, fed and site.input_shape != ()
        if problem := probe_module(module, site, derive_seed(stream, "probe"), like, masked=masked, fed=fed):
            return problem
        try:
            needs_graph = normalises_its_input(module, site, derive_seed(stream, "probe"), like, fed=fed)
        except (Exception, SystemExit) as error:  # like its probe, which was without gradients and not in training
            return f"in training it raised {summary(error)}"
        slot = Slot(
            site,
            module,
            blueprint=blueprint,
            limit=self._update_limit,
            stream=derive_seed(stream, "forward") if random else None,
            needs_graph=needs_graph,
            masked=masked,
            fed=fed,
        ).to(like.device)
        slot.train(self.model.training)
        self._container[site.id] = slot
        parameters = [*module.parameters()]
        if parameters:
            add_seed_group(self.optimizer, seed_id, parameters, lr=learning_rate)
        return ""

    def attach(self, site: Site) -> Slot:
        """Let the planted seed act on its site."""
        slot = self.slots[site.id]
        slot.attach(self.model.get_submodule(site.path))
        return slot

    def uproot(self, site: Site, seed_id: str) -> None:
        """Take the seed away: hook, module, optimizer group and state. The host's tensors stay as they are."""
        slot = self.slots.get(site.id)
        if slot is None:
            return
        slot.detach()
        if any(True for _ in slot.seed.parameters()):
            remove_seed_group(self.optimizer, seed_id)
        del self._container[site.id]

    @contextmanager
    def override(self, alphas: Mapping[str, float]) -> Iterator[None]:
        """Run the model with other alphas for some slots; 0 switches a seed off. May be nested."""
        slots = self.slots
        before = {name: slots[name].override for name in alphas}
        try:
            for name, alpha in alphas.items():
                slots[name].override = alpha
            yield
        finally:
            for name, alpha_before in before.items():
                slots[name].override = alpha_before

    def failures(self) -> dict[str, str]:
        """Why a seed has failed, by slot; see `Slot.failure`."""
        return {name: held.failure for name, held in self.slots.items() if held.failure}

    def seed_parameters(self, slot: str) -> list[nn.Parameter]:
        """Parameters of the slot's seed; none if it holds no seed."""
        held = self.slots.get(slot)
        return [] if held is None else [*held.seed.parameters()]

    @property
    def _container(self) -> nn.ModuleDict:
        container = getattr(self.model, SEEDS)
        assert isinstance(container, nn.ModuleDict)
        return container

    def like(self, site: Site) -> Tensor:
        """Return a tensor on the device, and of the dtype, of the activations at a site."""
        first = next(p for p in self.host_parameters if p.is_floating_point())
        return first if site.dtype is None else torch.empty((), dtype=getattr(torch, site.dtype), device=first.device)
