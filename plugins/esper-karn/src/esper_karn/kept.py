"""What is kept about blueprints in the state directory: approvals, benchmarks and safety sheets, a file for each."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import to_json, with_numbers
from esper_core.leyline.structure import structure
from esper_core.plugins.records import Origin
from esper_karn.catalogue import CatalogueEntry
from esper_runs.reading import read_regular
from esper_runs.run_directory import write_atomically

T = TypeVar("T")

_FOLDER = "catalogue"

#: Bytes that a file may have, far more than any has.
_LARGEST = 1 << 20


@frozen(kw_only=True)
class Approval:
    """That a blueprint may be used although it needs approval. It holds for one version.

    Attributes:
        blueprint: ``distribution/name``.
        version: of the blueprint when it was approved; see `version_of`.
        at: when, ISO 8601 in UTC.
        because: why, as the person who approved it put it.
    """

    blueprint: str
    version: str
    at: str
    because: str = ""


@frozen(kw_only=True)
class Quantiles:
    """Median and 95th percentile, in milliseconds."""

    p50_ms: float
    p95_ms: float


@frozen(kw_only=True)
class Profile:
    """What a seed cost at one shape.

    Attributes:
        shape: of the activation, the batch first.
        forward, backward: latencies of one pass.
        samples_per_second: through forward and backward, by their medians.
        parameters: number of parameters.
        forward_flops: of one sample; None where they cannot be counted.
        repetitions: passes that were measured, after those that warmed up.
    """

    shape: tuple[int, ...]
    forward: Quantiles
    backward: Quantiles
    samples_per_second: float
    parameters: int
    forward_flops: int | None
    repetitions: int


@frozen(kw_only=True)
class Circumstances:
    """Under which something was measured or probed.

    Attributes:
        blueprint: ``distribution/name``.
        version: of the blueprint.
        options: its options, complete.
        at: when, ISO 8601 in UTC.
        versions: of esper-core, torch and Python.
        machine: its name, processor, cores and the threads that were used.
    """

    blueprint: str
    version: str
    options: Mapping[str, Any]
    at: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]


@frozen(kw_only=True)
class Benchmark:
    """What a blueprint's seeds cost on one machine."""

    circumstances: Circumstances
    profiles: tuple[Profile, ...]


@frozen(kw_only=True)
class Finding:
    """What became of one probe.

    Attributes:
        hazard: what the probe looks for.
        check: the conformance check that was the probe.
        outcome: ``clear``, ``found``, or ``not probed``.
        seen: what was seen, or why it was not probed.
    """

    hazard: str
    check: str
    outcome: str
    seen: str = ""


@frozen(kw_only=True)
class SafetySheet:
    """What probes of a blueprint found on one machine."""

    circumstances: Circumstances
    findings: tuple[Finding, ...]

    @property
    def hazards(self) -> dict[str, str]:
        """The worst outcome of each hazard: ``found``, else ``not probed``, else ``clear``."""
        worst: dict[str, str] = {}
        order = ("clear", "not probed", "found")
        for it in self.findings:
            worst[it.hazard] = max(it.outcome, worst.get(it.hazard, "clear"), key=order.index)
        return worst


@frozen
class Keeper:
    """Reads and writes what is kept.

    Attributes:
        state: the state directory. It is made when something is kept; reading makes nothing.
    """

    state: Path = field(converter=Path)

    def approve(self, entry: CatalogueEntry, because: str = "") -> Approval:
        """Keep that a blueprint, as it is now, is approved. Raises EsperError E409 if that cannot be written."""
        origin = entry.blueprint.origin
        approval = Approval(blueprint=entry.id, version=version_of(origin), at=now(), because=because)
        self._write(entry, "approval", approval)
        return approval

    def revoke(self, entry: CatalogueEntry) -> bool:
        """Forget an approval; say whether there was one. Raises EsperError E409 if it cannot be removed."""
        path = self._path(entry, "approval")
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise EsperError("E409", "an approval cannot be revoked", where=str(path), why=str(error)) from error
        return True

    def approval(self, entry: CatalogueEntry) -> Approval | None:
        """Return the approval of a blueprint, of whatever version. Raises EsperError E409 if it cannot be read."""
        return self._read(entry, "approval", Approval)

    def approved(self, entry: CatalogueEntry) -> bool:
        """Say whether a blueprint is approved as it is now. Raises EsperError E409 if that cannot be read."""
        approval = self.approval(entry)
        return approval is not None and (approval.blueprint, approval.version) == (
            entry.id,
            version_of(entry.blueprint.origin),
        )

    def keep(self, entry: CatalogueEntry, kept: Benchmark | SafetySheet) -> None:
        """Keep a benchmark or a safety sheet in place of the last one. Raises EsperError E409."""
        self._write(entry, "benchmark" if isinstance(kept, Benchmark) else "safety-sheet", kept)

    def benchmark(self, entry: CatalogueEntry) -> Benchmark | None:
        """Return the newest benchmark of a blueprint. Raises EsperError E409 if it cannot be read."""
        return self._read(entry, "benchmark", Benchmark)

    def safety_sheet(self, entry: CatalogueEntry) -> SafetySheet | None:
        """Return the newest safety sheet of a blueprint. Raises EsperError E409 if it cannot be read."""
        return self._read(entry, "safety-sheet", SafetySheet)

    def _path(self, entry: CatalogueEntry, what: str) -> Path:
        # A slash is not in either part, and the digest keeps what differs in other signs apart.
        readable = re.sub(r"[^A-Za-z0-9.-]+", "--", entry.id)
        return self.state / _FOLDER / f"{readable}-{hashlib.sha256(entry.id.encode()).hexdigest()[:8]}" / f"{what}.json"

    def _write(self, entry: CatalogueEntry, what: str, record: Any) -> None:
        path = self._path(entry, what)
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{to_json(record, indent=2)}\n".encode())
        except OSError as error:
            raise EsperError("E409", f"the {what} cannot be written", where=str(path), why=str(error)) from error

    def _read(self, entry: CatalogueEntry, what: str, cls: type[T]) -> T | None:
        path = self._path(entry, what)
        try:
            data = json.loads(read_regular(path, inside=self.state, largest=_LARGEST))
            return structure(cls, with_numbers(data))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, EsperError) as error:
            why = error.why or error.what if isinstance(error, EsperError) else str(error)
            raise EsperError(
                "E409", f"the {what} of {entry.id} cannot be read", where=str(path), why=why, fix="remove the file"
            ) from error


def version_of(origin: Origin) -> str:
    """Return what tells one version of a plugin from another: its distribution's version, or the digest of its file.

    Raises:
        EsperError: E409 if the file of a plugin of one file cannot be read.
    """
    if origin.version or origin.file is None:
        return origin.version
    try:
        return f"sha256:{hashlib.sha256(Path(origin.file).read_bytes()).hexdigest()}"
    except OSError as error:
        raise EsperError("E409", "a plugin cannot be read", where=origin.file, why=str(error)) from error


def now() -> str:
    """Return the time in UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
