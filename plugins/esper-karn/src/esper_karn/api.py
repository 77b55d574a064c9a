"""What commands and plugins use of Karn."""

from esper_karn.catalogue import UNRECORDED, CatalogueEntry, Query, catalogue, choose, entry_of, find, selectable
from esper_karn.enforcement import require_fitting, why_approval, why_naming
from esper_karn.kept import (
    Approval,
    Benchmark,
    Circumstances,
    Finding,
    Keeper,
    Profile,
    Quantiles,
    SafetySheet,
    now,
    version_of,
)
from esper_karn.kinds import LAST_STAGE, DossierSpec, Tier
from esper_oona.state import STATE, state_directory, state_path

__all__ = [
    "LAST_STAGE",
    "STATE",
    "UNRECORDED",
    "Approval",
    "Benchmark",
    "CatalogueEntry",
    "Circumstances",
    "DossierSpec",
    "Finding",
    "Keeper",
    "Profile",
    "Quantiles",
    "Query",
    "SafetySheet",
    "Tier",
    "catalogue",
    "choose",
    "entry_of",
    "find",
    "now",
    "require_fitting",
    "selectable",
    "state_directory",
    "state_path",
    "version_of",
    "why_approval",
    "why_naming",
]
