"""Growing networks as reinforcement learning environments."""
