"""The order in which a policy that does not learn tries blueprints."""

from collections.abc import Sequence

from esper_core.api import Catalogue, EsperError, did_you_mean


def by_preference(catalogue: Catalogue, wanted: tuple[str, ...] | None, usual: Sequence[str]) -> tuple[str, ...]:
    """Return names of the catalogue's blueprints in the order in which they are tried.

    Args:
        catalogue: the run's blueprints.
        wanted: what the option ``policy.preference`` names, which is the order then; None: the usual one.
        usual: those that come first, as far as they are in the catalogue; the others follow in the catalogue's order.

    Raises:
        EsperError: E204 if `wanted` names a blueprint that is not in the catalogue.
    """
    if wanted is None:
        listed = [name for name in usual if name in catalogue.names]
        return (*listed, *(name for name in catalogue.names if name not in listed))
    for name in wanted:
        if name not in catalogue.names:
            raise EsperError(
                "E204",
                f'blueprint "{name}" is not in the catalogue',
                where="policy.preference",
                why=did_you_mean(name, catalogue.names),
                fix="name it in policy.blueprints too, or take it out of policy.preference",
            )
    return wanted
