"""Requests whose artifacts are being made: files of the state directory, so that they outlive the worker."""

import re
from collections.abc import Iterator
from pathlib import Path

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.kernels import KernelPrefetchRequest
from esper_runs.run_directory import write_atomically

_FOLDER = "prefetch"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class WaitingRequests:
    """The requests that are to be answered, one file for each. Several workers may share them.

    Args:
        state: the state directory.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / _FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def add(self, request: KernelPrefetchRequest) -> None:
        """Remember a request.

        Raises:
            EsperError: E602 if its id cannot be the name of a file.
        """
        if not _ID.fullmatch(request.request_id):
            why = "a request is called by letters, digits, - and _, at most 64 of them"
            raise EsperError("E602", "a KernelPrefetchRequest cannot be read: request_id does not fit", why=why)
        write_atomically(self._folder / request.request_id, to_bytes(request))

    def remove(self, request: KernelPrefetchRequest) -> None:
        """Forget a request that was answered."""
        (self._folder / request.request_id).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[KernelPrefetchRequest]:
        for path in sorted(self._folder.iterdir()):
            if not _ID.fullmatch(path.name):
                continue
            try:
                yield from_bytes(KernelPrefetchRequest, path.read_bytes())
            except FileNotFoundError:
                continue  # another worker has answered it
            except EsperError:
                path.unlink(missing_ok=True)
