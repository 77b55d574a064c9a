"""executor-ray against the conformance suite."""

import pytest
import ray

from esper_executor_ray.config import RayConfig
from esper_testing import ExecutorSuite


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A cluster of this machine; on a busy one actors would otherwise never begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield
        ray.shutdown()


@pytest.mark.slow
class TestRay(ExecutorSuite):
    plugin = "esper-executor-ray"
    level = (
        "contract"  # beginning actors takes seconds; those of `processes`, which share the code, are checked in full
    )

    @pytest.fixture
    def config(self):
        """Two actors that take less than a processor: a small machine has room for those of several executors."""
        return RayConfig(actors=2, cpus=0.1)
