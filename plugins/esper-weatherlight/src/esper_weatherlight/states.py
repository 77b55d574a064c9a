"""How far a service is."""

from enum import StrEnum


class State(StrEnum):
    """How far a service is.

    Attributes:
        WAITING: for those that it requires.
        STARTING: it has been started, and is not ready.
        READY: it runs, and what requires it may start.
        BACKING_OFF: it has ended, and is started again after a pause.
        PAUSED: an emergency keeps it from running.
        STOPPING: it was asked to end.
        STOPPED: it has ended because it was asked to.
        DONE: it has done what it was to do.
        FAILED: its budget of restarts is spent, or another start would be in vain.
    """

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing-off"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
