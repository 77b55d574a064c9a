"""task-text against the conformance suite."""

from pathlib import Path

import pytest

from esper_task_text.config import TextConfig, TinyStoriesConfig
from esper_testing import TaskSuite


class TestText(TaskSuite):
    plugin = "esper-task-text"
    component = "text"

    @pytest.fixture
    def config(self) -> TextConfig:
        sizes = {"train_sequences": 64, "validation_sequences": 16, "test_sequences": 16}
        return TextConfig(max_bytes=400_000, context=32, **sizes)


class TestTinyStories(TaskSuite):
    plugin = "esper-task-text"
    component = "tinystories"
    test_plugin = None  # the plugin as a whole is checked above

    @pytest.fixture
    def config(self, text_folder: Path) -> TinyStoriesConfig:
        sizes = {"train_stories": 40, "validation_stories": 20, "test_stories": 20}
        return TinyStoriesConfig(directory=str(text_folder), vocab_size=300, context=40, **sizes)
