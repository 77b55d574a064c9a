"""From a descriptor to the things that it names: its factory and its options, imported on first use."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from esper_core.leyline.errors import EsperError, did_you_mean, summary
from esper_core.plugins.quarantine import is_own_module, place
from esper_core.plugins.records import Registered

if TYPE_CHECKING:
    from esper_core.leyline.structure import Source


def resolve(registered: Registered) -> Callable[..., Any]:
    """Return a component's factory.

    Raises:
        EsperError: E160 if it cannot be imported, E161 if the component says that it cannot run here.
    """
    require_available(registered)
    factory: Callable[..., Any] = _load(registered.spec.factory, registered, "factory")
    if not callable(factory):
        why = f"{registered.spec.factory} is {type(factory).__name__}, which cannot be called"
        raise EsperError("E160", f"{registered.title} has no factory", why=why, fix="name a class or a function")
    return factory


def require_available(registered: Registered) -> None:
    """Check that a component can run here.

    Raises:
        EsperError: E161 with the component's own reason.
    """
    spec = registered.spec
    if spec.unavailable is not None:
        fix = spec.install_hint or "choose another one"
        raise EsperError("E161", f"{registered.title} cannot run here", why=spec.unavailable, fix=fix)


def config_class(registered: Registered) -> type | None:
    """Return the attrs class of a component's options, None if it has none.

    Raises:
        EsperError: E160 if it cannot be imported or is not an attrs class.
    """
    if registered.spec.config is None:
        return None
    cls = _load(registered.spec.config, registered, "options class")
    if not (isinstance(cls, type) and attrs.has(cls)):
        what = f"the options class of {registered.title} is not an attrs class"
        raise EsperError("E160", what, why=f"{registered.spec.config} is {cls!r}", fix="decorate it with attrs.frozen")
    return cls


def build_config(
    registered: Registered, options: Mapping[str, Any], *, path: str | None = None, source: "str | Source | None" = None
) -> Any:
    """Build a component's options from plain data.

    Args:
        registered: the component.
        options: what the user set, as TOML or JSON give it.
        path: dotted path of the options in what the user wrote, for messages; default ``kind.name``.
        source: where it was written, or a function that tells it for a path; for messages.

    Returns:
        An instance of the component's options class, None if it has none.

    Raises:
        EsperError: E201 for an unknown option, E202 for a value that does not fit, E160 if the class fails to load.
    """
    path = f"{registered.spec.kind}.{registered.spec.name}" if path is None else path
    cls = config_class(registered)
    if cls is not None:
        # Imported here: cattrs costs as much as everything that listing plugins needs.
        from esper_core.leyline.structure import structure

        return structure(cls, options, path=path, source=source)
    if options:
        key = f"{path}.{min(options)}" if path else min(options)
        where = source(key) if callable(source) else source
        raise EsperError("E201", f'unknown key "{key}"', where=where, why=f"{registered.title} has no options")
    return None


def _load(reference: Any, registered: Registered, role: str) -> Any:
    """Import ``package.module:attribute``; anything else is the object itself."""
    if not isinstance(reference, str):
        return reference
    name, _, path = reference.partition(":")
    try:
        found: Any = import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_failure(error, reference, registered, role) from error
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise EsperError(
                "E160",
                f"the {role} of {registered.title} does not exist",
                where=reference,
                fix=did_you_mean(attribute, (known for known in vars(found) if not known.startswith("_"))),
            )
        found = getattr(found, attribute)
    return found


def _import_failure(error: BaseException, reference: str, registered: Registered, role: str) -> EsperError:
    module = reference.partition(":")[0]
    fix = f"report it to the author of {registered.origin.provider}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        own = is_own_module(error.name, module)
        fix = f"reinstall {registered.origin.provider}" if own else f"pip install {error.name.partition('.')[0]}"
    if registered.spec.install_hint:
        fix = registered.spec.install_hint
    where = place(error, module) or reference
    what = f"the {role} of {registered.title} cannot be imported"
    return EsperError("E160", what, where=where, why=summary(error), fix=fix)
