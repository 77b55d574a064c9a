"""What commands and services use of Simic."""

from esper_simic.intake import Intake, Reason, report_facts, unused
from esper_simic.packing import CARD, TENSORS, PackedPolicy, PolicyFacts
from esper_simic.policy_store import POLICIES, Fits, PolicyStore, PolicyVersion, Promotion
from esper_simic.receiving import UpdateIntake
from esper_simic.replay_records import Attempt, Kept, Refused, ReportFacts, Sample
from esper_simic.replay_store import REPORTS, ReplayStore
from esper_simic.telemetry import (
    LEARNING_FAILED,
    PUBLISHED,
    VALIDATION_FAILED,
    attempt_draft,
    promoted_draft,
    refused_draft,
    update_draft,
)
from esper_simic.updates import Refusal, RefusedPolicyError, in_messages, make_update, refused, sign
from esper_simic.validation import FIGURES, Limits, Tabulated, judge, learning_failures, paired, table_failures

__all__ = [
    "CARD",
    "FIGURES",
    "LEARNING_FAILED",
    "POLICIES",
    "PUBLISHED",
    "REPORTS",
    "TENSORS",
    "VALIDATION_FAILED",
    "Attempt",
    "Fits",
    "Intake",
    "Kept",
    "Limits",
    "PackedPolicy",
    "PolicyFacts",
    "PolicyStore",
    "PolicyVersion",
    "Promotion",
    "Reason",
    "Refusal",
    "Refused",
    "RefusedPolicyError",
    "ReplayStore",
    "ReportFacts",
    "Sample",
    "Tabulated",
    "UpdateIntake",
    "attempt_draft",
    "in_messages",
    "judge",
    "learning_failures",
    "make_update",
    "paired",
    "promoted_draft",
    "refused",
    "refused_draft",
    "report_facts",
    "sign",
    "table_failures",
    "unused",
    "update_draft",
]
