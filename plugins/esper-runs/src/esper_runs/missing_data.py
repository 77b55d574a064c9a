"""What is missing from a run's files, and why: what is absent is named, never filled in."""

from collections.abc import Iterator, Mapping
from typing import Any

from esper_core.leyline.events import EventKind, Level
from esper_runs.event_log import EventLog
from esper_runs.run_directory import EVENTS, RESULT

_LOG_SINK = "jsonl"


def missing_data(
    manifest: Mapping[str, Any], log: EventLog | None, result: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """Return a sentence for everything that is missing.

    Args:
        manifest: the run's manifest.
        log: its event log, None if there is no such file.
        result: its result, None if the run is not over.
    """
    config = manifest.get("config") or {}
    return (
        *_without_result(result),
        *_without_log(config, log),
        *_in_log(log),
        *_left_out(result),
        *_without_twin(config),
    )


def _without_result(result: Mapping[str, Any] | None) -> Iterator[str]:
    if result is None:
        yield (
            f"There is no {RESULT}: the run is still going on, or it was killed. "
            "Nothing is known about the test split, and the figures of seeds are those of the last epoch."
        )


def _without_log(config: Mapping[str, Any], log: EventLog | None) -> Iterator[str]:
    sinks = config.get("sinks") or {}
    elsewhere = (sinks.get(_LOG_SINK) or {}).get("path")
    level = _level(config.get("telemetry"))
    lacking = "so gates, actions and the training curves are not known"
    if log is None or level == Level.OFF.name:
        lacking = lacking.replace("so gates", "so stages, gates")
    if log is None:
        named = _LOG_SINK in sinks.get("names", (_LOG_SINK,))
        why = f'the sink "{_LOG_SINK}" was not used' if not named else "the file is gone"
        why = f'it was written to "{elsewhere}"' if named and elsewhere else why
        yield f"There is no {EVENTS} here ({why}), {lacking}."
    elif level in (Level.OFF.name, Level.MINIMAL.name):
        yield f"Telemetry was {level.lower()}, {lacking}. With telemetry.level = normal they are recorded."
    elif not any(event["kind"] == EventKind.EPOCH_COMPLETED for event in log.events):
        yield "No epoch has been completed."


def _level(telemetry: Any) -> str:
    """The name of the level; it was a text before it had a section."""
    said = telemetry.get("level") if isinstance(telemetry, Mapping) else telemetry
    return str(said or Level.NORMAL.name).upper()


def _in_log(log: EventLog | None) -> Iterator[str]:
    if log is None:
        return
    if log.torn:
        yield f"The last line of {EVENTS} is incomplete and is left out."
    if log.damaged:
        yield f"{log.damaged} lines of {EVENTS} are damaged and are left out."
    if log.lost:
        yield f"{log.lost} events are missing from {EVENTS}."


def _left_out(result: Mapping[str, Any] | None) -> Iterator[str]:
    telemetry = (result or {}).get("telemetry")
    count = telemetry.get("left_out") if isinstance(telemetry, Mapping) else None
    if isinstance(count, int) and count > 0:
        yield f"{count} events were left out: there were as many as telemetry.max_events allows."


def _without_twin(config: Mapping[str, Any]) -> Iterator[str]:
    # It was true or false before there were several.
    if config.get("twin") in (False, "none"):
        yield "There was no twin, so neither the gain nor whether growing paid is known."
    elif config.get("twin") == "compute":
        yield "There was no twin of equal epochs, so the gain of the network in the course of the run is not known."
