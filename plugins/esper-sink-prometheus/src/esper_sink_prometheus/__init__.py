"""The telemetry sink `prometheus`, with the alerts, objectives and the dashboard that go with its metrics."""
