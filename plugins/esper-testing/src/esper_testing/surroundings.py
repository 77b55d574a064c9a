"""What a process shares with everybody in it, and whether a component has changed it. Imports no torch."""

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen


@frozen
class Aspect:
    """Something shared: how its present state is read, as a comparable value, and put back."""

    read: Callable[[], Any]
    restore: Callable[[Any], object]


#: Variables that torch sets by itself while some of its modules are imported, whichever code asks for them.
_SET_BY_TORCH = frozenset({"TORCHINDUCTOR_CACHE_DIR"})


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _SET_BY_TORCH}


def _restore_environ(before: dict[str, str]) -> None:
    by_torch = {name: os.environ[name] for name in _SET_BY_TORCH & os.environ.keys()}
    os.environ.clear()
    os.environ.update(before | by_torch)


def _filters() -> list[Any]:
    """The filters, without those of sympy: torch imports it with its first optimizer, whichever code makes that."""
    return [it for it in warnings.filters if not _of_sympy(it)]


def _restore_filters(before: list[Any]) -> None:
    by_torch = [it for it in warnings.filters if _of_sympy(it)]
    warnings.filters[:] = by_torch + before  # type: ignore[index]


def _of_sympy(warning_filter: tuple[Any, ...]) -> bool:
    return str(warning_filter[2].__module__).partition(".")[0] == "sympy"


def _root_logger() -> tuple[int, list[logging.Handler]]:
    return logging.root.level, list(logging.root.handlers)


def _restore_root_logger(before: tuple[int, list[logging.Handler]]) -> None:
    logging.root.setLevel(before[0])
    logging.root.handlers[:] = before[1]


def _of(library: str, read: Callable[[Any], Any]) -> Callable[[], Any]:
    """Read something of a library, None while nobody has imported it."""

    def reader() -> Any:
        module = sys.modules.get(library)
        return None if module is None else read(module)

    return reader


def _restore(library: str, write: Callable[[Any, Any], object]) -> Callable[[Any], None]:
    def restorer(before: Any) -> None:
        if before is not None:
            write(sys.modules[library], before)

    return restorer


def _numpy_state(numpy: Any) -> tuple[Any, ...]:
    name, keys, *rest = numpy.random.get_state()
    return (name, keys.tobytes(), *rest)


def _restore_numpy_state(numpy: Any, before: tuple[Any, ...]) -> None:
    name, keys, *rest = before
    numpy.random.set_state((name, numpy.frombuffer(keys, dtype=numpy.uint32), *rest))


def _restore_torch_state(torch: Any, before: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(before), dtype=torch.uint8))


#: The aspect that seeds and hosts are allowed to use while they are built.
TORCH_RANDOM = "torch's global generator"

#: Everything that is watched, by its name in messages.
ASPECTS: Mapping[str, Aspect] = {
    "the working directory": Aspect(os.getcwd, os.chdir),
    "the environment": Aspect(_environ, _restore_environ),
    "the warning filters": Aspect(_filters, _restore_filters),
    "the root logger": Aspect(_root_logger, _restore_root_logger),
    "the running threads": Aspect(lambda: {thread.ident for thread in threading.enumerate()}, lambda _: None),
    "random's global generator": Aspect(random.getstate, random.setstate),
    "numpy's global generator": Aspect(_of("numpy", _numpy_state), _restore("numpy", _restore_numpy_state)),
    TORCH_RANDOM: Aspect(
        _of("torch", lambda torch: torch.get_rng_state().numpy().tobytes()), _restore("torch", _restore_torch_state)
    ),
    "torch's default dtype": Aspect(
        _of("torch", lambda torch: torch.get_default_dtype()),
        _restore("torch", lambda torch, before: torch.set_default_dtype(before)),
    ),
    "torch's number of threads": Aspect(
        _of("torch", lambda torch: torch.get_num_threads()),
        _restore("torch", lambda torch, before: torch.set_num_threads(before)),
    ),
}


@contextmanager
def watched(allowed: Sequence[str] = ()) -> Iterator[list[str]]:
    """Yield a list that names, once the block is left, what it has changed; all of that is put back.

    Args:
        allowed: names of `ASPECTS` that may change (they are put back all the same).
    """
    before = {name: aspect.read() for name, aspect in ASPECTS.items()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, aspect in ASPECTS.items():
            # What a library has is None before its import, which itself is not a change.
            if before[name] is not None and aspect.read() != before[name]:
                aspect.restore(before[name])
                if name not in allowed:
                    changed.append(name)
