"""compiler-aoti against the conformance suite, with real machine code."""

import pytest
import torch

from esper_compiler_aoti import compiler
from esper_compiler_aoti.compiler import AotiCompiler
from esper_compiler_aoti.machine_code import MachineCode, Signature, signatures
from esper_compiler_aoti.plugin import esper_compilers
from esper_testing.component_uses import processes
from esper_testing.processes import elsewhere
from esper_tezzeret.api import CompileJob, LoadJob
from esper_tezzeret.testing.compiler_subject import BLUEPRINT, CompilerSubject, activation, seed
from esper_tezzeret.testing.compiler_suite import CompilerSuite

NAME = "gated"


@pytest.fixture(scope="module")
def made():
    """Machine code by its program. Values and modes are not in a program, so few are compiled."""
    return {}


@pytest.fixture(autouse=True)
def each_program_is_compiled_once(made, monkeypatch):
    compiled = compiler.machine_code
    # A processor that has vectors can compute with them: to compile a test of that takes a third of the time.
    monkeypatch.setitem(compiler._OPTIONS, "cpp.vec_isa_ok", True)

    def once(program):
        key = str(program)
        if key not in made:
            made[key] = compiled(program)
        return made[key]

    monkeypatch.setattr(compiler, "machine_code", once)


@pytest.mark.slow
class TestAoti(CompilerSuite):
    plugin = "esper-compiler-aoti"
    leave_out = ("component-processes",)  # compiling in three processes takes a minute: the drill below


@pytest.mark.soak
def test_compiled_in_other_processes_it_is_and_does_the_same():
    (spec,) = esper_compilers()
    processes(CompilerSubject(spec=spec))


def artifact(name=NAME):
    return AotiCompiler().compile(CompileJob(blueprint=BLUEPRINT, module=seed(name), example=activation(name))).content


def computed(content):
    """Load an artifact, and compute with it."""
    loaded = AotiCompiler().load(LoadJob(blueprint=BLUEPRINT, content=content, module=seed(NAME, stream=1))).eval()
    with torch.no_grad():
        return loaded(activation(NAME)).tolist()


@pytest.mark.slow
def test_another_process_computes_the_same_with_it():
    content = artifact()
    (found,) = elsewhere(computed, (content,))
    assert found == computed(content)


@pytest.mark.slow
def test_machine_code_computes_with_any_values():
    content = artifact()
    loaded = AotiCompiler().load(LoadJob(blueprint=BLUEPRINT, content=content, module=seed(NAME, stream=1))).eval()
    run, calls = loaded.__dict__["_esper_machine_code"].run, []
    code = MachineCode(lambda it: calls.append(it) or run(it), Signature((4, 5, 6), torch.float32), signatures(loaded))
    loaded.__dict__["_esper_machine_code"] = code
    with torch.no_grad():
        for stream, batch in ((1, 2), (2, 1), (3, 17)):
            other = seed(NAME, stream=stream).eval()
            other.gate.mul_(5.0)
            loaded.load_state_dict(other.state_dict())
            h = activation(NAME, batch)
            assert torch.allclose(loaded(h), other(h), atol=1e-5)
    assert len(calls) == 3
