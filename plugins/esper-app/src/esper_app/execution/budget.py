"""A run's budget of floating-point operations: what is refused, and what it comes to."""

from esper_app.execution.assembly import Assembly
from esper_app.execution.compute_control import epoch_flops
from esper_core.leyline.errors import EsperError
from esper_core.tolaria.config import Schedule
from esper_runs.formatting import flops, loss


def check_budget(assembly: Assembly, hosts: int | None = None) -> None:
    """Check that a budget can be kept, and that nothing else of the configuration contradicts it.

    Args:
        assembly: the parts of the run.
        hosts: how many networks grow; None: as many as the configuration says.

    Raises:
        EsperError: E202 with the fix.
    """
    config, budget = assembly.config, assembly.config.flops
    if budget is None:
        return
    count = config.hosts if hosts is None else hosts
    if config.twin.equal_epochs and (config.optimizer.schedule is not Schedule.CONSTANT or count > 1):
        what = f'"twin" is "{config.twin}", and with a budget ("flops") there is no twin of equal epochs'
        why = "how many epochs a host has depends on what grows; the twin would have to know it from the beginning"
        fix = "--set twin=compute; for a single host --set optimizer.schedule=constant, which needs to know no end"
        raise EsperError("E202", what, where="twin", why=why, fix=fix)
    each = epoch_flops(assembly)
    if not each:
        what = f'"flops" is {budget:g}, and the floating-point operations of host {config.host.name} cannot be counted'
        raise EsperError("E202", what, where="flops", fix="leave the budget out, and say how many epochs")
    if budget < each:
        what = f'"flops" is {budget:g}, and one epoch of the ungrown host takes {each:g}'
        fix = f"for ten epochs of the ungrown host: --set flops={10 * each:g}"
        raise EsperError("E202", what, where="flops", fix=fix)


def budget_in_words(assembly: Assembly) -> str | None:
    """Say what the budget of a run comes to; None where it has none."""
    budget, each = assembly.config.flops, epoch_flops(assembly) if assembly.config.flops is not None else None
    if budget is None or not each:
        return None
    epochs = f"{loss(budget / each, digits=1)} epochs of the ungrown host, and {assembly.config.epochs:,} at most"
    return f"the budget of each host is {flops(budget)}: {epochs}"
