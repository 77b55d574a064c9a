"""Networks become programs for any batch where that is possible, and errors that say why where it is not."""

import pytest
import torch
from torch import nn

from esper_app_export import programs
from esper_app_export.programs import network_program, onnx_bytes, onnx_runner, program_bytes, program_runner
from esper_core.leyline.errors import EsperError

torch.set_num_threads(1)


@pytest.fixture
def sample():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 2)).eval()


class Bound(nn.Module):
    """Its code wants to know the size of the batch."""

    def forward(self, x):
        return torch.stack([x[index] * (index + 1) for index in range(int(x.shape[0]))])


class Deciding(nn.Module):
    """Its code looks at values."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Sorting(nn.Module):
    """Torch has a program of it, ONNX has no such operation."""

    def forward(self, x):
        return torch.special.airy_ai(x)


def refused(code, act, *arguments):
    with pytest.raises(EsperError) as caught:
        act(*arguments)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.slow
class TestTorch:
    @pytest.mark.parametrize("batch", [1, 2, 50])
    def test_the_file_computes_what_the_network_computes_for_any_batch(self, network, sample, batch):
        program, bound = network_program(network, sample)
        run = program_runner(program_bytes(program))
        inputs = torch.randn(batch, 4)
        assert bound is None
        with torch.no_grad():
            torch.testing.assert_close(run(inputs), network(inputs), rtol=1e-6, atol=1e-6)

    def test_a_network_that_must_know_its_batch_is_bound_to_one(self, sample):
        program, bound = network_program(Bound().eval(), sample)
        run = program_runner(program_bytes(program))
        assert bound == 1
        assert torch.equal(run(sample[:1]), sample[:1])
        with pytest.raises(Exception, match="1"):
            run(sample)

    def test_a_network_that_decides_on_values_is_refused(self, sample):
        text = refused("E512", network_program, Deciding().eval(), sample)
        assert "torch-export" in text
        assert "because" in text
        assert "--format safetensors" in text

    def test_nothing_tells_where_the_code_was(self, network, sample):
        program, _ = network_program(network, sample)
        data = program_bytes(program)
        assert b"test_programs.py" not in data
        assert b"site-packages" not in data
        assert b"site-packages" not in onnx_bytes(program, sample, None)


@pytest.mark.slow
class TestOnnx:
    def test_the_file_computes_what_the_network_computes_for_any_batch(self, network, sample):
        program, bound = network_program(network, sample)
        run = onnx_runner(onnx_bytes(program, sample, bound))
        for batch in (1, 2, 50):
            inputs = torch.randn(batch, 4)
            with torch.no_grad():
                torch.testing.assert_close(run(inputs), network(inputs), rtol=1e-5, atol=1e-5)

    def test_a_bound_one_too(self, sample):
        program, bound = network_program(Bound().eval(), sample)
        run = onnx_runner(onnx_bytes(program, sample, bound))
        torch.testing.assert_close(run(sample[:1]), sample[:1])

    def test_an_operation_that_onnx_does_not_know_is_named(self, sample):
        program, bound = network_program(Sorting().eval(), sample)
        text = refused("E512", onnx_bytes, program, sample, bound)
        assert "cannot be exported to onnx" in text

    def test_a_network_that_is_too_large_is_refused_before_anything_is_written(self, network, sample, monkeypatch):
        program, _ = network_program(network, sample)
        monkeypatch.setattr(programs, "_ONNX_BYTES", 100)
        text = refused("E512", onnx_bytes, program, sample, None)
        assert "GB" in text
        assert "--format torch-export" in text

    @pytest.mark.parametrize("missing", [["onnx"], ["onnx", "onnxscript"]])
    def test_missing_packages_come_with_the_line_that_installs_them(self, network, sample, monkeypatch, missing):
        program, _ = network_program(network, sample)
        find = programs.find_spec
        monkeypatch.setattr(programs, "find_spec", lambda name: None if name in missing else find(name))
        text = refused("E512", onnx_bytes, program, sample, None)
        assert " and ".join(missing) in text
        assert 'fix: pip install "esper-app-export[onnx]"' in text

    def test_an_onnxscript_that_does_not_know_this_torch_is_no_fault_of_ours(self, network, sample, monkeypatch):
        def export(*_, **__):
            raise ModuleNotFoundError("No module named 'onnxscript._framework_apis.torch_2_11'")

        program, _ = network_program(network, sample)
        monkeypatch.setattr(programs.torch.onnx, "export", export)
        assert "onnxscript._framework_apis" in refused("E512", onnx_bytes, program, sample, None)

    def test_without_onnxruntime_nothing_can_be_run(self, monkeypatch):
        monkeypatch.setattr(programs, "find_spec", lambda name: None)
        assert onnx_runner(b"") is None
