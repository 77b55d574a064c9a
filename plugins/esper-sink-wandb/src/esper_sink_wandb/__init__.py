"""The telemetry sink `wandb`: sends a run's numbers to Weights & Biases or trackio."""
