"""task-vision against the conformance suite."""

from pathlib import Path

import pytest

from esper_task_vision.config import Cifar10Config, FashionMnistConfig
from esper_testing import TaskSuite

FEW = {"train_samples": 40, "validation_samples": 20}


class TestDigits(TaskSuite):
    plugin = "esper-task-vision"
    component = "digits"


class TestFashionMnist(TaskSuite):
    plugin = "esper-task-vision"
    component = "fashion-mnist"
    test_plugin = None  # the plugin as a whole is checked above

    @pytest.fixture
    def config(self, idx_folder: Path) -> FashionMnistConfig:
        return FashionMnistConfig(directory=str(idx_folder), **FEW)


# Its files are read by a library whose import alone takes seconds.
@pytest.mark.slow
class TestCifar10(TaskSuite):
    plugin = "esper-task-vision"
    component = "cifar10"
    test_plugin = None

    @pytest.fixture
    def config(self, parquet_folder: Path) -> Cifar10Config:
        return Cifar10Config(directory=str(parquet_folder), **FEW)
