"""The telemetry sink `tensorboard`: writes a run's numbers and decisions for TensorBoard."""
