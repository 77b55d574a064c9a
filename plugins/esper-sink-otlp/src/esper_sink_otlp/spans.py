"""A run as a trace: the run, in it the epochs of every host, in them gates, counterfactuals and checkpoints."""

import random
from collections import defaultdict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from esper_core.api import Event, EventKind
from esper_runs.event_text import event_text
from esper_runs.formatting import as_number
from esper_sink_otlp.attributes import Attribute, attributes, text

#: Events that are noted in the epoch before whose end they happen.
_NOTED = (
    EventKind.ACTION_DECIDED,
    EventKind.ACTION_DENIED,
    EventKind.SEED_TRANSITION,
    EventKind.SEED_FINISHED,
    EventKind.GOVERNOR_INTERVENED,
    EventKind.PLUGIN_FAILED,
    EventKind.ALERT,
    EventKind.NOTICE,
)


class _Finished(SpanProcessor):
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Ids(IdGenerator):
    """Identities of one run: the trace's, and that of its first span, are the same when the run goes on.

    Args:
        run: what tells the run apart.
        root: whether the first span is the run's.
    """

    def __init__(self, run: str, root: bool) -> None:
        digest = sha256(run.encode("utf-8", "surrogatepass")).digest()
        self.trace, self.root = (int.from_bytes(part) or 1 for part in (digest[:16], digest[16:24]))
        # Not the one that a run's seed decides on.
        self._random = random.SystemRandom()
        self._next = self.root if root else 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        found, self._next = self._next, 0
        return found or self._random.randrange(1, 1 << 64)


class Spans:
    """Makes the spans of a run; it must be shown the events in order.

    Args:
        manifest: the run's manifest.
        resource: the run.
        started: when the run began or went on, in nanoseconds since 1970.
    """

    def __init__(self, manifest: Mapping[str, Any], resource: Resource, started: int) -> None:
        resumed = manifest.get("resumed_at") is not None
        ids = _Ids(f"{manifest.get('name')}\n{manifest.get('started')}", root=not resumed)
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False, id_generator=ids)
        self._finished = _Finished()
        provider.add_span_processor(self._finished)
        self._tracer = provider.get_tracer("esper")
        first = SpanContext(ids.trace, ids.root, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        name, parent = ("resumed run", _context(first)) if resumed else ("run", Context())
        self._run = self._tracer.start_span(name, parent, start_time=started)
        self._inside = self._newest = _context(self._run.get_span_context())
        self._noted: dict[str, list[Event]] = defaultdict(list)
        self._ended = False

    def take(self, event: Event) -> None:
        """Make the spans of an event, or note it for the next epoch."""
        if event.kind is EventKind.EPOCH_COMPLETED:
            self._epoch(event)
        elif event.kind in _NOTED:
            self._noted[event.host].append(event)
        elif event.kind is EventKind.RUN_FINISHED and not self._ended:
            self._finish(event)

    def checkpoint(self, epoch: int, began: int, ended: int) -> None:
        """Make the span of a checkpoint, in that of the newest epoch."""
        if not self._ended:
            facts = {"esper.epoch": epoch}
            self._tracer.start_span("checkpoint", self._newest, attributes=facts, start_time=began).end(ended)

    def end(self, moment: int) -> None:
        """End the run's span; without its last event it has broken off."""
        if not self._ended:
            self._over("broken off", moment, failed=True)

    def taken(self) -> list[ReadableSpan]:
        """Return the spans that have ended since the last call."""
        found, self._finished.spans = self._finished.spans, []
        return found

    def _epoch(self, event: Event) -> None:
        """An epoch ends with its event; it has lasted as long as training and validation took."""
        data, end = event.data, nanoseconds(event.time)
        seconds = sum(as_number((data.get(split) or {}).get("seconds")) or 0.0 for split in ("train", "validation"))
        plain = {name: value for name, value in data.items() if name not in ("seeds", "gates", "slots")}
        span = self._span("epoch", self._inside, max(0, end - nanoseconds(seconds)), event, plain)
        for noted in self._noted.pop(event.host, []):
            _note(span, noted)
        self._newest = inside = _context(span.get_span_context())
        for slot, verdicts in (data.get("gates") or {}).items():
            for verdict in verdicts:
                self._span("gate", inside, end, event, {**verdict, "slot": slot}).end(end)
        for seed in data.get("seeds") or ():
            for measured in ("contribution", "probe"):
                if seed.get(measured):
                    facts = {name: seed.get(name) for name in ("slot", "seed_id", "blueprint", "stage", "alpha")}
                    facts |= {"measured": measured, "difference": seed[measured]}
                    self._span("counterfactual", inside, end, event, facts).end(end)
        span.end(end)

    def _span(self, name: str, inside: Context, start: int, event: Event, data: Mapping[str, Any]) -> Span:
        about: dict[str, Attribute] = {"esper.host": text(event.host), "esper.round": event.round}
        if event.epoch is not None:
            about["esper.epoch"] = event.epoch
        return self._tracer.start_span(name, inside, attributes=attributes(data) | about, start_time=start)

    def _finish(self, event: Event) -> None:
        outcome = str(event.data.get("outcome"))
        for host, figures in (event.data.get("hosts") or {}).items():
            self._run.set_attributes(attributes(figures, f"esper.{text(host)}."))
        self._over(outcome, nanoseconds(event.time), failed=outcome == "stopped")

    def _over(self, outcome: str, moment: int, *, failed: bool) -> None:
        self._ended = True
        for events in self._noted.values():
            for noted in events:
                _note(self._run, noted)
        self._noted.clear()
        self._run.set_attribute("esper.outcome", text(outcome))
        if failed:
            self._run.set_status(Status(StatusCode.ERROR, text(outcome)))
        self._run.end(moment)


def nanoseconds(seconds: float) -> int:
    """Return seconds in OpenTelemetry's unit."""
    return int(seconds * 1e9) if 0 <= seconds < 9e9 else 0


def _context(span: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(span), Context())


def _note(span: Span, event: Event) -> None:
    facts = attributes(event.data)
    if (said := _said(event)) is not None:
        facts["esper.text"] = text(said)
    span.add_event(str(event.kind), facts, nanoseconds(event.time))


def _said(event: Event) -> str | None:
    try:
        return event_text(event.kind, event.data)
    except (KeyError, TypeError, ValueError):  # a payload with less than its record
        return None
