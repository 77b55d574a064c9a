"""The section ``telemetry``: a profile, and what is set beside it. Imports no torch."""

from collections.abc import Iterable, Mapping, Sequence

from esper_app.configuration.layers import Layer, Origin, merge
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.kinds import PluginKind
from esper_nissa.profiles import PROFILES, Profile

_SECTION = "telemetry"


def with_profile(layers: Sequence[Layer], kinds: Iterable[PluginKind]) -> list[Layer]:
    """Return configuration layers with what the profile says that they name, right above the defaults.

    Raises:
        EsperError: E202 for a profile that is not known.
    """
    merged = merge(layers, kinds)
    said = merged.tree.get(_SECTION)
    said = said if isinstance(said, Mapping) else {}
    name = said.get("profile", Profile.STANDARD.value)
    if name not in [*Profile]:
        what = 'the value of "telemetry.profile" is not valid'
        why = f"there is no profile {name!r:.80}"
        fix = did_you_mean(str(name), [*Profile]) or f"the profiles are {', '.join(Profile)}"
        raise EsperError("E202", what, where=merged.source("telemetry.profile"), why=why, fix=fix)
    layer = Layer(origin=Origin.PROFILE, source=f'the telemetry profile "{name}"', data=PROFILES[Profile(name)])
    weaker = [it for it in layers if it.origin is Origin.DEFAULT]
    return [*weaker, layer, *(it for it in layers if it.origin is not Origin.DEFAULT)]
