"""Options of the sink `mlflow`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class MlflowConfig:
    """Where to write.

    Attributes:
        tracking_uri: MLflow's store: ``sqlite:///FILE``, the address of a server, or whatever else MLflow takes. None:
            ``mlflow.db`` beside the run's directory, which all runs there share.
        experiment: the experiment's name; made if it is missing.
    """

    tracking_uri: str | None = None
    experiment: str = field(default="esper", validator=validators.min_len(1))
