"""Growing networks as reinforcement learning environments.

Importing it registers them with gymnasium; ``gym.make("esper_adapter_gymnasium:esper/GrowthTable-v0")`` imports it.
"""

from gymnasium.envs.registration import register, registry

for _name, _module, _class in (
    ("esper/GrowthTable-v0", "table_env", "GrowthTable"),
    ("esper/Growth-v0", "growth_env", "Growth"),
):
    if _name not in registry:
        register(
            id=_name,
            entry_point=f"esper_adapter_gymnasium.{_module}:{_class}Env",
            vector_entry_point=f"esper_adapter_gymnasium.{_module}:{_class}VectorEnv",
        )
