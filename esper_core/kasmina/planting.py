"""From a blueprint to a module in its slot: built when its source delivers it, and taken away again."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from esper_core.kasmina.gated import blended
from esper_core.kasmina.lifecycle import Seed
from esper_core.kasmina.seed_factory import Delivery, LocalSource, Modules, ModuleSource, SeedFactory
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError, did_you_mean, summary
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed


class Planter:
    """Builds the modules of one host's seeds and plants them.

    Args:
        slot_set: the host's slots.
        seed_factories: what can be germinated, by blueprint name, in catalogue order.
        seed: of all random streams of this host's seeds.
        learning_rate: what a new seed's optimizer group starts with.

    Attributes:
        modules: where modules come from; None: from their blueprints.
    """

    def __init__(
        self, slot_set: SlotSet, seed_factories: Mapping[str, SeedFactory], seed: int, learning_rate: float
    ) -> None:
        self.seed_factories = dict(seed_factories)
        self._slot_set = slot_set
        self.seed = seed
        self._learning_rate = learning_rate
        self._sources: dict[str, ModuleSource] = {}
        self.modules: Modules | None = None

    def check_fit(self, blueprint: str, site: Site) -> None:
        """Check that a blueprint is in the catalogue and fits a site. Raises EsperError E404."""
        seed_factory = self.seed_factories.get(blueprint)
        if seed_factory is None:
            raise EsperError(
                "E404",
                f'blueprint "{blueprint}" is not in the catalogue',
                why=did_you_mean(blueprint, self.seed_factories),
                fix="name it in policy.blueprints",
            )
        if not seed_factory.entry.takes(site):
            fits = ", ".join(sorted(seed_factory.entry.layouts))
            raise EsperError("E404", f'blueprint "{blueprint}" fits {fits}, but site "{site.id}" is {site.layout}')

    def take_in(self, seed: Seed, epoch: int, *, new: bool = True) -> tuple[str | None, str | None]:
        """Plant a seed's module before an epoch, if its source has it. It is not `new` if it had one and is restored.

        Returns:
            What is wrong with the source, and what is wrong with the module ("" is nothing); None is not known yet.
        """
        if seed.slot in self._slot_set.slots:
            return None, ""
        try:
            module = self.expect(seed, new=new).poll(epoch)
        except (Exception, SystemExit) as error:  # it fails in ways that only its blueprint knows: the seed bears it
            return summary(error), None
        if module is None:
            return None, None
        seed_factory = self.seed_factories[seed.blueprint]
        problem = self._slot_set.plant(
            self._slot_set.sites[seed.slot],
            seed.seed_id,
            module,
            derive_seed(self.seed, seed.seed_id),
            random=seed_factory.draws_random_numbers,
            masked=seed_factory.takes_mask,
            fed=seed_factory.takes_input,
            blueprint=seed.blueprint,
            learning_rate=self._learning_rate,
        )
        seed.parameters = sum(p.numel() for p in module.parameters())
        return None, problem

    def uproot(self, seed: Seed) -> None:
        """Take a seed's module away, and forget its source."""
        self._slot_set.uproot(self._slot_set.sites[seed.slot], seed.seed_id)
        self._sources.pop(seed.slot, None)

    def clear(self) -> None:
        """Forget every source."""
        self._sources.clear()

    def expect(self, seed: Seed, *, new: bool = True) -> ModuleSource:
        """Return the source of a seed's module, which is on its way from now on."""
        if seed.slot not in self._sources:
            seed_factory, site = self.seed_factories[seed.blueprint], self._slot_set.sites[seed.slot]
            build: Callable[[Site], nn.Module] = partial(seed_factory.build_in, self._slot_set.model)
            ready: Callable[[int], bool] = _at_once
            if self.modules is not None:
                delivery = self.modules.expect(seed.seed_id, seed_factory, site, new=new)
                build, ready = partial(_exchanged, delivery, build), delivery.ready
            stream = derive_seed(self.seed, seed.seed_id, "build")
            self._sources[seed.slot] = LocalSource(partial(blended, build, blend=seed.blend), site, stream, ready)
        return self._sources[seed.slot]


def _at_once(epoch: int) -> bool:
    return True


def _exchanged(delivery: Delivery, build: Callable[[Site], nn.Module], site: Site) -> nn.Module:
    return delivery.exchange(build(site))
