"""Nissa as a service: everything on a bus as metrics, alerts and objectives, and into sinks."""
