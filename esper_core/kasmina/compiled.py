"""Telling Dynamo that a module has hooks.

Code that Dynamo compiled while a module had no hooks does not look for any: it goes on being used when there are some,
and for every other module of the same class. What it does look at is the class. So a module in which Esper puts a hook
is of a subclass of its own class meanwhile, which differs in nothing else; code that contains the module is compiled
again, and code for its neighbours of the same class stays. Code that was compiled with a hook looks at it by itself.
"""

import types
from collections.abc import Callable
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import nn

from esper_core.leyline.errors import EsperError

_OWN = "_esper_own_class"

#: The subclass of each class, as long as a module is of it.
_hooked: "WeakKeyDictionary[type[nn.Module], ReferenceType[type[nn.Module]]]" = WeakKeyDictionary()


def own_class(module: nn.Module) -> type[nn.Module]:
    """Return the class that a module has where it has no hook of Esper's."""
    kind = type(module)
    own: type[nn.Module] = kind.__dict__.get(_OWN, kind)
    return own


def mark_hooked(module: nn.Module) -> None:
    """Let compiled code see that the module has hooks. A second call does nothing; Dynamo never enters scripts.

    Raises:
        EsperError: E401 if the module's class allows no subclass.
    """
    own = type(module)
    if _OWN in own.__dict__ or isinstance(module, torch.jit.ScriptModule):
        return
    try:
        module.__class__ = _subclass(own)
    except Exception as error:  # metaclasses and `__init_subclass__` may raise whatever they like
        raise EsperError(
            "E401",
            f"{own.__name__} cannot carry a slot",
            why=f"a subclass tells compiled code that there is a hook, and it could not be made: {error}",
            fix="hold the module in a plain nn.Module, and name that",
        ) from error


def unmark_hooked(module: nn.Module) -> None:
    """Give the module its own class back."""
    module.__class__ = own_class(module)


def _subclass(own: type[nn.Module]) -> type[nn.Module]:
    known = _hooked.get(own)
    kind = known() if known is not None else None
    if kind is None:
        names = {
            "__module__": own.__module__,
            "__qualname__": own.__qualname__,
            "__doc__": own.__doc__,
            "__reduce_ex__": _reduce_ex,
            _OWN: own,
        }
        kind = types.new_class(own.__name__, (own,), exec_body=lambda namespace: namespace.update(names))
        _hooked[own] = ref(kind)
    return kind


def _reduce_ex(module: nn.Module, protocol: Any) -> Any:
    """Name the own class, which can be imported; copies are marked as well."""
    own: type[nn.Module] = getattr(type(module), _OWN)
    reduced = own.__reduce_ex__(module, protocol)
    if isinstance(reduced, str):
        return reduced
    make, args, *rest = reduced
    return (_made_again, (make, tuple(own if part is type(module) else part for part in args)), *rest)


def _made_again(make: Callable[..., nn.Module], args: tuple[Any, ...]) -> nn.Module:
    module = make(*args)
    mark_hooked(module)
    return module
