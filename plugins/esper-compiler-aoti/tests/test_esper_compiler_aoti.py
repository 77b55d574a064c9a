"""When machine code is used, what it is given, and what is refused. But for one test the code is Python's."""

import io
import json
import warnings
import zipfile
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.utils.flop_counter import FlopCounterMode

from esper_compiler_aoti.compiler import AotiCompiler, exported, require_covering
from esper_compiler_aoti.machine_code import MachineCode, Signature, signatures, with_code
from esper_compiler_aoti.plugin import esper_compilers
from esper_compiler_aoti.toolchain import missing
from esper_core.api import EsperError
from esper_tezzeret.api import CompileJob, LoadJob
from esper_tezzeret.testing.compiler_subject import BLUEPRINT, activation, seed

NAME = "gated"


class Code:
    """Computes what the seed computes from what it is given, and counts."""

    def __init__(self, module):
        self.reference, self.calls = deepcopy(module).eval(), []

    def __call__(self, arguments):
        self.calls.append(arguments)
        h, *state = arguments
        return [functional_call(self.reference, dict(zip(signatures(self.reference), state, strict=True)), (h,))]


@pytest.fixture
def own():
    return seed(NAME).eval()


@pytest.fixture
def code(own):
    return Code(own)


@pytest.fixture
def compiled(own, code):
    h = activation(NAME)
    return with_code(deepcopy(own), MachineCode(code, Signature(tuple(h.shape[1:]), h.dtype), signatures(own)))


class TestUse:
    @pytest.mark.parametrize("batch", [1, 2, 17])
    def test_it_is_used_where_nothing_is_learned(self, own, code, compiled, batch):
        h = activation(NAME, batch)
        with torch.no_grad():
            assert torch.equal(compiled(h), own(h))
        with torch.inference_mode():
            compiled(h)
        assert len(code.calls) == 2

    def test_it_is_given_the_values_of_the_moment_and_copies_have_their_own(self, own, code, compiled):
        h = activation(NAME)
        copy = deepcopy(compiled)
        with torch.no_grad():
            compiled.gate.data.mul_(3.0)
            own.gate.data.mul_(3.0)
            assert torch.equal(compiled(h), own(h))
            compiled.load_state_dict(seed(NAME, stream=7).state_dict())
            assert torch.equal(compiled(h), seed(NAME, stream=7).eval()(h))
            assert torch.equal(copy(h), seed(NAME).eval()(h))
            assert torch.equal(functional_call(compiled, {"gate": torch.zeros(1)}, (h,)), torch.zeros_like(h))
        assert len(code.calls) == 4

    def test_what_it_is_given_is_contiguous(self, own, code, compiled):
        compiled = compiled.to(memory_format=torch.channels_last)
        h = activation(NAME).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            assert torch.allclose(compiled(h), own(h), atol=1e-6)
        assert all(it.is_contiguous() for it in code.calls[0])

    def test_names_modes_and_class_are_those_of_the_seed(self, own, compiled):
        assert [*compiled.state_dict()] == [*own.state_dict()]
        assert isinstance(compiled, type(own))
        assert type(compiled).__name__ == type(own).__name__

    def test_gradients_are_those_of_the_seed(self, own, code, compiled):
        for training in (True, False):
            own.train(training)
            compiled.train(training)
            own.zero_grad()
            compiled.zero_grad()
            for module in (own, compiled):
                module(activation(NAME)).sum().backward()
            pairs = zip(own.parameters(), compiled.parameters(), strict=True)
            assert all(torch.equal(one.grad, other.grad) for one, other in pairs)
        assert code.calls == []

    def test_a_gradient_of_the_activation_alone_is_there(self, code, compiled):
        compiled.requires_grad_(False)
        h = activation(NAME).requires_grad_()
        compiled(h).sum().backward()
        assert h.grad is not None
        assert code.calls == []


def in_training(module):
    return module.train()(activation(NAME))


def partly_in_training(module):
    module.block.train()
    return module(activation(NAME))


def another_shape(module):
    return module(torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(0)))


def another_dtype(module):
    return module.double()(activation(NAME).double())


def parameters_of_another_dtype(module):
    module.gate.data = module.gate.data.double()
    return module(activation(NAME))


def no_sample(module):
    return module(activation(NAME)[:0])


def without_a_batch(module):
    module.block = nn.Sequential(module.block[0], nn.Identity())
    return module(activation(NAME)[0])


def autocast(module):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return module(activation(NAME))


def mapped(module):
    return vmap(module)(activation(NAME)[:, None])


def counted(module):
    with FlopCounterMode(display=False) as counter:
        module(activation(NAME))
    return torch.tensor(counter.get_total_flops())


def traced(module):
    warnings.simplefilter("ignore")  # pytest puts filters back
    return torch.jit.trace(module, activation(NAME), check_trace=False)(activation(NAME, 3))


def exported_again(module):
    return torch.export.export(module, (activation(NAME),)).module()(activation(NAME))


def hooked(module):
    seen = []
    module.block[0].register_forward_hook(lambda _, __, out: seen.append(out))
    module(activation(NAME))
    return seen[0]


ELSEWHERE = (
    in_training,
    partly_in_training,
    another_shape,
    another_dtype,
    parameters_of_another_dtype,
    no_sample,
    without_a_batch,
    autocast,
    mapped,
    counted,
    traced,
    exported_again,
    hooked,
)


@pytest.mark.parametrize("way", ELSEWHERE, ids=lambda it: it.__name__)
def test_everywhere_else_the_seed_runs_its_own_code(way, own, code, compiled):
    with torch.no_grad():
        wanted = way(own)
        found = way(compiled)
    assert torch.equal(found, wanted)
    assert code.calls == []


def test_what_else_a_seed_takes_is_for_its_own_code():
    class Masked(nn.Module):
        def forward(self, h, mask=None):
            return h if mask is None else h * mask

    module = Masked().eval()
    code = Code(module)
    compiled = with_code(module, MachineCode(code, Signature((6,), torch.float32), signatures(module)))
    h = torch.ones(2, 6)
    assert torch.equal(compiled(h, mask=torch.zeros(2, 1)), torch.zeros(2, 6))
    assert code.calls == []
    assert torch.equal(compiled(h), h)
    assert len(code.calls) == 1


class TestCompiling:
    def job(self, module=None):
        return CompileJob(blueprint=BLUEPRINT, module=module or seed(NAME), example=activation(NAME))

    def test_all_of_the_state_is_an_argument(self):
        program = exported(self.job())
        require_covering(program, signatures(seed(NAME)))
        assert not program.state_dict
        assert not program.constants

    def test_a_program_with_a_part_of_the_state_in_it_is_refused(self):
        program = torch.export.export(seed(NAME).eval(), (activation(NAME),), strict=False)
        with pytest.raises(ValueError, match="do not cover the state dict"):
            require_covering(program, signatures(seed(NAME)))

    def test_a_seed_that_returns_more_than_an_update_is_refused(self):
        class Two(nn.Module):
            def forward(self, h):
                return h * 0, h

        with pytest.raises(ValueError, match="more than an update"):
            require_covering(exported(self.job(Two())), signatures(Two()))


def archive(**changes):
    module = seed(NAME)
    state = {name: it.plain() for name, it in signatures(module).items()}
    described = {"format": 3, "blueprint": BLUEPRINT, "h": [[4, 5, 6], "float32"], "state": state} | changes
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("description.json", json.dumps(described))
        file.writestr("evaluation.pt2", b"no code")
        file.writestr("values.safetensors", b"no values")
    return content.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"state": {"gate": [[1], "float32"]}},
            "do not cover the state dict of the blueprint: block.0.bias is missing",
        ),
        ({"state": None}, "not an archive"),
        ({"format": 2}, "do not cover"),
        ({"blueprint": "other"}, "it was made of other"),
        ({"h": [[4, 5, 6], "nothing"]}, "not an archive"),
        ({"h": 3}, "not an archive"),
    ],
)
def test_what_does_not_cover_the_state_dict_is_refused_before_code_is_loaded(changes, said):
    with pytest.raises(EsperError, match=said) as caught:
        AotiCompiler().load(LoadJob(blueprint=BLUEPRINT, content=archive(**changes), module=seed(NAME)))
    assert caught.value.code == "E628"


def test_without_a_compiler_it_cannot_be_used_and_says_why(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    (spec,) = esper_compilers()
    assert spec.unavailable == "there is no C++ compiler /nowhere/g++ (install one, or name it in CXX)"
    assert missing({"PATH": ""}) is not None
