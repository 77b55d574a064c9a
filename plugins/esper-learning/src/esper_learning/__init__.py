"""What policies that learn share: the observation as numbers, and all that is possible."""

from esper_learning.possible import possible_actions
from esper_learning.schema import TRANSFORMS, Feature, ObservationSchema, differences

__all__ = ["TRANSFORMS", "Feature", "ObservationSchema", "differences", "possible_actions"]
