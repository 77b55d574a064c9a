"""The telemetry sink `otlp`: a run as a trace, and its numbers as metrics, over OpenTelemetry's protocol."""
