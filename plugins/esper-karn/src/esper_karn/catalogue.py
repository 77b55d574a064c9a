"""The catalogue: every installed blueprint with what is recorded of it, queries, and a choice by context."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen, validators

from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.installed import canonical
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config
from esper_karn.bounds import misfits, outside
from esper_karn.kinds import LAST_STAGE, Bounds, DossierSpec, Tier, as_tags

#: What is said of a blueprint without a dossier.
UNRECORDED = "nothing is recorded of it"


@frozen(kw_only=True)
class CatalogueEntry:
    """A blueprint, and what is recorded of it. Of several dossiers the strictest word of each holds.

    Attributes:
        blueprint: the blueprint.
        dossiers: what is recorded; none for a blueprint of which nothing is.
    """

    blueprint: Registered
    dossiers: tuple[DossierSpec, ...]

    @property
    def spec(self) -> BlueprintSpec:
        """The blueprint's descriptor."""
        assert isinstance(self.blueprint.spec, BlueprintSpec)
        return self.blueprint.spec

    @property
    def id(self) -> str:
        """Distribution and name: ``esper-blueprint-mlp/mlp``."""
        return self.blueprint.id

    @property
    def tier(self) -> Tier:
        """How far it can be trusted; EXPERIMENTAL if nothing is recorded."""
        return max((it.tier for it in self.dossiers), default=Tier.EXPERIMENTAL)

    @property
    def risk(self) -> float | None:
        """How likely it is to disturb its host, 0 to 1; None if nothing is recorded."""
        return max((it.risk for it in self.dossiers), default=None)

    @property
    def stage(self) -> int | None:
        """The stage of a curriculum from which on it should be used; None if nothing is recorded."""
        return max((it.stage for it in self.dossiers), default=None)

    @property
    def tags(self) -> frozenset[str]:
        """What it is, in words."""
        return frozenset().union(*(it.tags for it in self.dossiers))

    @property
    def quarantined(self) -> bool:
        """It has to be approved to be used, whatever its tier."""
        return any(it.quarantined for it in self.dossiers)

    @property
    def bounds(self) -> Mapping[str, Bounds]:
        """The bounds of its options: where several dossiers bound one, what all of them allow."""
        found: dict[str, Bounds] = {}
        for option, (low, high) in ((key, it) for dossier in self.dossiers for key, it in dossier.bounds.items()):
            before = found.get(option, (low, high))
            found[option] = (max(low, before[0]), min(high, before[1]))
        return found

    @property
    def needs_approval(self) -> bool:
        """A run may use it only once it is approved."""
        return self.quarantined or self.tier is Tier.HIGH_RISK

    @property
    def needs_naming(self) -> bool:
        """A run may use it only if the user named it, or approved it."""
        return self.tier is not Tier.SAFE or any(it.approval_required for it in self.dossiers)

    def options(self, given: Mapping[str, Any]) -> Any:
        """Return the blueprint's options, as an instance of its options class; None if it has none.

        Raises:
            EsperError: E201 for an unknown option, E202 for a value that does not fit, E160 if it cannot be loaded.
        """
        return build_config(self.blueprint, given, path=f"blueprints.{self.spec.name}")

    def misfits(self) -> tuple[str, ...]:
        """Return in words what its dossiers say that is not so. Raises EsperError E160 as `bounds.misfits`."""
        return tuple(it for dossier in self.dossiers for it in misfits(dossier, self.blueprint))

    def outside(self, options: object) -> tuple[tuple[str, object, Bounds], ...]:
        """Return the options that are not within their bounds, each with its value and the bounds."""
        return tuple(outside(self.bounds, options))


def catalogue(registry: Registry) -> tuple[CatalogueEntry, ...]:
    """Return every installed blueprint with what is recorded of it, sorted by name and distribution.

    A dossier without an installed blueprint is not in it: what cannot be built cannot be chosen.
    """
    dossiers = _dossiers(registry)
    entries = [
        CatalogueEntry(
            blueprint=it,
            dossiers=tuple(dossiers.get((canonical(it.origin.provider), it.spec.name), ())),
        )
        for it in registry[BlueprintSpec.kind]
    ]
    return tuple(sorted(entries, key=lambda it: (it.spec.name, it.id)))


def entry_of(registry: Registry, name: str) -> CatalogueEntry:
    """Return the entry of a blueprint, by name or as ``distribution/name``.

    Raises:
        EsperError: E204 if it is not known, with the nearest name, E111 if two distributions offer it.
    """
    blueprint = registry.get(BlueprintSpec.kind, name)
    return next(it for it in catalogue(registry) if it.blueprint is blueprint)


def _dossiers(registry: Registry) -> Mapping[tuple[str, str], Sequence[DossierSpec]]:
    found: dict[tuple[str, str], list[DossierSpec]] = {}
    if DossierSpec.kind in registry.by_kind:
        for spec in (it.spec for it in registry[DossierSpec.kind]):
            assert isinstance(spec, DossierSpec)
            found.setdefault((canonical(spec.distribution), spec.blueprint), []).append(spec)
    return found


@frozen(kw_only=True)
class Query:
    """What is looked for in the catalogue; every condition has to hold.

    Attributes:
        tier: exactly this one.
        tags: all of these.
        layout: it fits sites of this layout.
        stage: recorded as fit for this stage of a curriculum: from this or an earlier one on.
        conservative: SAFE, learnable, able to run here, and not quarantined.
    """

    tier: Tier | None = None
    tags: frozenset[str] = field(default=frozenset(), converter=as_tags)
    layout: Layout | None = None
    stage: int | None = field(
        default=None, validator=validators.optional((validators.ge(0), validators.le(LAST_STAGE)))
    )
    conservative: bool = False

    def matches(self, entry: CatalogueEntry) -> bool:
        """Say whether an entry is one of those looked for."""
        return (
            self.tier in (None, entry.tier)
            and self.tags <= entry.tags
            and (self.layout is None or self.layout in entry.spec.layouts)
            and (self.stage is None or (entry.stage is not None and entry.stage <= self.stage))
            and (not self.conservative or (entry.tier is Tier.SAFE and not entry.quarantined and selectable(entry)))
        )


def find(entries: Iterable[CatalogueEntry], query: Query) -> tuple[CatalogueEntry, ...]:
    """Return the entries that a query matches, in order."""
    return tuple(filter(query.matches, entries))


def selectable(entry: CatalogueEntry) -> bool:
    """Say whether a seed can be made of it here: it learns, and it can run on this machine."""
    return entry.spec.learnable and entry.spec.unavailable is None


def choose(entries: Iterable[CatalogueEntry], context: str, approved: Collection[str] = ()) -> CatalogueEntry:
    """Choose one of the entries, always the same for the same entries and context.

    The rule: leave out those of which no seed can be made here, and those that need an approval and are not among
    `approved`, which holds ``distribution/name``. Sort the others by ``distribution/name``. Of the SHA-256 of the
    context in UTF-8 take the first eight bytes as an unsigned number, the most significant byte first, modulo the
    number of entries; that is the index.

    Raises:
        EsperError: E408 if there is nothing to choose from.
    """
    allowed = [it for it in entries if selectable(it) and (not it.needs_approval or it.id in approved)]
    candidates = sorted(allowed, key=lambda it: it.id)
    if not candidates:
        raise EsperError(
            "E408",
            "nothing in the catalogue can be chosen",
            why="no blueprint that learns, can run here and needs no approval is what was asked for",
            fix="ask for less: leave out a tag, the layout or the stage, or name a tier; esper catalogue ls shows all",
        )
    number = int.from_bytes(hashlib.sha256(context.encode()).digest()[:8], "big")
    return candidates[number % len(candidates)]
