"""Telemetry profiles: a level, what an anomaly adds, and which diagnostics look into the networks."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Profile(StrEnum):
    """The name of a profile."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    DIAGNOSTIC = "diagnostic"
    RESEARCH = "research"


#: What each profile sets, in the shape of a configuration file.
PROFILES: Mapping[Profile, Mapping[str, Any]] = {
    Profile.MINIMAL: {"telemetry": {"level": "minimal", "escalation_epochs": 0}},
    Profile.STANDARD: {},
    Profile.DIAGNOSTIC: {
        "diagnostics": {"names": ["standard", "memory"], "standard": {"every": 5}, "memory": {"every": 5}}
    },
    Profile.RESEARCH: {
        "telemetry": {"level": "debug"},
        "diagnostics": {
            "names": ["standard", "memory"],
            "standard": {
                "every": 1,
                "percentiles": [1, 5, 10, 25, 50, 75, 90, 95, 99],
                "sharpness_samples": 10,
                "confusion": True,
            },
        },
    },
}
