"""The run's catalogue: the frozen, ordered blueprints that its policy may germinate."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site


@frozen(kw_only=True)
class CatalogueEntry:
    """One blueprint as this run uses it.

    Attributes:
        name: the blueprint's name.
        layouts: the layouts that it fits.
        options: its options, validated and complete, as plain data.
        distribution: what ships it.
        version: of that distribution.
        input_layouts: layouts that it fits at sites whose input is known.
        learnable: it has parameters; a blueprint without any (`noop`) is never germinated by a policy.
    """

    name: str
    layouts: frozenset[Layout]
    options: Mapping[str, Any] = field(factory=dict)
    distribution: str = ""
    version: str = ""
    learnable: bool = True
    input_layouts: frozenset[Layout] = frozenset()

    def fits(self, site: Site) -> bool:
        """Say whether a policy may germinate this blueprint at the site."""
        return self.learnable and self.takes(site)

    def takes(self, site: Site) -> bool:
        """Say whether it can be built for the site."""
        return site.layout in self.layouts or (bool(site.input_shape) and site.layout in self.input_layouts)


@frozen
class Catalogue:
    """An ordered set of blueprints. The order is the order of the blueprint action head."""

    entries: tuple[CatalogueEntry, ...]

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The blueprints' names in order."""
        return tuple(entry.name for entry in self.entries)

    def __getitem__(self, name: str) -> CatalogueEntry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def fitting(self, site: Site) -> frozenset[str]:
        """Names of the blueprints that a policy may germinate at this site."""
        return frozenset(entry.name for entry in self.entries if entry.fits(site))

    @property
    def digest(self) -> str:
        """SHA-256 over names and options in order: what a saved policy must agree with."""
        content = [[entry.name, dict(entry.options)] for entry in self.entries]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
