"""The torchrun job that this process is a part of: its rank, and the store where processes find each other."""

import os
from datetime import timedelta
from functools import cache

from attrs import frozen
from torch._C._distributed_c10d import TCPStore

#: How often, in seconds, a process looks whether there is work for it.
LOOKING = 0.2


@frozen
class Job:
    """A torchrun job, seen from one of its processes.

    Attributes:
        rank: of this process, from 0; the first one runs the command.
        size: number of processes.
        host, port: of the store that torchrun keeps.
        attempt: how often torchrun has started the processes again.
    """

    rank: int
    size: int
    host: str
    port: int
    attempt: int

    @classmethod
    def here(cls) -> "Job | None":
        """Return the job that this process is a part of; None if torchrun did not start it."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return None
        return cls(
            rank=int(os.environ["RANK"]),
            size=int(os.environ["WORLD_SIZE"]),
            host=os.environ["MASTER_ADDR"],
            port=int(os.environ["MASTER_PORT"]),
            attempt=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )

    @property
    def name(self) -> str:
        """Names this attempt in the store, which outlives it."""
        return f"esper/{self.attempt}"


@cache
def store(job: Job) -> TCPStore:
    """Return a connection to the job's store."""
    return TCPStore(job.host, job.port, is_master=False, timeout=timedelta(seconds=300))
