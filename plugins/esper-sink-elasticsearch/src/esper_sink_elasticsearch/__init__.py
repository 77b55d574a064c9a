"""The telemetry sink `elasticsearch`: every event of a run as a document, each exactly once."""
