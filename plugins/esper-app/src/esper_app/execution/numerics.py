"""How the hosts of a run are computed, as the section ``training`` says."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from esper_app.configuration.training import Compiled, MemoryFormat, Precision, TrainingConfig
from esper_app.execution.compiled_trunk import CompiledTrunk
from esper_app.execution.machine import slow_in_bfloat16
from esper_app.execution.memory_format import keep_memory_format
from esper_app.execution.mixed_precision import Autocast, LossScaler
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.tolaria.numerics import Numerics

_DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
#: A few inputs are enough to see a host's activations; not one, which some hosts take for something else.
_SEEN = 2
_SLOW = "this processor has no arithmetic in bfloat16: bf16 takes more time here than fp32"


class RunNumerics(Numerics):
    """The numerics of one host.

    Args:
        config: the section ``training``.
        inputs: training data, where the host is.
    """

    def __init__(self, config: TrainingConfig, inputs: Tensor) -> None:
        self._config = config
        self._sample = inputs[:_SEEN]
        self._scaler = LossScaler(inputs.device.type) if config.precision is Precision.FP16 else None
        self._trunk = CompiledTrunk(config.compile_backend) if config.compile is Compiled.TRUNK else None
        slow = config.precision is Precision.BF16 and inputs.device.type == "cpu" and slow_in_bfloat16()
        self._told = (_SLOW,) if slow else ()

    def prepare(self, slot_set: SlotSet) -> None:
        """Take a host. Raises EsperError E202 if it cannot be kept in the memory format."""
        if self._config.memory_format is not MemoryFormat.HOST:
            keep_memory_format(slot_set, self._config.memory_format, self._sample)
        if self._config.precision is not Precision.FP32:
            Autocast(self._sample.device.type, _DTYPES[self._config.precision]).install(slot_set.model)

    def forward(self, slot_set: SlotSet, inputs: Tensor) -> Any:
        """Return what the host makes of the batch of a step."""
        return slot_set.model(inputs) if self._trunk is None else self._trunk.forward(slot_set, inputs)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss."""
        super().backward(loss) if self._scaler is None else self._scaler.backward(loss)

    def unscale(self, slot_set: SlotSet) -> None:
        """Make the gradients those of the loss."""
        if self._scaler is not None:
            self._scaler.unscale(slot_set)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights."""
        super().step(optimizer) if self._scaler is None else self._scaler.step(optimizer)

    def notices(self) -> tuple[str, ...]:
        """Return what was compiled and what was not, and in the first epoch what costs more than it saves."""
        told, self._told = self._told, ()
        return (*told, *(() if self._trunk is None else self._trunk.notices()))

    def summary(self) -> Mapping[str, Any]:
        """Return the settings, and what came of them."""
        return {
            "precision": self._config.precision.value,
            "memory_format": self._config.memory_format.value,
            "compile": None if self._trunk is None else self._trunk.summary(),
            "overflowed": {} if self._scaler is None else dict(self._scaler.overflowed),
        }

    def record(self) -> Mapping[str, Any]:
        """Return the loss scale and all counts."""
        parts = {"scaler": self._scaler, "trunk": self._trunk}
        return {name: part.record() for name, part in parts.items() if part is not None}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from what was recorded."""
        self._told = ()
        if self._scaler is not None:
            self._scaler.restore(record["scaler"])
        if self._trunk is not None:
            self._trunk.restore(record["trunk"])


def check_training(config: TrainingConfig, device: str) -> None:
    """Check that the device can compute like this; see `RunNumerics`. Raises EsperError E202 if it cannot."""
    kind = device.partition(":")[0]
    if config.precision is Precision.FP16 and kind != "cuda":
        raise _refused("precision", f'"fp16" is for cuda, and the device is "{device}"', "--precision bf16")
    if config.precision is not Precision.FP32 and not torch.amp.is_autocast_available(kind):
        raise _refused("precision", f'torch has no autocast for the device "{device}"', "--precision fp32")
    if config.compile is Compiled.TRUNK:
        known = torch.compiler.list_backends(exclude_tags=())
        if config.compile_backend not in known:
            why = f'torch has no backend "{config.compile_backend}"'
            raise _refused("compile_backend", why, did_you_mean(config.compile_backend, known))


def _refused(key: str, why: str, fix: str) -> EsperError:
    return EsperError("E202", f'"training.{key}" is not possible here', why=why, fix=fix)
