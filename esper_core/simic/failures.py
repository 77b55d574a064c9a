"""When every host has failed there is nothing to go on with."""

from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb

from esper_core.leyline.errors import EsperError
from esper_core.leyline.reports import HostReport


def require_a_host(reports: Sequence[HostReport]) -> None:
    """Check that not every host has failed.

    Raises:
        EsperError: naming the first host and its reason, from what it raised where that is known. The code is that of
            what it raised if it is an EsperError, otherwise E540.
    """
    failed = [report for report in reports if report.failure is not None]
    if not reports or len(failed) < len(reports):
        return
    first, others = failed[0], failed[1:]
    what = f'host "{first.host}" has failed in epoch {first.epoch + 1}: {first.failure}'
    also = "; ".join(f'"{report.host}": {report.failure}' for report in others)
    why, cause = f"so have all others: {also}" if others else None, first.cause
    if isinstance(cause, EsperError):
        raise EsperError(cause.code, what, where=cause.where, why=cause.why or why, fix=cause.fix) from cause
    raise EsperError("E540", what, where=_place(cause), why=why) from cause


def _place(cause: BaseException | None) -> str | None:
    """The line that raised."""
    frames = extract_tb(cause.__traceback__) if cause is not None else []
    return f"{Path(frames[-1].filename)}, line {frames[-1].lineno}, in {frames[-1].name}" if frames else None
