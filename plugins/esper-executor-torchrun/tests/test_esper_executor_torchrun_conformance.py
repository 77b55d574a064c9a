"""executor-torchrun against the conformance suite, as the first of two processes."""

import os
import secrets
import subprocess
import sys

import pytest
import torch.distributed as dist

from esper_testing import ExecutorSuite


@pytest.fixture(scope="module", autouse=True)
def job():
    """This process is rank 0 of a job; another one follows it."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    names = {
        "TORCHELASTIC_RUN_ID": secrets.token_hex(4),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(server.port),
    }
    program = "from esper_executor_torchrun.rank import follow; follow()"
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **names, "RANK": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as follower,
    ):
        for name, value in {**names, "RANK": "0"}.items():
            patch.setenv(name, value)
        yield
        follower.kill()


class TestTorchrun(ExecutorSuite):
    plugin = "esper-executor-torchrun"
    # It is collected before this process is a part of a job.
    unavailable_too = True
    # A lost process ends the job, as torchrun does: test_esper_executor_torchrun.py.
    # And other processes than this one are not the first of the job.
    leave_out = ("executor-lost-process", "component-processes")
