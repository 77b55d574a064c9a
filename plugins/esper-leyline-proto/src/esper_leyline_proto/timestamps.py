"""Points in time as microseconds since 1970 in UTC, exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400


def microseconds(time: datetime) -> int:
    """Return the microseconds from 1970 in UTC to `time`.

    Raises:
        ValueError: if it has no time zone: nobody could say which moment it means.
    """
    seconds, rest = seconds_and_microseconds(time)
    return seconds * 1_000_000 + rest


def seconds_and_microseconds(time: datetime) -> tuple[int, int]:
    """Return the same as whole seconds, rounded down, and the microseconds behind them.

    Raises:
        ValueError: as `microseconds`.
    """
    if time.utcoffset() is None:
        raise ValueError("a time needs a time zone")
    since = time - _EPOCH
    return since.days * _DAY + since.seconds, since.microseconds


def at(seconds: int, microseconds: int) -> datetime:
    """Return the point in time, in UTC.

    Raises:
        OverflowError: beyond the years 1 to 9999.
    """
    return _EPOCH + timedelta(0, seconds, microseconds)
