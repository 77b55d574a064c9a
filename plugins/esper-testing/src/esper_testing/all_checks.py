"""The one list of checks: of plugins as a whole, of every component, and of each kind of component."""

from collections.abc import Iterable

from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS
from esper_testing.check import Check
from esper_testing.component_checks import COMPONENT_CHECKS
from esper_testing.component_uses import USE_CHECKS
from esper_testing.conformance import checks_of
from esper_testing.plugin_checks import PLUGIN_CHECKS


def all_checks(kinds: Iterable[PluginKind]) -> tuple[Check, ...]:
    """Return all checks that there are where these kinds are known."""
    return (*PLUGIN_CHECKS, *COMPONENT_CHECKS, *USE_CHECKS, *checks_of(kinds))


#: All checks of what the core knows.
CHECKS: tuple[Check, ...] = all_checks(KINDS)
