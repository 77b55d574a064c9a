"""Esper's reward terms: what a policy is paid for while it grows a network, and presets of them."""
