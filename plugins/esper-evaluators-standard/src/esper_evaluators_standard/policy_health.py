"""Whether the policy is one that may be trusted: its choices, its values, its age, its speed."""

from math import isfinite

from esper_core.api import VitalSigns, Vote
from esper_evaluators_standard.config import PolicyHealthConfig
from esper_evaluators_standard.judging import OUTSIDE, Judged, vote

#: The figures of a policy: what the run calls them, and how they are called in a reason.
FIGURES = {
    "policy entropy": "entropy of the policy's choice",
    "value error": "error of the policy's values",
    "policy age hours": "age of the policy in hours",
    "decision seconds": "time of a decision in seconds",
}


class PolicyHealth:
    """Compares figures of the policy with limits; the run asks it."""

    def __init__(self, config: PolicyHealthConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution where a figure is beyond its limit, or not finite, or not known though it must be."""
        if signs.run is None:
            return vote([OUTSIDE], signs)
        config, run = self.config, signs.run
        limits = {
            "policy entropy": (None, config.least_entropy),
            "value error": (config.most_value_error, None),
            "policy age hours": (config.most_age_hours, None),
            "decision seconds": (config.most_decision_seconds, None),
        }
        objections = []
        for figure, name in FIGURES.items():
            value, (most, least) = run.get(figure), limits[figure]
            if value is None:
                # Many policies do not say what they think, and where nothing was possible there was nothing to think.
                objections.append(f"the {name} is not known" if figure in config.known else "")
            elif not isfinite(value):
                objections.append(f"the {name} is {value}")
            else:
                objections.append(Judged(name, value, most, least).objection)
        return vote(objections, signs, config.stop_after_epochs)
