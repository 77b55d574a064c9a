"""The telemetry sink `console`: a live display, and a table at the end."""
