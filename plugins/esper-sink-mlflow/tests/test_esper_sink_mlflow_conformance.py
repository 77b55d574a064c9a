"""sink-mlflow against the conformance suite."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from esper_sink_mlflow.config import MlflowConfig
from esper_testing import SinkSuite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'mlflow.db'}"


class TestMlflow(SinkSuite):
    """MLflow takes seconds to make a store: all checks share one. No event's text is in it, so where it is does not
    matter to what is checked.
    """

    plugin = "esper-sink-mlflow"

    @pytest.fixture
    def config(self, store: str) -> MlflowConfig:
        return MlflowConfig(tracking_uri=store)
