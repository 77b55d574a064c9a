"""Making one artifact: build the seed, compile it, load what came of it, and hold it against the seed."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve, frozen
from torch import nn

from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.specs import Capability
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_tezzeret.compiler import CompileJob, Compiler, LoadJob
from esper_tezzeret.inputs import blueprint_of, cannot
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.orders import Order
from esper_tezzeret.prewarming import prewarm
from esper_tezzeret.verification import LIMITS, Limits, verify


@frozen(kw_only=True)
class Product:
    """An artifact that has passed its checks.

    Attributes:
        content: the artifact.
        facts: what was measured: ``compile_ms``, ``load_ms``, what the compiler measured, and what `verify` and
            `prewarm` return.
    """

    content: bytes
    facts: Mapping[str, float]


def make(order: Order, registry: Registry, compiler: str, limits: Limits = LIMITS) -> Product:
    """Make an artifact in this process. It may take any time, and run anybody's code: see `run_in_group`.

    Args:
        order: what is wanted.
        registry: the loaded plugins.
        compiler: the compiler's name.
        limits: what the artifact is held to.

    Raises:
        EsperError: E204, E161, E201, E202 and E625 if it cannot be begun, E626 if the blueprint or the compiler raises,
            E627 if the result is not what the blueprint computes, or slow.
    """
    registered = registry.get(CompilerSpec.kind, compiler, where="forge")
    assert isinstance(registered.spec, CompilerSpec)
    blueprint = blueprint_of(order, registry)
    if Capability.NO_EXPORT in blueprint.spec.capabilities and Capability.NO_EXPORT not in registered.spec.capabilities:
        raise cannot(order, "it declares that it cannot be exported", "--preset emergency keeps it in eager")
    tool: Compiler = resolve(registered)(build_config(registered, {}))
    example = torch.randn(order.site.shape(2), generator=torch.Generator().manual_seed(0)).to(_dtype(order))
    try:
        seed = _seed(order, blueprint)
        begun = time.perf_counter()
        compiled = tool.compile(CompileJob(blueprint=order.blueprint, module=seed, example=example))
        between = time.perf_counter()
        module = _seed(order, blueprint)
        loaded = tool.load(LoadJob(blueprint=order.blueprint, content=compiled.content, module=module))
        ended = time.perf_counter()
        measured = verify(loaded, _seed(order, blueprint), example, trains=registered.spec.trains, limits=limits)
        again = LoadJob(blueprint=order.blueprint, content=compiled.content, module=module)
        prewarmed = prewarm(lambda: tool.load(evolve(again, module=_seed(order, blueprint))).eval(), example)
    except EsperError:
        raise
    except (Exception, SystemExit) as error:  # the code of blueprints and compilers, which are anybody's
        raise not_made(order, summary(error)) from error
    times = {"compile_ms": 1e3 * (between - begun), "load_ms": 1e3 * (ended - between)}
    return Product(content=compiled.content, facts={**compiled.measured, **measured, **prewarmed, **times})


def not_made(order: Order, why: str) -> EsperError:
    """Return the error that says why an artifact was not made."""
    fix = "esper forge status shows what failed; once it is mended: esper forge retry"
    return EsperError("E626", f'blueprint "{order.blueprint}" was not compiled', why=why, fix=fix)


def not_loaded(why: str) -> EsperError:
    """Return the error that says why a compiler cannot load an artifact."""
    fix = "name another store, or remove the folder of this one: what it had is made again at its next use"
    return EsperError("E628", "an artifact cannot be loaded", why=why, fix=fix)


def _seed(order: Order, blueprint: Registered) -> nn.Module:
    config: Any = build_config(blueprint, order.options, path=f"blueprints.{blueprint.spec.name}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = resolve(blueprint)(order.site, config)
    return module.to(_dtype(order))


def _dtype(order: Order) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, order.dtype)
    return dtype
