"""One copy of a run's data for all processes of a machine: a file in memory that each of them maps."""

import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from esper_core.leyline.protocols import Split, Splits

#: Where in memory torch's own tensors begin; with another alignment a kernel may add in another order.
_ALIGNMENT = 64

_SPLITS = ("train", "validation", "test")


@frozen
class TensorPlace:
    """Where a tensor is: its first byte, its type, and its axes in the order in which they lie in memory."""

    offset: int
    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]


@frozen(kw_only=True)
class DataPlaces:
    """Where the data of a task are, as plain data that another process can be told.

    Attributes:
        task: what identifies the task in a configuration.
        path: of the file, as long as the process that made it has it open.
        size: of the file in bytes.
        places: of inputs and targets, split by split.
    """

    task: str
    path: str
    size: int
    places: tuple[TensorPlace, ...]

    @property
    def there(self) -> bool:
        """The file is still open where it was made."""
        try:
            return os.stat(self.path).st_size == self.size
        except OSError:
            return False

    def splits(self) -> Splits:
        """Map the data. Writing to them would change them in this process alone.

        Raises:
            RuntimeError: if the file is not there any more.
        """
        data = torch.from_file(self.path, shared=False, size=self.size, dtype=torch.uint8)
        tensors = [_tensor(data, place) for place in self.places]
        named = zip(_SPLITS, tensors[::2], tensors[1::2], strict=True)
        return Splits(**{name: Split(inputs=inputs, targets=targets) for name, inputs, targets in named})


class SharedData:
    """The data of a run, in a file in memory as soon as another process asks for them.

    Args:
        task: what identifies the task in a configuration.
        splits: its data.
    """

    def __init__(self, task: str, splits: Splits) -> None:
        self._task, self._splits = task, splits
        self._places: DataPlaces | None = None

    def places(self) -> DataPlaces | None:
        """Return where the data are; None where there are no files in memory, so that each process loads its own."""
        if self._places is None and hasattr(os, "memfd_create"):
            file = os.memfd_create("esper-data")
            # The file goes with this object, or with this process, however that ends.
            weakref.finalize(self, os.close, file)
            self._places = self._written(file)
        return self._places

    def _written(self, file: int) -> DataPlaces:
        places, size = [], 0
        for tensor in _tensors(self._splits):
            places.append(_place(tensor, size))
            size += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
        os.ftruncate(file, max(size, 1))
        path = f"/proc/{os.getpid()}/fd/{file}"
        data = torch.from_file(path, shared=True, size=max(size, 1), dtype=torch.uint8)
        for tensor, place in zip(_tensors(self._splits), places, strict=True):
            _tensor(data, place).copy_(tensor)
        return DataPlaces(task=self._task, path=path, size=max(size, 1), places=tuple(places))


def _tensors(splits: Splits) -> Iterator[Tensor]:
    for split in (splits.train, splits.validation, splits.test):
        yield from (split.inputs, split.targets)


def _place(tensor: Tensor, offset: int) -> TensorPlace:
    order = tuple(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    shape = tuple(tensor.shape[axis] for axis in order)
    return TensorPlace(offset, str(tensor.dtype).removeprefix("torch."), shape, order)


def _tensor(data: Tensor, place: TensorPlace) -> Tensor:
    dtype: Any = getattr(torch, place.dtype)
    count = torch.Size(place.shape).numel()
    flat = data[place.offset : place.offset + count * dtype.itemsize].view(dtype)
    return flat.reshape(place.shape).permute([place.order.index(axis) for axis in range(len(place.order))])
