"""The telemetry sink `directory`: writes a folder with log, manifest and result for each run."""
