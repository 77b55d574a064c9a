"""Policy updates that come in parts: what is there of them is kept in files until they are whole."""

import hashlib
import shutil
import time
from pathlib import Path

from esper_leyline_proto.learning import PolicyUpdate
from esper_runs.reading import read_regular
from esper_runs.run_directory import write_atomically
from esper_simic.database import unusable
from esper_simic.updates import LARGEST_POLICY, Refusal, refused

#: What is not whole after so long never will be: messages do not live longer.
_KEPT_SECONDS = 7 * 24 * 3600.0


class Parts:
    """The parts of updates that have been received.

    Args:
        folder: for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, update: PolicyUpdate) -> bytes | None:
        """Keep a part of a signed update; return the whole payload once all are there, and None before.

        What is returned is not verified: its checksum is in the update. A part that comes again takes its own place.

        Raises:
            RefusedPolicyError: E637, damaged: it is no part of such an update.
            EsperError: E635 if it cannot be kept.
        """
        number, count, payload = update.part, update.parts, update.payload
        if number is None or count is None or not payload or not 0 <= number < count <= update.size <= LARGEST_POLICY:
            raise refused(Refusal.DAMAGED, update.version, f"it says that it is part {number} of {count}")
        place = self._place(update)
        try:
            self._forget_old()
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(place / f"{number}-{count}", payload)
            files = [place / f"{it}-{count}" for it in range(count)]
            if sum(it.stat().st_size for it in place.iterdir()) > update.size:
                self.forget(update)
                raise refused(Refusal.DAMAGED, update.version, f"its parts have more than {update.size} bytes")
            if not all(it.is_file() for it in files):
                return None
            return b"".join(read_regular(it, inside=place) for it in files)
        except OSError as error:
            raise unusable(str(error), place) from error

    def forget(self, update: PolicyUpdate) -> None:
        """Let go of the parts of an update."""
        shutil.rmtree(self._place(update), ignore_errors=True)

    def _place(self, update: PolicyUpdate) -> Path:
        # An id may be any text, and two of one id and other content are two.
        told = f"{update.id}/{update.checksum}"
        return self._folder / hashlib.sha256(told.encode()).hexdigest()[:32]

    def _forget_old(self) -> None:
        if not self._folder.is_dir():
            return
        for it in self._folder.iterdir():
            if time.time() - it.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(it, ignore_errors=True)
