"""What policies that learn share: the observation as numbers."""

from esper_learning.schema import Feature, ObservationSchema, differences

__all__ = ["Feature", "ObservationSchema", "differences"]
