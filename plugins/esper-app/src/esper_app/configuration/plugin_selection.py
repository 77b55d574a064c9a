"""Which plugins a run may use: what the command line, the environment and the configuration say, as one selection."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.selection import AUTO, NONE, Block, Selection

if TYPE_CHECKING:
    # It is a tenth of what listing plugins imports, and needed only where a file is named.
    from pathlib import Path


@frozen(kw_only=True)
class PluginOptions:
    """What the command line says.

    Attributes:
        plugins: values of ``--plugins``, each a comma list of names or words; later ones add to earlier ones.
        no_plugin: values of ``--no-plugin``.
        plugin_path: values of ``--plugin-path``.
        strict: any plugin that cannot be had is an error.
        locked: value of ``--locked``.
    """

    plugins: tuple[str, ...] = ()
    no_plugin: tuple[str, ...] = ()
    plugin_path: "tuple[Path, ...]" = ()
    strict: bool = False
    locked: "Path | None" = None

    def as_data(self) -> dict[str, Any]:
        """Return them as JSON can hold them, for another process."""
        return {
            "plugins": list(self.plugins),
            "no_plugin": list(self.no_plugin),
            "plugin_path": [str(path.absolute()) for path in self.plugin_path],
            "strict": self.strict,
            "locked": None if self.locked is None else str(self.locked.absolute()),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "PluginOptions":
        """Return what `as_data` has made plain."""
        from pathlib import Path

        locked = data["locked"]
        return cls(
            plugins=tuple(data["plugins"]),
            no_plugin=tuple(data["no_plugin"]),
            plugin_path=tuple(map(Path, data["plugin_path"])),
            strict=data["strict"],
            locked=None if locked is None else Path(locked),
        )


class PluginsTable(Protocol):
    """The table ``[plugins]`` of a configuration file."""

    @property
    def enable(self) -> Sequence[str]:
        """Names or words, as for ``--plugins``."""

    @property
    def disable(self) -> Sequence[str]:
        """Names, as for ``--no-plugin``."""

    @property
    def requires(self) -> Sequence[str]:
        """Distributions with versions that must be there, such as ``esper-blueprint-foo>=0.3,<0.4``."""

    @property
    def locked(self) -> str | None:
        """A lock, as for ``--locked``."""


def select(options: PluginOptions, environ: Mapping[str, str], table: PluginsTable | None = None) -> Selection:
    """Merge what the command line, the environment (``ESPER_PLUGINS`` and the like) and the configuration say.

    The command line goes before the environment, the environment before the configuration. Names to block add up,
    but a plugin that a stronger source names is not blocked by a weaker one. A lock decides alone: what weaker sources
    say does not count, and the same or a stronger one must not select plugins as well.

    Raises:
        EsperError: E151 if one source both names and blocks a plugin, says `none` and more, or selects beside a lock.
    """
    wanted: tuple[str, ...] = ()
    blocked: list[Block] = []
    lock: str | Path | None = None
    for level in _levels(options, environ, table):
        level.check_consistent()
        if level.lock:
            _check_lock_alone(level, wanted, blocked)
            lock, wanted, blocked = level.lock, (), []
            break
        blocked += [Block(name, wanted, level.source == "ESPER_PLUGINS") for name in level.block]
        wanted = wanted or level.names
    return Selection(
        wanted=wanted or (AUTO,),
        blocked=tuple(blocked),
        paths=options.plugin_path,
        requires=tuple(table.requires) if table else (),
        strict=options.strict,
        lock=_path(lock) if lock else None,
    )


def _split(values: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for value in values for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def _path(text: "str | Path") -> "Path":
    from pathlib import Path

    return Path(text)


class _Level(NamedTuple):
    """What one source says."""

    source: str
    names: tuple[str, ...]
    block: tuple[str, ...]
    lock: "str | Path | None"
    lock_source: str

    def check_consistent(self) -> None:
        if NONE in self.names and len(self.names) > 1:
            rest = ", ".join(name for name in self.names if name != NONE)
            raise EsperError("E151", f'{self.source} says "none" and also {rest}', fix='leave "none" out, or the rest')
        if both := sorted({*self.names} & {*self.block}):
            raise EsperError("E151", f'plugin "{both[0]}" is both asked for and switched off', where=self.source)


def _levels(options: PluginOptions, environ: Mapping[str, str], table: PluginsTable | None) -> tuple[_Level, ...]:
    names, block, lock = environ.get("ESPER_PLUGINS", ""), environ.get("ESPER_NO_PLUGINS", ""), "ESPER_LOCKED"
    said = (table.enable, table.disable, table.locked) if table else ((), (), None)
    return (
        _Level("--plugins", _split(options.plugins), _split(options.no_plugin), options.locked, "--locked"),
        _Level("ESPER_PLUGINS", _split([names]), _split([block]), environ.get(lock), lock),
        _Level("plugins.enable", _split(said[0]), _split(said[1]), said[2], "plugins.locked"),
    )


def _check_lock_alone(level: _Level, wanted: Sequence[str], blocked: Sequence[Block]) -> None:
    """`auto` selects nothing in particular, and is what configurations say that say nothing."""
    named = [*wanted, *level.names, *(block.name for block in blocked), *level.block]
    if others := [name for name in named if name != AUTO]:
        raise EsperError(
            "E151",
            f"the plugins are locked, and selected by name as well: {', '.join(dict.fromkeys(others))}",
            where=level.lock_source,
            why="a lock says which plugins a run has, all of them",
            fix="leave out the lock, or what selects plugins",
        )
