"""Growing a network of one's own, in a training loop of one's own: `grow`, and what it gives back."""

from esper_core.assembling.options import Options
from esper_core.kasmina.config import LifecycleConfig
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.tamiyo.masks import GrowthLimits
from esper_growing.grow import grow
from esper_growing.handle import GrowthHandle
from esper_growing.measuring.epoch_outcome import EpochOutcome
from esper_growing.measuring.user_data import UserCriterion
from esper_growing.settings import GrowSettings, SeedRates

__all__ = [
    "EpochOutcome",
    "GrowSettings",
    "GrowthHandle",
    "GrowthLimits",
    "LifecycleConfig",
    "Options",
    "PluginSet",
    "SeedRates",
    "UserCriterion",
    "grow",
    "load_plugins",
]
