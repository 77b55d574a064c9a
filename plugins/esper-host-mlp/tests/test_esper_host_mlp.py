"""The host `mlp` through its descriptor, its options and its factory."""

import subprocess
import sys

import pytest
import torch

from esper_core.api import DataShape, EsperError, TaskKind
from esper_core.specs import HostSpec, Layout
from esper_host_mlp.config import MlpHostConfig
from esper_host_mlp.perceptron import build
from esper_host_mlp.plugin import esper_hosts


def vectors(features: int = 10, outputs: int = 1) -> DataShape:
    return DataShape(kind=TaskKind.VECTORS, input_shape=(features,), outputs=outputs)


def test_descriptor_resolves_to_the_factory_and_its_options():
    (spec,) = esper_hosts()
    assert (spec.name, spec.kind, spec.layouts) == ("mlp", HostSpec.kind, {Layout.BD})
    assert spec.factory == f"{build.__module__}:{build.__qualname__}"
    assert spec.config == f"{MlpHostConfig.__module__}:{MlpHostConfig.__qualname__}"


def test_descriptor_and_options_import_no_torch():
    code = "import sys, esper_host_mlp.plugin, esper_host_mlp.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("widths", "expected"), [((4,), 49), ((8, 8), 169)])
def test_parameter_counts(widths, expected):
    module = build(MlpHostConfig(widths=widths), vectors()).module
    assert sum(parameter.numel() for parameter in module.parameters()) == expected


def test_agrees_with_the_network_written_out():
    torch.manual_seed(0)
    module = build(MlpHostConfig(widths=(5, 3)), vectors(7, 2)).module
    x, state = torch.randn(4, 7), module.state_dict()
    y = x
    for index in range(2):
        y = (y @ state[f"blocks.{index}.linear.weight"].T + state[f"blocks.{index}.linear.bias"]).clamp(min=0)
    torch.testing.assert_close(module(x), y @ state["head.weight"].T + state["head.bias"])


def test_sites_are_the_outputs_of_the_blocks():
    built = build(MlpHostConfig(widths=(5, 3)), vectors())
    assert [(site.id, site.path, site.layout) for site in built.sites] == [
        ("block0", "blocks.0", Layout.BD),
        ("block1", "blocks.1", Layout.BD),
    ]


def test_data_that_are_no_vectors_are_refused():
    with pytest.raises(EsperError) as raised:
        build(MlpHostConfig(), DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=10))
    assert raised.value.code == "E402"


@pytest.mark.parametrize("widths", [(), (0,), (4, -1), (2.5,)])
def test_widths_that_make_no_sense_are_refused(widths):
    with pytest.raises((TypeError, ValueError), match="widths"):
        MlpHostConfig(widths=widths)
