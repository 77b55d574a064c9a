"""Compilers that break one promise each; the conformance suite finds every one."""

import io
from copy import deepcopy

import pytest
import torch
from attrs import evolve
from torch import nn

from esper_compiler_eager.compiler import EagerCompiler
from esper_testing.check import CheckFailure
from esper_tezzeret.api import CompilerSpec, LoadJob
from esper_tezzeret.testing.compiler_subject import CompilerSubject
from esper_tezzeret.testing.conformance import CONFORMANCE

CHECKS = {check.id: check for check in CONFORMANCE.checks}


class UsesOtherValues(EagerCompiler):
    def load(self, job):
        before = deepcopy(job.module)
        super().load(job)
        return before


class Around(nn.Module):
    """Another forward around a seed, under the seed's own names."""

    def __init__(self, inner, forward):
        super().__init__()
        for name, child in inner.named_children():
            self.add_module(name, child)
        for name, parameter in inner.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.inner, self.around = (inner,), forward

    def train(self, mode=True):
        self.inner[0].train(mode)
        return super().train(mode)

    def forward(self, h):
        return self.around(self.inner[0], h)


class Bakes(EagerCompiler):
    def load(self, job):
        frozen = deepcopy(super().load(job))
        return Around(job.module, lambda inner, h: frozen.train(inner.training)(h))


class Renames(EagerCompiler):
    def load(self, job):
        return nn.Sequential(super().load(job))


class OneBatch(EagerCompiler):
    def load(self, job):
        return Around(super().load(job), lambda inner, h: inner(h[:2]))


class OneMode(EagerCompiler):
    def load(self, job):
        return Around(super().load(job), lambda inner, h: inner.eval()(h))


class NoGradients(EagerCompiler):
    def load(self, job):
        return Around(super().load(job), lambda inner, h: inner(h).detach())


class SetsTheMode(EagerCompiler):
    def compile(self, job):
        job.module.eval()
        return super().compile(job)


class RunsTheSeed(EagerCompiler):
    def compile(self, job):
        job.module(job.example)
        return super().compile(job)


class Freezes(EagerCompiler):
    def compile(self, job):
        job.module.requires_grad_(False)
        return super().compile(job)


class TakesAnyBlueprint(EagerCompiler):
    def load(self, job):
        size = int.from_bytes(job.content[:8], "little")
        theirs = b"esper-blueprint-check/check" in job.content[: 8 + size]
        blueprint = "esper-blueprint-check/check" if theirs else job.blueprint
        return super().load(LoadJob(blueprint=blueprint, content=job.content, module=job.module))


class TakesNothing(EagerCompiler):
    def load(self, job):
        return super().load(job) if job.content else job.module


class Pickles(EagerCompiler):
    def compile(self, job):
        content = io.BytesIO()
        torch.save(job.module.state_dict(), content)
        return evolve(super().compile(job), content=content.getvalue())


class MeasuresNothing(EagerCompiler):
    def compile(self, job):
        return evolve(super().compile(job), measured={"compile_ms": float("nan")})


MUTANTS = {
    UsesOtherValues: "compiler-computes",
    Bakes: "compiler-any-values",
    Renames: "compiler-any-values",
    OneBatch: "compiler-any-batch",
    OneMode: "compiler-trains",
    NoGradients: "compiler-trains",
    SetsTheMode: "compiler-leaves-the-seed",
    RunsTheSeed: "compiler-leaves-the-seed",
    Freezes: "compiler-leaves-the-seed",
    TakesAnyBlueprint: "compiler-refuses",
    TakesNothing: "compiler-refuses",
    Pickles: "compiler-no-pickle",
    MeasuresNothing: "compiler-measured",
}


def subject(compiler):
    spec = CompilerSpec(name="mutant", summary="", factory=lambda config: compiler())
    return CompilerSubject(spec=spec)


@pytest.mark.parametrize("check", CHECKS)
def test_a_right_one_passes(check):
    CHECKS[check](subject(EagerCompiler))


@pytest.mark.parametrize(("mutant", "check"), MUTANTS.items(), ids=lambda it: getattr(it, "__name__", it))
def test_a_mutant_is_caught(mutant, check):
    with pytest.raises(CheckFailure):
        CHECKS[check](subject(mutant))


def test_every_check_has_a_mutant():
    assert set(MUTANTS.values()) == set(CHECKS)
