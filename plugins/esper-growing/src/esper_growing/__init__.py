"""Growing a network of one's own, in a training loop of one's own: `grow`, and what it gives back."""

from esper_growing.grow import grow
from esper_growing.handle import GrowthHandle
from esper_growing.measuring.user_data import UserCriterion
from esper_growing.session import EpochOutcome
from esper_growing.settings import GrowSettings

__all__ = ["EpochOutcome", "GrowSettings", "GrowthHandle", "UserCriterion", "grow"]
