"""Ask plugins for their descriptors, one implementation at a time, so that one that fails fails alone."""

from collections.abc import Callable, Iterable
from typing import Any

from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import (
    BlueprintSpec,
    ComponentSpec,
    GateSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.plugins.quarantine import place, quarantined, summary
from esper_core.plugins.records import Origin, Registered

#: What each registration hook returns, in the order in which kinds are listed.
SPEC_BY_HOOK: dict[str, type[ComponentSpec]] = {
    "esper_hosts": HostSpec,
    "esper_blueprints": BlueprintSpec,
    "esper_gates": GateSpec,
    "esper_reward_terms": RewardTermSpec,
    "esper_policies": PolicySpec,
    "esper_telemetry_sinks": SinkSpec,
    "esper_tasks": TaskSpec,
}


def collect(hook: str, function: Callable[..., Any], origin: Origin) -> tuple[Registered, ...]:
    """Call one implementation of a registration hook.

    Raises:
        EsperError: E141 if it raises, E142 if it returns anything but specs of the hook's kind, E112 if two have the
            same name.
    """
    returned = guarded_call(hook, function, origin)
    if isinstance(returned, ComponentSpec) or not isinstance(returned, Iterable):
        raise _not_descriptors(hook, origin, f"it returned {_describe(returned)}")
    specs = guarded_call(hook, lambda: list(returned), origin)
    for spec in specs:
        if type(spec) is not SPEC_BY_HOOK[hook]:  # a class of its own has no kind
            raise _not_descriptors(hook, origin, f"one of its results is {_describe(spec)}")
    _check_names_differ(specs, origin)
    return tuple(Registered(spec, origin) for spec in specs)


def guarded_call(hook: str, function: Callable[..., Any], origin: Origin, **arguments: Any) -> Any:
    """Call a plugin's function in quarantine.

    Raises:
        EsperError: E141 for whatever it raises but KeyboardInterrupt.
    """
    try:
        with quarantined():
            return function(**arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise hook_error(hook, error, origin) from error


def hook_error(hook: str, error: BaseException, origin: Origin) -> EsperError:
    """Say which hook of which plugin raised what, and where."""
    return EsperError(
        "E141",
        f'"{hook}" of {origin.title} failed',
        where=place(error, origin.module),
        why=summary(error),
        fix=f"tell its author, or run without it: --no-plugin {origin.plugin}",
    )


def _check_names_differ(specs: Iterable[ComponentSpec], origin: Origin) -> None:
    seen: set[str] = set()
    for spec in specs:
        title = f'{spec.kind} "{spec.name}"'
        place_in_set = f'gate {spec.level} of the set "{spec.gate_set}"' if isinstance(spec, GateSpec) else title
        for taken in {title, place_in_set}:
            if taken in seen:
                what = f"{origin.title} offers {taken} twice"
                raise EsperError("E112", what, where=origin.file, fix="rename one of them")
        seen |= {title, place_in_set}


def _not_descriptors(hook: str, origin: Origin, why: str) -> EsperError:
    expected = SPEC_BY_HOOK[hook].__name__
    return EsperError(
        "E142",
        f'"{hook}" of {origin.title} returned something else than {expected} descriptors',
        where=origin.file,
        why=why,
        fix=f"yield {expected}(...), one for each component",
    )


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    return f"a single {type(value).__name__}" if isinstance(value, ComponentSpec) else f"{type(value).__name__}"
