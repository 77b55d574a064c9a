"""Components with wrong descriptors, options or manners, one for each check of all kinds."""

import os
import random
import warnings
from typing import Any

import torch
from attrs import field, frozen

from esper_core.specs import SinkSpec
from esper_testing import SinkSubject


class Quiet:
    """What is built; each mutant spoils one thing."""

    def __init__(self, config: Any) -> None:
        pass


class SetsDtype(Quiet):
    def __init__(self, config: Any) -> None:
        torch.set_default_dtype(torch.float64)


class SetsThreads(Quiet):
    def __init__(self, config: Any) -> None:
        torch.set_num_threads(torch.get_num_threads() + 1)


class SeedsGlobally(Quiet):
    def __init__(self, config: Any) -> None:
        random.seed(0)


class DrawsGlobally(Quiet):
    def __init__(self, config: Any) -> None:
        torch.rand(1)


class SetsVariable(Quiet):
    def __init__(self, config: Any) -> None:
        os.environ["ESPER_MUTANT"] = "1"


class ChangesFolder(Quiet):
    def __init__(self, config: Any) -> None:
        os.chdir("/")


class SilencesWarnings(Quiet):
    def __init__(self, config: Any) -> None:
        warnings.simplefilter("ignore", ResourceWarning)


class Prints(Quiet):
    def __init__(self, config: Any) -> None:
        print("hello")


@frozen(kw_only=True)
class Options:
    rate: float = 0.1


@frozen(kw_only=True)
class Needy:
    rate: float


@frozen(kw_only=True)
class Untruthful:
    rate: int = 0.1


@frozen(kw_only=True)
class Doubling:
    rate: float = field(default=0.1, converter=lambda value: 2 * value)


def spec(factory: Any = Quiet, summary: str = "Wrong.", config: Any = Options) -> SinkSpec:
    return SinkSpec(name="mutant", summary=summary, factory=factory, config=config)


def subject(*args: Any, **fields: Any) -> SinkSubject:
    return SinkSubject(spec=spec(*args, **fields))


NEEDY = SinkSubject(spec=spec(config=Needy), config=Needy(rate=1.0))

RIGHT: list[Any] = []

MUTANTS = {
    "component-summary": [(subject(summary=""), "is ''"), (subject(summary="One.\nTwo."), "One")],
    "component-resolves": [
        (subject("json:no_such_name"), "AttributeError: module 'json' has no attribute"),
        (subject("no_such_module:build"), "ModuleNotFoundError"),
        (subject("json:__name__"), "the factory is 'json'"),
        (subject(config=dict), "the options class <class 'dict'>"),
    ],
    "component-options": [
        (NEEDY, "no default for rate"),
        (subject(config=Untruthful), "cannot be written down and read again"),
        (subject(config=Doubling), "on the way through plain data"),
    ],
    "component-build-pure": [
        (subject(SetsDtype), "changed torch's default dtype"),
        (subject(SetsThreads), "changed torch's number of threads"),
        (subject(SeedsGlobally), "changed random's global generator"),
        (subject(DrawsGlobally), "changed torch's global generator"),
        (subject(SetsVariable), "changed the environment"),
        (subject(ChangesFolder), "changed the working directory"),
        (subject(SilencesWarnings), "changed the warning filters"),
        (subject(Prints), "printed 'hello'"),
    ],
}
