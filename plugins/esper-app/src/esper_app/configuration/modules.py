"""Where the modules of a run's seeds come from. Imports no torch."""

from enum import StrEnum

from attrs import field, frozen, validators

#: The sections of what is needed for a store.
STORE, COMPILER = "store", "compiler"


class ModuleSource(StrEnum):
    """Where the modules of seeds come from."""

    LOCAL = "local"
    STORE = "store"


class Fallback(StrEnum):
    """What becomes of a seed whose module does not come from the store."""

    BUILD = "build"
    CULL = "cull"


@frozen(kw_only=True)
class ModulesConfig:
    """Where the modules of seeds come from; their initial weights are the same in any case.

    Attributes:
        source: ``local``, blueprints build them in this process; ``store``, they are compiled artifacts of the section
            ``store``, made by the section ``compiler``. Where a store is named it is ``store``, else ``local``.
    """

    source: ModuleSource = field(default=ModuleSource.LOCAL, converter=ModuleSource)


@frozen(kw_only=True)
class PrefetchConfig:
    """How seeds wait for modules from a store; in a run with a bus they are asked for on it.

    Attributes:
        timeout_seconds: how long a new seed waits for its module, compiling included.
        wait: its epoch waits as well, so that timing changes no bits. False: epochs go by without it meanwhile, and a
            run that is resumed or explained repeats when it came.
        fallback: what becomes of a seed whose module does not come: ``build``, its blueprint builds it in process;
            ``cull``, the seed is culled.
    """

    timeout_seconds: float = field(default=60.0, validator=[validators.instance_of((int, float)), validators.gt(0.0)])
    wait: bool = field(default=True, validator=validators.instance_of(bool))
    fallback: Fallback = field(default=Fallback.BUILD, converter=Fallback)
