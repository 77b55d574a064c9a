"""The kind of component `dossier`: what is recorded of a blueprint."""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any

from attrs import Attribute, Factory, field, frozen, validators

from esper_core.hooks import hookspec
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec, ImportString, check_name, check_reference

ESPER_API = "2.0"

#: The highest stage of a curriculum.
LAST_STAGE = 6

_TAG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Tier(IntEnum):
    """How far a blueprint can be trusted.

    Attributes:
        SAFE: known to train, and bounded.
        EXPERIMENTAL: it has to be named to be used.
        HIGH_RISK: it has to be approved to be used.
    """

    SAFE = 1
    EXPERIMENTAL = 2
    HIGH_RISK = 3

    @property
    def title(self) -> str:
        """The name as people write it: ``high-risk``."""
        return self.name.lower().replace("_", "-")


#: The lowest and the highest value of an option, both integers or both floats.
Bounds = tuple[int, int] | tuple[float, float]


def as_tags(values: Iterable[str]) -> frozenset[str]:
    """Return tags as a set. Raises TypeError for a text, whose letters would be taken for tags."""
    if isinstance(values, str):
        raise TypeError(f"tags must be several texts, not {values!r}")
    return frozenset(values)


def _check_bounds(_: Any, attribute: "Attribute[Mapping[str, Bounds]]", value: Mapping[str, Bounds]) -> None:
    for option, bounds in value.items():
        if not (isinstance(bounds, tuple) and len(bounds) == 2 and {*map(type, bounds)} in ({int}, {float})):
            raise TypeError(f"{attribute.name}[{option!r}] must be two integers or two floats, not {bounds!r}")
        if not bounds[0] <= bounds[1]:
            raise ValueError(f"{attribute.name}[{option!r}] is empty: {bounds!r}")


def _check_tags(_: Any, attribute: "Attribute[frozenset[str]]", value: frozenset[str]) -> None:
    for tag in value:
        if not _TAG.fullmatch(tag):
            raise ValueError(f"{attribute.name}: {tag!r} must be lower-case words joined by '-'")


def the_dossier(dossier: "DossierSpec") -> "DossierSpec":
    """Return a dossier as it is: it is data, and there is nothing to make of it."""
    return dossier


@frozen(kw_only=True)
class DossierSpec(ComponentSpec):
    """What is recorded of a blueprint. ``factory(dossier) -> DossierSpec``: the descriptor is all there is.

    Where several dossiers speak of one blueprint, the strictest word of each holds.

    Attributes:
        name: unique in the distribution; by default also the blueprint's name.
        blueprint: the blueprint's name.
        distribution: what offers the blueprint; for a plugin of one file the plugin's name.
        tier: how far it can be trusted.
        risk: how likely it is to disturb its host, from 0 to 1, in the author's judgement.
        stage: the stage of a curriculum from which on it should be used, from 0 to 6.
        tags: what it is, in words.
        bounds: the lowest and the highest value of each of its options for which this holds. An option that is None is
            within any bounds.
        approval_required: it has to be named to be used, whatever its tier.
        quarantined: it has to be approved to be used, whatever its tier.
    """

    kind = "dossier"

    blueprint: str = field(default=Factory(lambda self: self.name, takes_self=True), validator=check_name)
    distribution: str = field(validator=(validators.instance_of(str), validators.min_len(1)))
    tier: Tier = field(converter=Tier)
    risk: float = field(converter=float, validator=(validators.ge(0.0), validators.le(1.0)))
    stage: int = field(validator=(validators.instance_of(int), validators.ge(0), validators.le(LAST_STAGE)))
    tags: frozenset[str] = field(default=frozenset(), converter=as_tags, validator=_check_tags)
    bounds: Mapping[str, Bounds] = field(factory=dict, validator=_check_bounds)
    approval_required: bool = field(default=False, validator=validators.instance_of(bool))
    quarantined: bool = field(default=False, validator=validators.instance_of(bool))
    factory: ImportString | Callable[..., Any] = field(
        default="esper_karn.kinds:the_dossier", validator=check_reference
    )


class DossierHooks:
    """The hook by which plugins offer dossiers."""

    @hookspec
    def esper_dossiers(self) -> Iterable[DossierSpec]:
        """Offer dossiers of blueprints, one's own or others'.

        >>> @hookimpl
        ... def esper_dossiers():
        ...     yield DossierSpec(
        ...         name="foo",
        ...         summary="A convolution, tried on small images.",
        ...         distribution="esper-blueprint-foo",
        ...         tier=Tier.EXPERIMENTAL,
        ...         risk=0.5,
        ...         stage=2,
        ...         tags=("convolution",),
        ...         bounds={"kernel": (1, 7)},
        ...     )
        """
        raise NotImplementedError


DOSSIER = PluginKind(
    spec=DossierSpec,
    hook="esper_dossiers",
    specification=DossierHooks,
    family="dossiers",
    protocol="esper_karn.kinds:DossierSpec",
    suite="esper_karn.testing.conformance:CONFORMANCE",
    review="esper_karn.enforcement:review",
)
