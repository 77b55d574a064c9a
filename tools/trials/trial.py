"""A trial: something that `grow` is tried with, and what may come of it."""

import importlib.util
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from attrs import frozen

from esper_core.api import EsperError


class Wrong(Exception):  # noqa: N818 - it is a result
    """A trial that ended, and not as it should."""


class Refused(Exception):  # noqa: N818 - it is a result
    """What was tried is refused, in words, by torch or a library: `Trial.refused` says ``torch``."""


@frozen
class Trial:
    """Something that `grow` is tried with.

    Attributes:
        group: heading in the table.
        name: what is tried.
        run: tries it and says in a few words what came of it; raises `Wrong`, an `EsperError` that refuses, or
            whatever went wrong.
        needs: modules without which it cannot be tried.
        refused: code of the error with which it is to be refused, or ``torch``, if Esper only warns; "": it is to
            grow.
    """

    group: str
    name: str
    run: Callable[[], str]
    needs: Sequence[str] = ()
    refused: str = ""


@frozen(kw_only=True)
class Result:
    """What came of a trial: ``grew``, ``refused``, ``wrong`` or ``not tried``, in words, and how long it took."""

    trial: Trial
    kind: str
    said: str
    told: tuple[str, ...]
    seconds: float

    @property
    def right(self) -> bool:
        """It ended as it is to end."""
        return self.kind in ("grew", "refused")


def attempt(trial: Trial) -> Result:
    """Try it. Whatever goes wrong is a result."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kind, said = _outcome(trial)
    told = dict.fromkeys(_sentence(str(one.message)) for one in caught if _is_ours(one))
    return Result(trial=trial, kind=kind, said=said, told=tuple(told), seconds=time.perf_counter() - began)


def _outcome(trial: Trial) -> tuple[str, str]:
    if missing := [name for name in trial.needs if importlib.util.find_spec(name) is None]:
        return "not tried", f"{', '.join(missing)} is not installed"
    torch.manual_seed(0)
    try:
        said = trial.run()
    except EsperError as error:
        kind = "refused" if error.code == trial.refused else "wrong"
        return kind, _sentence(f"{error.code}: {error.what}; {error.why or error.fix}")
    except Refused as refused:
        return "refused" if trial.refused == "torch" else "wrong", str(refused)
    except Wrong as wrong:
        return "wrong", str(wrong)
    except Exception as error:  # a trial ends in whatever it ends in
        at = traceback.extract_tb(error.__traceback__)[-1]
        return "wrong", _sentence(f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno}: {error}")
    return ("wrong", f"{said}; it was to be refused ({trial.refused})") if trial.refused else ("grew", said)


def _is_ours(caught: warnings.WarningMessage) -> bool:
    """Esper's warnings point at the line of the loop that caused them, so they are known by their module or class."""
    ours = caught.category.__module__.startswith("esper")
    return ours or (caught.category is UserWarning and "/torch/" not in caught.filename)


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 240 else f"{line[:237]}..."


def table(results: Iterable[Result]) -> str:
    """Return the results as tables in Markdown, one for each group."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.trial.group, []).append(result)
    return "\n\n".join(_group(name, rows) for name, rows in groups.items())


def _group(name: str, results: Sequence[Result]) -> str:
    rows = [f"## {name}", "", "| tried | result | seconds |", "|---|---|---:|"]
    for result in results:
        told = "".join(f"; told: {one}" for one in result.told)
        said = f"**{result.kind}**: {result.said}{told}".replace("|", "\\|").replace("<", "\\<")
        name = result.trial.name.replace("|", "\\|")
        rows.append(f"| {name} | {said} | {result.seconds:.0f} |")
    return "\n".join(rows)
