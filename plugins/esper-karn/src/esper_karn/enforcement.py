"""What a run may use: the review of its blueprints, which happens before anything is trained."""

from collections.abc import Callable

from esper_core.leyline.errors import EsperError
from esper_core.plugins.reviews import BlueprintSelection
from esper_karn.catalogue import UNRECORDED, CatalogueEntry, catalogue
from esper_karn.kept import Keeper
from esper_oona.state import state_path


def review(selection: BlueprintSelection) -> None:
    """Refuse blueprints that are not approved, and options that are not within what is recorded.

    Raises:
        EsperError: E408 for the first blueprint that may not be used, or not with these options; E409 for a dossier
            that does not fit its blueprint, and for an approval that cannot be read.
    """
    entries = {it.blueprint.id: it for it in catalogue(selection.registry)}
    for it in selection.blueprints:
        entry = entries[it.component.id]
        require_fitting(entry)
        _refuse_outside(entry, it.options)
        _refuse_unapproved(entry, selection.named, lambda entry: Keeper(state_path()).approved(entry))


def require_fitting(entry: CatalogueEntry) -> None:
    """Refuse an entry whose dossiers do not fit its blueprint. Raises EsperError E409."""
    if wrong := entry.misfits():
        raise EsperError(
            "E409",
            f'a dossier of blueprint "{entry.spec.name}" does not fit it',
            where=", ".join(f"dossier {it.name}" for it in entry.dossiers),
            why=wrong[0],
            fix="report it to the author of the dossier, or leave its plugin out: --no-plugin NAME",
        )


def _refuse_outside(entry: CatalogueEntry, options: object) -> None:
    for option, value, (low, high) in entry.outside(options):
        raise EsperError(
            "E408",
            f'blueprint "{entry.spec.name}" may not be used with {option} = {value!r}',
            where=f"blueprints.{entry.spec.name}.{option}",
            why=f"the catalogue records it for {low!r} to {high!r}",
            fix=f"choose a value between; esper catalogue show {entry.spec.name} shows the bounds",
        )


def _refuse_unapproved(entry: CatalogueEntry, named: bool, approved: Callable[[CatalogueEntry], bool]) -> None:
    if entry.needs_approval:
        if not approved(entry):
            what = f'blueprint "{entry.spec.name}" is not approved'
            fix = f"look at it: esper catalogue show {entry.id}; approve it: esper catalogue approve {entry.id}"
            raise EsperError("E408", what, where="policy.blueprints", why=why_approval(entry), fix=fix)
    elif entry.needs_naming and not named and not approved(entry):
        raise EsperError(
            "E408",
            f'nobody named blueprint "{entry.spec.name}"',
            where="policy.blueprints",
            why=f"{why_naming(entry)}, and is used only if it is named",
            fix=f"name it: --set policy.blueprints='[\"{entry.spec.name}\", …]'; or esper catalogue approve {entry.id}",
        )


def why_approval(entry: CatalogueEntry) -> str:
    """Return why a blueprint has to be approved: it is quarantined, or high-risk."""
    said = [entry.tier.title, *["quarantined"] * entry.quarantined]
    return f"it is {' and '.join(said)}, and an approval holds for one version of it"


def why_naming(entry: CatalogueEntry) -> str:
    """Return why a blueprint has to be named."""
    return f"it is {entry.tier.title}" if entry.dossiers else f"{UNRECORDED}: it is {entry.tier.title}"
