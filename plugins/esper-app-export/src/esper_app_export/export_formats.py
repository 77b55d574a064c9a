"""The forms in which a network leaves Esper. Imports no torch, so that commands can name them."""

from enum import StrEnum


class Format(StrEnum):
    """A file format.

    Attributes:
        TORCH_EXPORT: a program of ``torch.export``, weights included; needs torch alone.
        ONNX: a graph with weights for any ONNX runtime.
        SAFETENSORS: the tensors alone, beside a file that tells what has grown where.
    """

    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"
    SAFETENSORS = "safetensors"

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return {"torch-export": ".pt2"}.get(self, f".{self}")


#: The end of the name of the file beside a safetensors file that tells what has grown where.
TOPOLOGY_SUFFIX = ".topology.json"
