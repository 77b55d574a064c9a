"""A compiler under test: what its checks look at, and the seeds that it compiles."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_testing.check import CheckFailure
from esper_testing.subject import Subject
from esper_testing.usage import Usage
from esper_tezzeret.compiler import Compiled, CompileJob, Compiler, LoadJob
from esper_tezzeret.kinds import CompilerSpec

BLUEPRINT = "esper-blueprint-check/check"


class Gated(nn.Module):
    """A convolution with statistics of the batch, behind a gate of one number, which some compilers bake in."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.gate = nn.Parameter(torch.tensor([0.5]))

    def forward(self, h: Tensor) -> Tensor:
        """Return the update of `h`, (B, 4, H, W)."""
        update: Tensor = self.gate * torch.tanh(self.block(h))
        return update


class Dropping(nn.Module):
    """Linear layers with dropout between them, and a parameter that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.drop = nn.Linear(6, 3), nn.Linear(3, 6), nn.Dropout(0.25)
        self.scale = nn.Parameter(torch.ones(6), requires_grad=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update of `h`, (B, 6)."""
        update: Tensor = self.scale * self.up(self.drop(torch.relu(self.down(h))))
        return update


#: Each seed with the shape of one sample.
SEEDS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "gated": (Gated, (4, 5, 6)),
    "dropping": (Dropping, (6,)),
}


def seed(name: str, stream: int = 0) -> nn.Module:
    """Return a seed; another stream gives it other values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream)
        return SEEDS[name][0]()


def activation(name: str, batch: int = 2) -> Tensor:
    """Return an activation for a seed."""
    return torch.randn((batch, *SEEDS[name][1]), generator=torch.Generator().manual_seed(batch))


def demand(true: object, seen: str, cause: str, fix: str) -> None:
    """Fail a check."""
    if not true:
        raise CheckFailure(seen, cause=cause, fix=fix)


@frozen(kw_only=True)
class CompilerSubject(Subject[CompilerSpec]):
    """What the checks of compilers look at."""

    uses: ClassVar[int] = 10

    def build(self) -> Compiler:
        """Return the compiler."""
        compiler: Compiler = self.factory(self.config)
        return compiler

    def build_any(self) -> None:
        """Build it once."""
        self.build()

    def compiled(self, name: str, module: nn.Module | None = None) -> Compiled:
        """Compile a seed."""
        module = seed(name) if module is None else module
        return self.build().compile(CompileJob(blueprint=BLUEPRINT, module=module, example=activation(name)))

    def loaded(self, name: str, content: bytes) -> nn.Module:
        """Load an artifact of a seed, into a module with other values."""
        return self.build().load(LoadJob(blueprint=BLUEPRINT, content=content, module=seed(name, stream=1)))

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Load what was compiled once, and compute."""
        content, h = self.compiled("dropping").content, activation("dropping")

        def use() -> Any:
            with torch.no_grad():
                return self.loaded("dropping", content).eval()(h)

        yield Usage(use=use, handed=[h], keeps=True)
