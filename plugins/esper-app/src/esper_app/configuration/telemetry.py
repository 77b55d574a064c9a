"""How much is told of a run. Imports no torch."""

from attrs import frozen

from esper_nissa.profiles import Profile
from esper_nissa.telemetry_rules import TelemetryRules


@frozen(kw_only=True)
class TelemetryConfig(TelemetryRules):
    """How much is told of a run. ``telemetry = "debug"`` is ``telemetry.level = "debug"``.

    Attributes:
        profile: says what is not set here: ``minimal``; ``standard``, the level `normal`, and `debug` after an anomaly;
            ``diagnostic``, also the diagnostic `standard` after every fifth epoch; ``research``, the level `debug`, and
            all that this diagnostic can find, after every epoch.
    """

    profile: Profile = Profile.STANDARD
