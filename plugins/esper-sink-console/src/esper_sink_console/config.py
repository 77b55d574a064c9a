"""Options of the sink `console`."""

from attrs import frozen


@frozen(kw_only=True)
class ConsoleConfig:
    """How to show a run.

    Attributes:
        live: a display that is drawn over itself. None: where the output is a terminal that can do so; elsewhere a
            line for each epoch and each transition.
    """

    live: bool | None = None
