"""Labelled images as they were published, before anything is computed from them."""

import hashlib
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from esper_core.api import DataShape, EsperError


@frozen(kw_only=True)
class PublicData:
    """A published data set: its contents and how to get it.

    Attributes:
        name: the task's name, and the folder's name below ``ESPER_DATA_DIR``.
        shape: shape of its images, (channels, height, width), and the number of classes.
        how_to_get: a line for the user that says how to get it.
        hub: its name on the Hugging Face hub; "" if it is not read from there.
        idx: whether it is also published as the four IDX files of the MNIST family.
    """

    name: str
    shape: DataShape
    how_to_get: str
    hub: str = ""
    idx: bool = False


@frozen(kw_only=True, eq=False)
class LabelledImages:
    """Images (N, C, H, W) of unsigned bytes with their class indices (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.intp]) -> "LabelledImages":
        """Return the images at these indices, in their order."""
        return LabelledImages(images=self.images[indices], labels=self.labels[indices])

    @property
    def digest(self) -> str:
        """SHA-256 over shape, pixels and labels; it does not depend on the kind of file."""
        content = hashlib.sha256(repr(self.images.shape).encode())
        content.update(self.images.tobytes())
        content.update(self.labels.astype("<i8").tobytes())
        return content.hexdigest()


@frozen(kw_only=True, eq=False)
class RawSplits:
    """The three splits, not yet normalised."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def checked(data: PublicData, images: NDArray[np.uint8], labels: NDArray[Any], where: str) -> LabelledImages:
    """Return images and labels as a record, after checking them against `data`.

    Args:
        data: what they should be.
        images: (N, C, H, W).
        labels: (N,) of any integer type.
        where: the files that they were read from, for messages.

    Raises:
        EsperError: E302 if there are none, their numbers differ, or a shape or label is not that of the data set.
    """
    if images.shape[1:] != data.shape.input_shape:
        raise damaged(data, where, f"its images have the shape {images.shape[1:]}, not {data.shape.input_shape}")
    if len(images) != len(labels):
        raise damaged(data, where, f"there are {len(images)} images but {len(labels)} labels")
    if len(images) == 0:
        raise damaged(data, where, "there are no images")
    if labels.min() < 0 or labels.max() >= data.shape.outputs:
        raise damaged(
            data, where, f"its labels run from {labels.min()} to {labels.max()}, not 0 to {data.shape.outputs - 1}"
        )
    return LabelledImages(images=images, labels=labels.astype(np.int64))


def damaged(data: PublicData, where: str, why: str) -> EsperError:
    """Return the error for files whose contents are not as expected."""
    return EsperError(
        "E302", f"the data of {data.name} are damaged", where=where, why=why, fix=f"get them again: {data.how_to_get}"
    )


def missing(data: PublicData, where: str, why: str) -> EsperError:
    """Return the error for data that are missing."""
    return EsperError("E301", f"the data of {data.name} cannot be found", where=where, why=why, fix=data.how_to_get)
