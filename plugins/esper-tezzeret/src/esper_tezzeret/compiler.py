"""What a compiler is: it makes bytes of a seed, and a module of the bytes."""

from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen
from torch import Tensor, nn


@frozen(kw_only=True, eq=False)
class CompileJob:
    """What a compiler is given.

    Attributes:
        blueprint: the blueprint's id, ``distribution/name``.
        module: a seed as the blueprint builds it; ``forward(h) -> delta``. It must be left as it is.
        example: an activation, its first axis the batch, of two samples. Another batch may have any other size.
    """

    blueprint: str
    module: nn.Module
    example: Tensor


@frozen(kw_only=True, eq=False)
class Compiled:
    """What a compiler has made.

    Attributes:
        content: the artifact. It is loaded without unpickling anything.
        measured: what was measured while it was made, such as ``export_ms``; every number finite.
    """

    content: bytes
    measured: Mapping[str, float] = field(factory=dict)


@frozen(kw_only=True, eq=False)
class LoadJob:
    """What a compiler makes a module of.

    Attributes:
        blueprint: the blueprint's id, ``distribution/name``.
        content: the artifact, verified by the store.
        module: a seed as the blueprint builds it, for compilers whose artifacts hold no program; they may use it up.
    """

    blueprint: str
    content: bytes
    module: nn.Module


class Compiler(Protocol):
    """Makes artifacts and loads them. It is called in a process that may be killed at any time."""

    def compile(self, job: CompileJob) -> Compiled:
        """Return the artifact of a seed.

        Raises whatever keeps it from being made.
        """

    def load(self, job: LoadJob) -> nn.Module:
        """Return a module that computes what the seed computed when it was compiled.

        Its state dict has the seed's names, and decides all that it computes: after ``load_state_dict`` with another
        seed's values it computes what that one computes, in training (where its descriptor says so) and in evaluation.

        Raises:
            EsperError: E628 if the content is not one of its artifacts, or of another blueprint.
        """
