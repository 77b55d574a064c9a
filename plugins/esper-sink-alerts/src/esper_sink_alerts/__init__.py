"""Alerts while a run goes on: events of the run, and a webhook."""
