"""Which keys of a configuration are options of components, and which belong to the core."""

from collections.abc import Iterable, Mapping

from attrs import NOTHING, fields, fields_dict, frozen, has

from esper_app.configuration.config import RunConfig, is_section_of_components
from esper_core.leyline.kinds import PluginKind

#: The sections that have defaults without any component, with their classes.
CORE_SECTIONS: Mapping[str, type] = {
    key.name: key.type
    for key in fields(RunConfig)
    if isinstance(key.type, type) and has(key.type) and key.default is not NOTHING
}

#: Of the optimizer's keys, those that every optimizer has. The others go when another one is named.
_OF_ALL_OPTIMIZERS = frozenset(
    {"name", "warmup_epochs", "schedule", "seed_schedule", "seed_lr_multiplier", "clip_norm"}
)


@frozen
class Places:
    """Where options of components stand.

    Attributes:
        beside: by section, the keys that are no options of the component that its key ``name`` names.
        listed: sections with the tables of those components that one of their keys lists, with this key.
    """

    beside: Mapping[str, frozenset[str]]
    listed: Mapping[str, str]

    @classmethod
    def of(cls, kinds: Iterable[PluginKind]) -> "Places":
        """Return the places in a configuration where these kinds are known."""
        own = {
            key.name: frozenset(fields_dict(key.type)) - {"options"}
            for key in fields(RunConfig)
            if isinstance(key.type, type) and is_section_of_components(key.type)
        }
        own |= {name: frozenset({"names" if several else "name"}) for name, several in _further(kinds)}
        return cls(
            {name: keys for name, keys in own.items() if "name" in keys} | {"optimizer": _OF_ALL_OPTIMIZERS},
            _listed(kinds),
        )


def further_kinds(kinds: Iterable[PluginKind]) -> tuple[PluginKind, ...]:
    """Return the kinds that have a section of which the core knows nothing."""
    known = fields_dict(RunConfig)
    return tuple(kind for kind in kinds if kind.section and kind.section.name not in known)


def _listed(kinds: Iterable[PluginKind]) -> dict[str, str]:
    places = [kind.section for kind in kinds if kind.section and kind.section.several]
    split = [(place.name, *place.named_at.split("."), place.options_at) for place in places]
    return {name: key for name, section, key, table in split if name == section and not table.startswith("[[")}


def _further(kinds: Iterable[PluginKind]) -> Iterable[tuple[str, bool]]:
    return [(it.section.name, it.section.several) for it in further_kinds(kinds) if it.section]
