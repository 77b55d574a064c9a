"""Asking diagnostics: they see the network and leave no trace in it."""

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor, nn

from esper_core.kasmina.undisturbed import undisturbed
from esper_core.leyline.diagnostics import Diagnostic, Finding, NetworkView
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.records import plain
from esper_core.leyline.streams import derive_seed


def examine(diagnostics: Mapping[str, Diagnostic], view: NetworkView, seed: int) -> tuple[Finding, ...]:
    """Ask every diagnostic. What one raises is its finding; the others are asked all the same.

    Args:
        diagnostics: by name.
        view: the network.
        seed: of the diagnostics' random streams.

    Raises:
        EsperError: E530 if one has changed a parameter or a gradient.
    """
    findings: list[Finding] = []
    for name, diagnostic in diagnostics.items():
        before = [*_versions(view.model)]
        with undisturbed(view.model):
            torch.manual_seed(derive_seed(seed, "diagnostic", name, view.epoch))
            found = _finding(name, diagnostic, view)
        if [*_versions(view.model)] != before:
            raise EsperError(
                "E530",
                f'diagnostic "{name}" has changed the network that it looks into',
                why="a parameter or a gradient is not the one that it was",
                fix="work on copies; torch.autograd.grad returns gradients without storing them",
            )
        findings += [] if found is None else [found]
    return tuple(findings)


def _finding(name: str, diagnostic: Diagnostic, view: NetworkView) -> Finding | None:
    try:
        if (found := diagnostic.examine(view)) is None:
            return None
        if not attrs.has(type(found)):
            return Finding(
                diagnostic=name, error=f"it returned {found!r:.80}, which is not an instance of an attrs class"
            )
        return Finding(diagnostic=name, data=plain(found))
    except Exception as error:  # a third party's; what it looks at is none the worse for it
        return Finding(diagnostic=name, error=summary(error))


def _versions(model: nn.Module) -> Iterator[tuple[int, int, bool, int, int]]:
    """Identity and number of changes of every parameter and its gradient."""
    for parameter in model.parameters():
        yield id(parameter), parameter._version, parameter.requires_grad, *_version(parameter.grad)


def _version(tensor: Tensor | None) -> tuple[int, int]:
    return (0, 0) if tensor is None else (id(tensor), tensor._version)
