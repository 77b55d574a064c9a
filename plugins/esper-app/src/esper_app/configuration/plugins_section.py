"""The section ``plugins`` of a configuration. Imports no torch."""

from attrs import frozen


@frozen(kw_only=True)
class PluginsConfig:
    """Which plugins may take part.

    Attributes:
        enable: plugins by name, or ``auto``, ``all`` or ``none``, as for ``--plugins``.
        disable: plugins that are not even imported, as for ``--no-plugin``.
        requires: distributions with versions that must be there, such as ``esper-blueprint-foo>=0.3,<0.4``.
        locked: a lock, manifest or run's directory that says which plugins take part, as for ``--locked``.
    """

    enable: tuple[str, ...] = ("auto",)
    disable: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    locked: str | None = None
