"""A policy that learns to grow: recurrent PPO with exact masks, conditional on what was chosen before."""
