"""Checks of compilers: an artifact computes what the seed computes, with any values, at any batch, in its modes."""

import io
import math
import pickletools
import zipfile
from collections.abc import Iterator

import torch
from torch import nn

from esper_core.leyline.errors import EsperError
from esper_testing.check import Check, CheckLevel, check, collect
from esper_testing.usage import same
from esper_tezzeret.compiler import LoadJob
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.testing.compiler_subject import (
    BLUEPRINT,
    SEEDS,
    CompilerSubject,
    activation,
    demand,
    seed,
)
from esper_tezzeret.verification import Limits, verify

CONTRACT = CheckLevel.CONTRACT

#: Nothing is said of speed: machines that check are busy.
_ANY_SPEED = Limits(slower_at_most=1e9, steps=3)


def _agree(loaded: nn.Module, eager: nn.Module, name: str, batch: int = 2) -> bool:
    """Say whether they are the same but for rounding, which machine code does otherwise: as exact as the forge asks."""
    h = activation(name, batch)
    with torch.no_grad():
        one, other = eager.eval()(h), loaded.eval()(h)
    if one.shape != other.shape:
        return False
    allowed = torch.finfo(one.dtype).eps ** 0.5 * one.abs().max()
    return bool((one - other).abs().max() <= allowed)


@check("compiler-computes", CompilerSpec.kind, CONTRACT)
def computes(subject: CompilerSubject) -> None:
    """What is loaded computes, in evaluation, what the seed computed when it was compiled."""
    for name in SEEDS:
        loaded = subject.loaded(name, subject.compiled(name).content)
        demand(
            _agree(loaded, seed(name), name),
            f"the artifact of {name} computes something else than the seed",
            "a transformation that is not exact, or the values of another module are used",
            "load the values that were compiled",
        )


@check("compiler-any-values", CompilerSpec.kind, CONTRACT)
def any_values(subject: CompilerSubject) -> None:
    """All values are in the state dict: with those of another seed it computes what that one computes."""
    for name in SEEDS:
        loaded, other = subject.loaded(name, subject.compiled(name).content), seed(name, stream=7)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1.5)
        names = [*loaded.state_dict()], [*other.state_dict()]
        demand(
            sorted(names[0]) == sorted(names[1]),
            f"the state dict of {name} has {', '.join(sorted(names[0]))} instead of {', '.join(sorted(names[1]))}",
            "constants are renamed, or some of them baked into the program",
            "keep the seed's names, and refuse a program that does not have all of them",
        )
        loaded.load_state_dict(other.state_dict())
        demand(
            _agree(loaded, other, name),
            f"after load_state_dict {name} computes something else than the seed with these values",
            "small constants are baked into the program",
            "let the program take every tensor of the state dict from outside",
        )


@check("compiler-any-batch", CompilerSpec.kind, CONTRACT)
def any_batch(subject: CompilerSubject) -> None:
    """The batch is that of the example only by chance: any other size gives the seed's update."""
    for name in SEEDS:
        loaded = subject.loaded(name, subject.compiled(name).content)
        for batch in (1, 3, 17):
            demand(
                _agree(loaded, seed(name), name, batch),
                f"{name} computes something else at batch {batch}",
                "the program is specialised to the example's batch",
                "make the first axis dynamic",
            )


@check("compiler-trains", CompilerSpec.kind, CONTRACT, only=lambda spec: None if spec.trains else "it does not train")
def trains(subject: CompilerSubject) -> None:
    """In training the update, its gradients and what is left in buffers are the seed's; so are they in evaluation."""
    for name in SEEDS:
        loaded = subject.loaded(name, subject.compiled(name).content)
        try:
            verify(loaded, seed(name), activation(name), trains=True, limits=_ANY_SPEED)
        except EsperError as error:
            seen = f"{name}: {error.why}"
        else:
            continue
        demand(
            False,
            seen,
            "one program stands for training and evaluation, or what it computes has no gradients",
            "compile both modes, or declare trains=False",
        )


@check("compiler-leaves-the-seed", CompilerSpec.kind, CONTRACT)
def leaves_the_seed(subject: CompilerSubject) -> None:
    """The seed that is compiled is afterwards what it was: values, mode, and which parameters learn."""
    for name in SEEDS:
        for training in (True, False):
            module, before = seed(name).train(training), seed(name)
            subject.compiled(name, module)
            learning = [[it.requires_grad for it in one.parameters()] for one in (module, before)]
            demand(
                same(dict(module.state_dict()), dict(before.state_dict()))
                and {it.training for it in module.modules()} == {training}
                and learning[0] == learning[1],
                f"compiling {name} changed it",
                "its mode is set, or its code is run on it, which moves statistics",
                "work on a copy: copy.deepcopy",
            )


@check("compiler-refuses", CompilerSpec.kind, CONTRACT)
def refuses(subject: CompilerSubject) -> None:
    """What is no artifact of this compiler, cut, or of another blueprint is refused with E628."""
    content = subject.compiled("dropping").content
    for what, blueprint, given in (
        ("nothing at all", BLUEPRINT, b""),
        ("a text", BLUEPRINT, b"not an artifact" * 99),
        ("half an artifact", BLUEPRINT, content[: len(content) // 2]),
        ("an artifact of another blueprint", "esper-blueprint-check/other", content),
    ):
        code = "no error"
        try:
            subject.build().load(LoadJob(blueprint=blueprint, content=given, module=seed("dropping")))
        except EsperError as error:
            code = error.code
        demand(
            code == "E628",
            f"{what} ended in {code}",
            "the content is believed, or the error of a library is let through",
            "keep the blueprint's id in the artifact, compare it, and raise `not_loaded`",
        )


@check("compiler-no-pickle", CompilerSpec.kind, CONTRACT)
def no_pickle(subject: CompilerSubject) -> None:
    """No part of an artifact is a pickle, which runs whatever code it names when it is read."""
    for name in SEEDS:
        found = [part for part, data in _parts("the artifact", subject.compiled(name).content) if _is_pickle(data)]
        demand(
            not found,
            f"{found and found[0]} of {name} is a pickle",
            "torch.save, or a library that pickles what it does not know",
            "save tensors as bytes, and describe the rest in JSON",
        )


@check("compiler-measured", CompilerSpec.kind, CONTRACT)
def measured(subject: CompilerSubject) -> None:
    """What was measured are finite numbers: they are signed as a part of the manifest."""
    for name in SEEDS:
        found = subject.compiled(name).measured
        demand(
            all(type(value) in (int, float) and math.isfinite(value) for value in found.values()),
            f"measured is {dict(found)!r}",
            "a number that is not finite, or a tensor",
            "leave out what was not measured",
        )


def _parts(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what is in an archive, and in archives in it; the data itself if it is none."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        yield name, data
        return
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for part in file.namelist():
            yield from _parts(part, file.read(part))


def _is_pickle(data: bytes) -> bool:
    if not data.startswith(b"\x80"):
        return False
    try:
        return bool([*pickletools.genops(data)])
    except (ValueError, IndexError, UnicodeDecodeError):
        return False


#: The checks of this module in order.
COMPILER_CHECKS: tuple[Check, ...] = collect(globals())
