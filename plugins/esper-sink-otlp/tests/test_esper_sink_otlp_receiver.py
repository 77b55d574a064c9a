"""A receiver of others, OtelTap, understands what is sent: it decodes by itself, and gives spans and metrics."""

import asyncio
import socket
from typing import Any

import pytest
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from esper_core.api import Event, EventKind
from esper_sink_otlp.config import OtlpConfig
from esper_sink_otlp.sink import OtlpSink

SPANS = ("run", "epoch", "gate", "counterfactual", "checkpoint")
METRICS = ("esper.validation.loss", "esper.slots.alpha", "rl.reward.total")
PATIENCE = 30.0


def tell(port: int) -> None:
    sink = OtlpSink(OtlpConfig(endpoint=f"http://127.0.0.1:{port}"))
    sink.open({"name": "digits-1", "started": "2026", "seed": 3, "config": {"epochs": 10}})
    seed = {"slot": "block0", "stage": "BLENDING", "alpha": 0.25, "contribution": {"mean": 0.5, "standard_error": 0.25}}
    verdict = {"gate": "G3", "passed": True, "reason": "", "evidence": {}}
    data = {"validation": {"loss": 0.125, "seconds": 1.0}, "seeds": [seed], "gates": {"block0": [verdict]}}
    reward = {"terms": {"gain": 0.75}, "total": 0.75}
    sink.emit(
        [
            Event(kind=EventKind.EPOCH_COMPLETED, host="grown", epoch=3, data=data, time=2000.0),
            Event(kind=EventKind.REWARD_COMPUTED, host="grown", epoch=3, data=reward, time=2000.0),
        ]
    )
    sink.checkpoint(3, 2000.0, 2001.0)
    hosts = {"grown": {"test_accuracy": 0.875, "epochs": 4}}
    sink.emit([Event(kind=EventKind.RUN_FINISHED, data={"outcome": "completed", "hosts": hosts}, time=3000.0)])
    sink.close()


async def received() -> tuple[dict[str, Any], dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = OtelTapHttpProtobufReceiverSettings(http_port=port, listen_on_all_interfaces=False)
    async with OtelTapHttpProtobufReceiver(settings) as receiver:
        spans, metrics = (
            [asyncio.ensure_future(wait(lambda it, name=name: it.name == name, timeout=PATIENCE)) for name in names]
            for wait, names in ((receiver.await_trace, SPANS), (receiver.await_metric, METRICS))
        )
        await asyncio.sleep(0)  # they listen
        await asyncio.to_thread(tell, port)
        found = await asyncio.gather(*spans), await asyncio.gather(*metrics)
    return dict(zip(SPANS, found[0], strict=True)), dict(zip(METRICS, found[1], strict=True))


@pytest.mark.slow
def test_another_receiver_has_the_trace_and_the_numbers() -> None:
    spans, metrics = asyncio.run(received())
    run, epoch = spans["run"], spans["epoch"]
    assert {it.trace_id for it in spans.values()} == {run.trace_id}
    assert epoch.parent_span_id == run.span_id
    assert {spans[name].parent_span_id for name in ("gate", "counterfactual", "checkpoint")} == {epoch.span_id}
    values = {name: metric.gauge.data_points[0].as_double for name, metric in metrics.items()}
    assert values == {"esper.validation.loss": 0.125, "esper.slots.alpha": 0.25, "rl.reward.total": 0.75}
    assert metrics["esper.validation.loss"].unit == "{nat}"
