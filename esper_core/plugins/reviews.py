"""Kinds of components may review which blueprints a run or a training is about to use, and refuse them."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from attrs import frozen

from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import build_config

if TYPE_CHECKING:
    from esper_core.plugins.registry import Registry


@frozen(kw_only=True)
class SelectedBlueprint:
    """A blueprint that is about to be used, with its options: an instance of its options class, None if it has none."""

    component: Registered
    options: Any


@frozen(kw_only=True)
class BlueprintSelection:
    """The blueprints that a run or a training is about to use.

    Attributes:
        blueprints: each with its options.
        named: the user named them, on the command line, in a file, in a call or with a saved policy; otherwise they
            are those that are used where nobody names any.
        registry: all components, those that say something about blueprints among them.
    """

    blueprints: tuple[SelectedBlueprint, ...]
    named: bool
    registry: "Registry"


def review_blueprints(registry: "Registry", options: Mapping[str, Mapping[str, Any]], *, named: bool) -> None:
    """Ask every kind that reviews blueprints; where none is installed, nothing is refused.

    Args:
        registry: all components.
        options: the options of each blueprint that is about to be used, by name.
        named: see `BlueprintSelection`.

    Raises:
        EsperError: what a review objects to; E141 if a review itself fails, E204, E201 and E202 for names and options.
    """
    reviewing = [kind for kind in registry.kinds if kind.review is not None]
    if not reviewing:
        return
    components = {name: registry.get(BlueprintSpec.kind, name, where="policy.blueprints") for name in options}
    blueprints = tuple(
        SelectedBlueprint(component=it, options=build_config(it, options[name], path=f"blueprints.{name}"))
        for name, it in components.items()
    )
    selection = BlueprintSelection(blueprints=blueprints, named=named, registry=registry)
    for kind in reviewing:
        assert kind.review is not None
        try:
            review: Callable[[BlueprintSelection], None] = resolve_name(kind.review)
            review(selection)
        except EsperError:
            raise
        except Exception as error:
            what = f'the kind "{kind.name}" cannot review the blueprints'
            fix = f"report it to the author of {kind.review.partition('.')[0]}"
            raise EsperError("E141", what, where=kind.review, why=summary(error), fix=fix) from error
