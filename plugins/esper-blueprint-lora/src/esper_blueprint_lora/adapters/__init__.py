"""Named LoRA adapters on one network: load, activate, train, merge and drop them; their ranks can follow a budget."""

from esper_blueprint_lora.adapters.held import LoraAdapters
from esper_blueprint_lora.adapters.placing import ranks_by_energy, weight_energy
from esper_blueprint_lora.adapters.ranks import RankBudget, Reallocated

__all__ = ["LoraAdapters", "RankBudget", "Reallocated", "ranks_by_energy", "weight_energy"]
