"""The error of a module that does not come."""

from esper_core.leyline.errors import EsperError


def not_delivered(why: str) -> EsperError:
    """Return the error that says why a seed has no module from a store."""
    fix = "esper forge work answers requests; esper store ls shows what there is"
    return EsperError("E631", "the module of a seed was not delivered", why=why, fix=fix)
