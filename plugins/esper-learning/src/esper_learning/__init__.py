"""What policies share: the observation as numbers, all that is possible, and blueprints by preference."""

from esper_learning.imitating import Imitates
from esper_learning.possible import possible_actions
from esper_learning.preference import by_preference
from esper_learning.replayed import LearnsReplayed
from esper_learning.schema import TRANSFORMS, Feature, ObservationSchema, differences

__all__ = [
    "TRANSFORMS",
    "Feature",
    "Imitates",
    "LearnsReplayed",
    "ObservationSchema",
    "by_preference",
    "differences",
    "possible_actions",
]
