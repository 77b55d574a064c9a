"""The telemetry sink `jsonl`: one JSON object per line."""
