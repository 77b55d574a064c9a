"""Orders for artifacts: what a seed at a site needs, and how a request on a bus says it."""

import hashlib
from datetime import UTC, datetime, timedelta

from esper_core.leyline.errors import EsperError
from esper_core.leyline.structure import structure
from esper_leyline_proto.kernels import KernelPrefetchRequest
from esper_tezzeret.orders import Order
from esper_urza.inputs import canonical


def guard_digest(order: Order) -> str:
    """Return the SHA-256 over what an artifact expects of its activations: layout, shape, dtype, causality."""
    expected = {
        "layout": str(order.layout),
        "shape": list(order.shape),
        "dtype": order.dtype,
        "causal": order.causal,
    }
    return hashlib.sha256(canonical(expected)).hexdigest()


def request_of(order: Order, request_id: str, *, timeout: float, run: str | None = None) -> KernelPrefetchRequest:
    """Return the request for an order; nobody waits for an answer after `timeout` seconds."""
    now = datetime.now(UTC)
    return KernelPrefetchRequest(
        request_id=request_id,
        blueprint=order.blueprint,
        parameters=dict(order.options),
        run=run,
        issued_at=now,
        expires_at=now + timedelta(seconds=timeout),
        layout=str(order.layout),
        shape=order.shape,
        causal=order.causal,
        dtype=order.dtype,
        compilers=order.compilers,
    )


def order_of(request: KernelPrefetchRequest) -> Order:
    """Return the order that a request stands for.

    Raises:
        EsperError: E625 if it does not say what the module is for, E201 or E202 if a value does not fit.
    """
    if request.layout is None or request.causal is None or request.dtype is None:
        why = "it does not say for which activations"
        fix = "ask with a newer Esper: it says layout, shape, dtype and causality"
        raise EsperError("E625", f"request {request.request_id} cannot be answered", why=why, fix=fix)
    data = {
        "blueprint": request.blueprint,
        "options": dict(request.parameters),
        "layout": request.layout,
        "shape": list(request.shape),
        "causal": request.causal,
        "dtype": request.dtype,
        "compilers": list(request.compilers),
    }
    return structure(Order, data, path="request")
