"""The telemetry sink `sqlite`: writes every event to a SQLite file that can be searched."""
