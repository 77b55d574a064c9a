"""Options of the services."""

from collections.abc import Mapping

from attrs import field, frozen, validators


@frozen(kw_only=True)
class BusServerConfig:
    """Which server.

    Attributes:
        scheme: the scheme of the bus, such as ``redis`` or ``nats``; its plugin must have a server of its own.
    """

    scheme: str = "redis"


@frozen(kw_only=True)
class CommandConfig:
    """What is started.

    Attributes:
        command: the command line, word by word. ``{bus}`` stands for the address of the machine's bus, ``{state}`` for
            the state directory, ``{folder}`` for a folder of the service's own. ``esper`` as the first word is the
            ``esper`` of this environment. An empty one is refused before any service is started.
        environment: what the process has in its environment besides; ``{bus}`` and the like stand for the same.
        ready_file: a file whose presence says that the service is ready; removed before each start. None: it is ready
            as soon as its process runs.
        ends: exit code 0 means that it has done what it was to do. Otherwise every end is a failure.
    """

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    ready_file: str | None = None
    ends: bool = False


@frozen(kw_only=True)
class ForgeConfig:
    """How blueprints are compiled.

    Attributes:
        store: the address of the store; None: what ESPER_STORE says, else the local one.
        timeout: seconds that one artifact may take.
    """

    store: str | None = None
    timeout: float = field(default=600.0, validator=validators.ge(1.0))


@frozen(kw_only=True)
class RunServiceConfig:
    """Which run.

    Attributes:
        task: the task; None: the configuration file names it.
        config: a configuration file, as ``esper run --config``.
        set: settings, as ``esper run --set``.
        runs: the directory that holds the runs.
        once: a run that is over is not begun again, even by another supervisor, unless one of these options has
            changed. Without it, each supervisor begins a new run when the last one is over.
    """

    task: str | None = None
    config: str | None = None
    set: tuple[str, ...] = ()
    runs: str = "runs"
    once: bool = True
