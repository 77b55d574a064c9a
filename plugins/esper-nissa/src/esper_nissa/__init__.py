"""Nissa: telemetry. Events go from the run through the hub to sinks, never back into training."""
