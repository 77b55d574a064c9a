"""From a blueprint to a module in its slot: built when its source delivers it, and taken away again."""

from collections.abc import Mapping
from functools import partial

from esper_core.kasmina.bed import SeedBed
from esper_core.kasmina.gated import blended
from esper_core.kasmina.lifecycle import Life
from esper_core.kasmina.recipes import LocalSource, ModuleSource, Recipe
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed


class Planter:
    """Builds the modules of one host's seeds and plants them.

    Args:
        bed: the host's slots.
        recipes: what can be germinated, by blueprint name, in catalogue order.
        seed: of all random streams of this host's seeds.
        learning_rate: what a new seed's optimizer group starts with.
    """

    def __init__(self, bed: SeedBed, recipes: Mapping[str, Recipe], seed: int, learning_rate: float) -> None:
        self.recipes = dict(recipes)
        self._bed = bed
        self.seed = seed
        self._learning_rate = learning_rate
        self._sources: dict[str, ModuleSource] = {}

    def check_fit(self, blueprint: str, site: Site) -> None:
        """Check that a blueprint is in the catalogue and fits a site. Raises EsperError E404."""
        recipe = self.recipes.get(blueprint)
        if recipe is None:
            raise EsperError(
                "E404",
                f'blueprint "{blueprint}" is not in the catalogue',
                why=did_you_mean(blueprint, self.recipes),
                fix="name it in policy.blueprints",
            )
        if site.layout not in recipe.entry.layouts:
            fits = ", ".join(sorted(recipe.entry.layouts))
            raise EsperError("E404", f'blueprint "{blueprint}" fits {fits}, but site "{site.id}" is {site.layout}')

    def take_in(self, life: Life) -> tuple[str | None, str | None]:
        """Plant a seed's module, if its source has it.

        Returns:
            What is wrong with the source, and what is wrong with the module ("" is nothing); None is not known yet.
        """
        if life.slot in self._bed.slots:
            return None, ""
        try:
            module = self._source(life).poll()
        except Exception as error:  # it fails in ways that only its blueprint knows: the seed bears it, not the run
            return f"{type(error).__name__}: {error}", None
        if module is None:
            return None, None
        recipe = self.recipes[life.blueprint]
        problem = self._bed.plant(
            self._bed.sites[life.slot],
            life.seed_id,
            module,
            derive_seed(self.seed, life.seed_id),
            random=recipe.draws_random_numbers,
            masked=recipe.takes_mask,
            learning_rate=self._learning_rate,
        )
        life.parameters = sum(p.numel() for p in module.parameters())
        return None, problem

    def uproot(self, life: Life) -> None:
        """Take a seed's module away, and forget its source."""
        self._bed.uproot(self._bed.sites[life.slot], life.seed_id)
        self._sources.pop(life.slot, None)

    def clear(self) -> None:
        """Forget every source."""
        self._sources.clear()

    def _source(self, life: Life) -> ModuleSource:
        if life.slot not in self._sources:
            stream = derive_seed(self.seed, life.seed_id, "build")
            build = partial(blended, self.recipes[life.blueprint].build, blend=life.blend)
            self._sources[life.slot] = LocalSource(build, self._bed.sites[life.slot], stream)
        return self._sources[life.slot]
