"""Running: assembly, manifest, checkpoints, resuming and results."""
