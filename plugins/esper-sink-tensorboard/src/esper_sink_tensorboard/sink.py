"""Write a run's numbers and decisions for TensorBoard. Each host is a run there: their curves lie on each other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text import metadata as text_plugin

from esper_core.api import EsperError, Event
from esper_runs.event_text import event_text
from esper_runs.metrics import MetricReader
from esper_runs.names import safe_name
from esper_runs.options import flat_options
from esper_sink_tensorboard.config import TensorboardConfig
from esper_sink_tensorboard.event_file import EventFile, record


class TensorboardSink:
    """A sink that writes scalars and texts by epoch, and the options as hyperparameters.

    Args:
        config: where to write.
    """

    def __init__(self, config: TensorboardConfig) -> None:
        self._config = config
        self._reader = MetricReader({})
        self._files: dict[str, EventFile] | None = None
        self._root = self._inside = Path()
        self._run = ""
        self._resumed_at: int | None = None

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the file of the run, or go on with its files.

        Raises:
            EsperError: E504 if there is nowhere to write, it cannot be written, or another run's files are there.
        """
        self._root, self._inside = self._place(manifest)
        self._reader = MetricReader(manifest)
        self._run = f"esper {manifest.get('started')} {safe_name(str(manifest.get('name')))}"
        self._resumed_at = manifest.get("resumed_at")
        self._files = {}
        try:
            for folder in [self._root, *self._known_hosts()]:
                self._file(folder)
            if self._resumed_at is None:
                self._file(self._root).write([_options(manifest)])
        except OSError as error:
            self.close()
            what = f'the sink "tensorboard" cannot write in "{self._root}"'
            why = error.strerror or str(error)
            raise EsperError("E504", what, why=why, fix="set sinks.tensorboard.logdir to another place") from error

    def emit(self, events: Sequence[Event]) -> None:
        """Write the numbers and the text of each event.

        Raises:
            RuntimeError: before `open` and after `close`.
            OSError: if the disk is full or a file is gone.
        """
        if self._files is None:
            raise RuntimeError('the sink "tensorboard" is not open')
        waiting: dict[Path, list[event_pb2.Event]] = {}
        for event in events:
            for host, found in self._records(event):
                waiting.setdefault(self._root / safe_name(host) if host else self._root, []).append(found)
        for folder, records in waiting.items():
            self._file(folder).write(records)

    def flush(self) -> None:
        """Do nothing: what was emitted is visible."""

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        files, self._files = self._files, None
        for file in (files or {}).values():
            file.close()

    def _place(self, manifest: Mapping[str, Any]) -> tuple[Path, Path]:
        """The run's folder, and what it must not lead out of."""
        if self._config.logdir is not None:
            logdir = Path(self._config.logdir).expanduser().absolute()
            return logdir / safe_name(str(manifest.get("name"))), logdir
        if manifest.get("directory") is None:
            what = 'the sink "tensorboard" has nowhere to write'
            raise EsperError("E504", what, why="the run has no directory", fix="set sinks.tensorboard.logdir")
        directory = Path(manifest["directory"]).absolute()
        return directory / "tensorboard", directory

    def _known_hosts(self) -> Iterator[Path]:
        """Folders of hosts that the run has written to before: what will be repeated is removed from all of them."""
        if self._resumed_at is not None and self._root.is_dir():
            yield from (path for path in sorted(self._root.iterdir()) if path.is_dir() or path.is_symlink())

    def _file(self, folder: Path) -> EventFile:
        assert self._files is not None
        name = folder.name if folder != self._root else ""
        if name not in self._files:
            self._files[name] = EventFile(folder, inside=self._inside, run=self._run, resumed_at=self._resumed_at)
        return self._files[name]

    def _records(self, event: Event) -> Iterator[tuple[str, event_pb2.Event]]:
        by_place: dict[tuple[str, int], event_pb2.Event] = {}
        for point in self._reader.points(event):
            key = point.host, point.step
            if key not in by_place:
                by_place[key] = record(event.sequence, event.time, point.step)
            by_place[key].summary.value.add(tag=point.name, simple_value=point.value)
        yield from ((host, found) for (host, _), found in by_place.items())
        if (text := event_text(event.kind, event.data)) is not None:
            found = record(event.sequence, event.time, self._reader.step(event))
            found.summary.value.append(_text(f"events/{event.kind}", text))
            yield event.host, found


def _text(tag: str, text: str) -> summary_pb2.Summary.Value:
    # What no encoding has becomes its escape.
    content = text.encode("utf-8", "backslashreplace")
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[content])
    tensor.tensor_shape.SetInParent()
    metadata = text_plugin.create_summary_metadata(display_name=None, description=None)
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


def _options(manifest: Mapping[str, Any]) -> event_pb2.Event:
    found = record(-1, 0.0, 0)
    options = flat_options(manifest.get("config") or {})
    found.summary.CopyFrom(hparams_pb(options, trial_id=safe_name(str(manifest.get("name"))), start_time_secs=0.0))
    return found
