"""TensorBoard's event files, written record by record; each record says from which of the run's events it comes.

A record is its length and its bytes, each with a checksum behind it. TensorBoard ignores in which program a record was
made (`Event.source_metadata`), so that is where the number of Esper's event stands.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from esper_runs.log_file import open_log

#: TensorBoard reads files in whose names there is ``tfevents``.
NAME = "events.out.tfevents.esper"

_VERSION = "brain.Event:2"
_HEADER, _CHECKSUM = struct.Struct("<QI"), struct.Struct("<I")

#: A record that claims to be longer is none of Esper's.
_LONGEST = 1 << 28


class EventFile:
    """One event file, open for appending. What was written is visible at once.

    Args:
        folder: where the file is, or is made.
        inside: a directory that the folder is in, and that no link may lead out of.
        run: tells the run apart from all others.
        resumed_at: the number of the next event, if the run goes on: what came of later ones is removed.

    Raises:
        OSError: if it cannot be written, or is no event file of this run.
    """

    def __init__(self, folder: Path, *, inside: Path, run: str, resumed_at: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: FileIO = open_log(folder / NAME, inside=inside)
        try:
            self._begin(run, resumed_at)
        except OSError:
            self._file.close()
            raise

    def write(self, records: Sequence[event_pb2.Event]) -> None:
        """Append all records, or none. Raises OSError."""
        data = b"".join(map(_framed, records))
        start = self._file.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(start)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin(self, run: str, resumed_at: int | None) -> None:
        records = _records(self._file)
        first = next(records, None)
        empty = os.fstat(self._file.fileno()).st_size == 0
        if first is None and empty:
            begin = event_pb2.Event(file_version=_VERSION, source_metadata={"writer": run})
            self.write([begin])
        elif resumed_at is None or first is None or first[1].source_metadata.writer != run:
            raise OSError("there is an event file of another run already")
        else:
            end = first[0]
            for place, record in records:
                if number_of(record) >= resumed_at:
                    break
                end = place
            self._file.truncate(end)


def record(number: int, time: float, step: int) -> event_pb2.Event:
    """Return an empty record that comes from the event with this number."""
    return event_pb2.Event(wall_time=time, step=step, source_metadata={"writer": f"esper event {number}"})


def number_of(found: event_pb2.Event) -> int:
    """Return the number of the event that a record comes from; -1 if it says nothing."""
    number = str(found.source_metadata.writer).rpartition(" ")[2]
    return int(number) if number.isdecimal() else -1


def _framed(found: event_pb2.Event) -> bytes:
    data = found.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + _CHECKSUM.pack(masked_crc32c(length)) + data + _CHECKSUM.pack(masked_crc32c(data))


def _records(file: FileIO) -> Iterator[tuple[int, event_pb2.Event]]:
    """Yield every whole record, and where it ends; a crash may have left a part of one behind the last."""
    place = 0
    while True:
        file.seek(place)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or _HEADER.unpack(header)[0] > _LONGEST:
            return
        length, checksum = _HEADER.unpack(header)
        data = file.read(length + _CHECKSUM.size)
        if len(data) < length + _CHECKSUM.size or checksum != masked_crc32c(header[:8]):
            return
        if _CHECKSUM.unpack(data[length:])[0] != masked_crc32c(data[:length]):
            return
        place += _HEADER.size + len(data)
        try:
            yield place, event_pb2.Event.FromString(data[:length])
        except ValueError:  # DecodeError is one
            return
