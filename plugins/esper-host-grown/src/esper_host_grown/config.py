"""Options of the host `grown`."""

from enum import StrEnum

from attrs import field, frozen, validators


class LiveSeeds(StrEnum):
    """What becomes of seeds whose fate was open at the end of the run.

    ``REMOVE``: they are left out. ``KEEP``: those that act on the network's outputs, being blended in or on probation,
    are a part of it, with alpha 1; one that was trained in isolation is left out.
    """

    REMOVE = "remove"
    KEEP = "keep"


_NAME = validators.optional(validators.instance_of(str))


@frozen(kw_only=True)
class GrownConfig:
    """Options of the host `grown`.

    Attributes:
        run: the directory of the run whose topology it has; it must be given.
        host: the name of the host there. None: the only one.
        live: whether seeds that were live at the end are left out (``remove``) or are a part of it (``keep``).
    """

    run: str | None = field(default=None, validator=_NAME)
    host: str | None = field(default=None, validator=_NAME)
    live: LiveSeeds = field(default=LiveSeeds.REMOVE, converter=LiveSeeds)
