"""What of the plugin API will go away, in which version, and what to use in its place."""

from typing import NamedTuple


class Deprecation(NamedTuple):
    """A hook, an argument of a hook, or a field of a descriptor that will be removed.

    It goes on working until then; a plugin that uses it gets a warning (E124).

    Attributes:
        name: ``esper_hook``, ``esper_hook.argument``, or ``BlueprintSpec.field``.
        since: plugin API version from which on it is deprecated.
        removal: plugin API version that is without it: a major one.
        instead: what to use, in words.
    """

    name: str
    since: str
    removal: str
    instead: str


#: Everything that is deprecated; a line here is all that it takes.
DEPRECATIONS: tuple[Deprecation, ...] = ()
