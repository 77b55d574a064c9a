"""How the hosts of a run are computed. Imports no torch."""

from enum import StrEnum

from attrs import field, frozen, validators

_INDUCTOR = "inductor"


class Precision(StrEnum):
    """What matrix products and convolutions are computed in; weights and optimizer states are float32 in any case."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class MemoryFormat(StrEnum):
    """In which order images and their activations lie in memory; ``HOST`` leaves it to the host."""

    HOST = "host"
    CONTIGUOUS = "contiguous"
    CHANNELS_LAST = "channels_last"


class Compiled(StrEnum):
    """What is compiled by torch.compile for the steps of training; ``TRUNK`` is what does not change as seeds live."""

    OFF = "off"
    TRUNK = "trunk"


@frozen(kw_only=True)
class TrainingConfig:
    """How networks are computed. Every setting gives other bits.

    Attributes:
        precision: ``fp32``, or autocast in ``bf16`` or, on CUDA only, ``fp16``, in training and in every measurement.
        memory_format: of images: ``contiguous`` or ``channels_last``; ``host`` leaves it to the host.
        compile: ``trunk`` compiles for the steps of training what lies between the sites, and fossilized seeds, with
            torch.compile; ``off`` compiles nothing.
        compile_backend: of torch.compile, such as ``inductor`` or ``aot_eager``.
    """

    precision: Precision = field(default=Precision.FP32, converter=Precision)
    memory_format: MemoryFormat = field(default=MemoryFormat.HOST, converter=MemoryFormat)
    compile: Compiled = field(default=Compiled.OFF, converter=Compiled)
    compile_backend: str = field(
        default=_INDUCTOR, validator=validators.and_(validators.instance_of(str), validators.min_len(1))
    )

    def __attrs_post_init__(self) -> None:
        if self.compile is Compiled.OFF and self.compile_backend != _INDUCTOR:
            raise ValueError("'compile_backend' is of no use where nothing is compiled: set compile = \"trunk\"")
