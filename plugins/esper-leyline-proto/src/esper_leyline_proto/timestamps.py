"""Points in time as microseconds since 1970 in UTC, exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """Return the microseconds from 1970 in UTC to `time`.

    Raises:
        ValueError: if it has no time zone: nobody could say which moment it means.
    """
    if time.utcoffset() is None:
        raise ValueError("a time needs a time zone")
    return (time - _EPOCH) // _MICROSECOND


def at_microseconds(count: int) -> datetime:
    """Return the point in time, in UTC.

    Raises:
        OverflowError: beyond the years 1 to 9999.
    """
    return _EPOCH + timedelta(microseconds=count)
