"""The telemetry sink `mlflow`: records a run's numbers, options and result in MLflow."""
