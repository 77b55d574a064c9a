"""How the catalogue is shown: the list, and all about one blueprint."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from esper_core.api import plain
from esper_karn.api import (
    UNRECORDED,
    Approval,
    Benchmark,
    CatalogueEntry,
    Circumstances,
    Keeper,
    SafetySheet,
    Tier,
    version_of,
    why_approval,
    why_naming,
)
from esper_runs.tables import Cell, Column, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from esper_runs.terminal import Terminal

_STYLES = {Tier.SAFE: "good", Tier.EXPERIMENTAL: "warning", Tier.HIGH_RISK: "bad"}
_OUTCOMES = {"clear": "good", "found": "bad", "not probed": "dim"}


@frozen(kw_only=True)
class KeptEntry:
    """An entry with what is kept of it.

    Attributes:
        approved: it is approved as it is now.
    """

    entry: CatalogueEntry
    approval: Approval | None
    approved: bool
    benchmark: Benchmark | None
    sheet: SafetySheet | None

    @classmethod
    def of(cls, entry: CatalogueEntry, keeper: Keeper) -> "KeptEntry":
        """Read what is kept. Raises EsperError E409 if it cannot be read."""
        return cls(
            entry=entry,
            approval=keeper.approval(entry),
            approved=keeper.approved(entry),
            benchmark=keeper.benchmark(entry),
            sheet=keeper.safety_sheet(entry),
        )

    @property
    def use(self) -> str:
        """What a run has to do to use it, in a word or two."""
        it = self.entry
        if it.spec.unavailable is not None:
            return "cannot run here"
        if self.approved and (it.needs_approval or it.needs_naming):
            return "approved"
        return "approve it" if it.needs_approval else "name it" if it.needs_naming else "any run"

    def as_data(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        it = self.entry
        return {
            "blueprint": it.id,
            "name": it.spec.name,
            "summary": it.spec.summary,
            "recorded": bool(it.dossiers),
            "tier": it.tier.title,
            "risk": it.risk,
            "stage": it.stage,
            "tags": sorted(it.tags),
            "layouts": sorted(it.spec.layouts),
            "learnable": it.spec.learnable,
            "unavailable": it.spec.unavailable,
            "quarantined": it.quarantined,
            "needs_naming": it.needs_naming,
            "needs_approval": it.needs_approval,
            "approved": self.approved,
            "use": self.use,
            "bounds": {key: [*bounds] for key, bounds in it.bounds.items()},
            "dossiers": [dossier.name for dossier in it.dossiers],
            "misfits": [*it.misfits()],
            "approval": plain(self.approval),
            "benchmark": plain(self.benchmark),
            "safety_sheet": plain(self.sheet),
        }


def catalogue_table(kept: Sequence[KeptEntry]) -> Table:
    """Return the list of blueprints."""
    columns = (
        Column("BLUEPRINT"),
        Column("TIER"),
        Column("RISK", right=True),
        Column("STAGE", right=True),
        Column("USE"),
        Column("LAYOUTS", spare=True),
        Column("TAGS", spare=True),
    )
    return Table(columns=columns, rows=tuple(_row(it) for it in kept))


def _row(kept: KeptEntry) -> tuple[Cell | str, ...]:
    it = kept.entry
    return (
        it.spec.name,
        Cell(it.tier.title, _STYLES[it.tier]),
        "?" if it.risk is None else f"{it.risk:.1f}",
        "?" if it.stage is None else str(it.stage),
        kept.use,
        ", ".join(sorted(it.spec.layouts)),
        ", ".join(sorted(it.tags)),
    )


def remarks(kept: Sequence[KeptEntry]) -> Iterator[str]:
    """Yield what has to be said below the list."""
    unrecorded = [it.entry.spec.name for it in kept if not it.entry.dossiers]
    if unrecorded:
        yield f"{', '.join(unrecorded)}: {UNRECORDED}, so it is {Tier.EXPERIMENTAL.title}"
    for it in kept:
        for wrong in it.entry.misfits():
            yield f"{it.entry.spec.name}: a dossier does not fit it, and no run may use it: {wrong}"


def page(kept: KeptEntry, terminal: "Terminal") -> Iterator["RenderableType"]:
    """Yield all about one blueprint."""
    it = kept.entry
    yield terminal.paragraph(it.spec.summary, lead=f"{it.spec.name}: ", indent=2)
    for key, value in _facts(kept):
        yield terminal.paragraph(value, lead=f"{key}  ".ljust(12))
    yield terminal.text("")
    yield terminal.section("options", terminal.table(_options(it)) if _options(it).rows else terminal.text("none"))
    yield terminal.text("")
    yield terminal.section("safety sheet", *_sheet(kept, terminal))
    yield terminal.text("")
    yield terminal.section("benchmark", *_benchmark(kept, terminal))


def _facts(kept: KeptEntry) -> Iterator[tuple[str, str]]:
    it = kept.entry
    yield "offered by", it.blueprint.origin.title
    yield "recorded", ", ".join(sorted(f"dossier {one.name}" for one in it.dossiers)) or UNRECORDED
    yield "tier", it.tier.title + ", quarantined" * it.quarantined
    if it.dossiers:
        yield "risk", f"{it.risk:g} of 1, in the judgement of the dossier's author"
        yield "stage", f"from stage {it.stage} of a curriculum on"
    yield "layouts", ", ".join(sorted(it.spec.layouts))
    if it.tags:
        yield "tags", ", ".join(sorted(it.tags))
    yield "use", _use(kept)
    for wrong in it.misfits():
        yield "problem", f"no run may use it, for a dossier does not fit it: {wrong}"


def _use(kept: KeptEntry) -> str:
    it, approval = kept.entry, kept.approval
    if it.spec.unavailable is not None:
        return f"it cannot run here: {it.spec.unavailable}"
    if approval is not None and kept.approved:
        return f"approved at {approval.at}" + (f", because: {approval.because}" if approval.because else "")
    said = "any run may use it"
    if it.needs_approval:
        said = f"{why_approval(it)}: esper catalogue approve {it.id}"
    elif it.needs_naming:
        said = f"{why_naming(it)}, and a run uses it only if it is named"
    if approval is not None:
        said += f"; it was approved at {approval.at}, but as another version ({approval.version})"
    return said


def _options(entry: CatalogueEntry) -> Table:
    columns = (Column("OPTION"), Column("DEFAULT", right=True), Column("BOUNDS", right=True))
    bounds = {} if entry.misfits() else entry.bounds
    options = plain(entry.options({})) or {}
    rows = tuple(
        (name, str(default), f"{bounds[name][0]} to {bounds[name][1]}" if name in bounds else "none recorded")
        for name, default in options.items()
    )
    return Table(columns=columns, rows=rows)


def _sheet(kept: KeptEntry, terminal: "Terminal") -> Iterator["RenderableType"]:
    if kept.sheet is None:
        yield terminal.paragraph(f"none yet: esper catalogue probe {kept.entry.id}")
        return
    yield from _circumstances(kept, kept.sheet.circumstances, terminal)
    columns = (Column("HAZARD"), Column("OUTCOME"), Column("WHAT WAS SEEN", prose=True))
    seen: dict[str, list[str]] = {}
    for it in kept.sheet.findings:
        if it.outcome == kept.sheet.hazards[it.hazard] and it.seen:
            seen.setdefault(it.hazard, []).append(it.seen)
    rows = tuple(
        (hazard, Cell(outcome, _OUTCOMES[outcome]), "; ".join(dict.fromkeys(seen.get(hazard, ()))))
        for hazard, outcome in kept.sheet.hazards.items()
    )
    yield terminal.table(Table(columns=columns, rows=rows))


def _benchmark(kept: KeptEntry, terminal: "Terminal") -> Iterator["RenderableType"]:
    if kept.benchmark is None:
        yield terminal.paragraph(f"none yet: esper catalogue bench {kept.entry.id}")
        return
    yield from _circumstances(kept, kept.benchmark.circumstances, terminal)
    columns = (
        Column("SHAPE"),
        Column("FORWARD", right=True),
        Column("P95", right=True),
        Column("BACKWARD", right=True),
        Column("P95", right=True),
        Column("SAMPLES/S", right=True),
        Column("PARAMETERS", right=True, spare=True),
        Column("FLOPS", right=True, spare=True),
    )
    rows = tuple(
        (
            "x".join(map(str, it.shape)),
            f"{it.forward.p50_ms:.3f} ms",
            f"{it.forward.p95_ms:.3f}",
            f"{it.backward.p50_ms:.3f} ms",
            f"{it.backward.p95_ms:.3f}",
            f"{it.samples_per_second:,.0f}",
            f"{it.parameters:,}",
            "?" if it.forward_flops is None else f"{it.forward_flops:,}",
        )
        for it in kept.benchmark.profiles
    )
    yield terminal.table(Table(columns=columns, rows=rows))


def _circumstances(kept: KeptEntry, it: Circumstances, terminal: "Terminal") -> Iterator["RenderableType"]:
    machine, versions = it.machine, it.versions
    options = ", ".join(f"{key} = {value}" for key, value in it.options.items())
    told = [
        f"{it.at}",
        f"version {it.version[:19]}" if it.version else "",
        f"esper-core {versions['esper-core']}, torch {versions['torch']}",
        f"{machine['name']} ({machine['processor']}, {machine['cores']} cores, {machine['threads']} thread(s), "
        f"load {machine['load']})",
        options,
    ]
    yield terminal.paragraph("; ".join(filter(None, told)), "dim")
    if it.version != version_of(kept.entry.blueprint.origin):
        yield terminal.paragraph("the blueprint is another version now", "warning")
