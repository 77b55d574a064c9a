"""Fifteen more Esper blueprints: convolutions, gates, attention, mixtures and memory."""
