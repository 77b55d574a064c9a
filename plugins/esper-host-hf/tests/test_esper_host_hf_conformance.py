"""host-hf against the conformance suite: next tokens (the default), documents with padding, images."""

from typing import Any

import pytest

from esper_core.api import DataShape, TaskKind
from esper_host_hf.config import HfConfig
from esper_testing import HostSuite

SIZES = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


class TestNextToken(HostSuite):
    plugin = "esper-host-hf"


class _Other(HostSuite):
    """The host alone, with options of its own for data of its own."""

    plugin = "esper-host-hf"
    options: HfConfig
    shape: DataShape

    @pytest.fixture
    def config(self) -> Any:
        return self.options

    @pytest.fixture
    def data(self) -> DataShape:
        return self.shape


class TestLlama(_Other):
    options = HfConfig(architecture="llama", settings=SIZES | {"num_key_value_heads": 1})
    shape = DataShape(kind=TaskKind.TOKENS, input_shape=(8,), outputs=29)


class TestDocuments(_Other):
    leave_out = ("host-causal",)
    options = HfConfig(architecture="bert", settings=SIZES | {"vocab_size": 29, "pad_token_id": 0})
    shape = DataShape(kind=TaskKind.TOKENS, input_shape=(8,), outputs=5)


class TestImages(_Other):
    leave_out = ("host-causal",)
    options = HfConfig(architecture="vit", settings=SIZES | {"patch_size": 4})
    shape = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=5)
