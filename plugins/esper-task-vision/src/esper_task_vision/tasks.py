"""The tasks: image classification by cross entropy."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from torch import Generator, Tensor
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, Splits, TaskKind
from esper_task_vision.augmentation import crop_and_flip
from esper_task_vision.config import Cifar10Config, FashionMnistConfig
from esper_task_vision.images import LabelledImages, PublicData, RawSplits
from esper_task_vision.sklearn_data import read_digits
from esper_task_vision.sources import read
from esper_task_vision.splits import description, resident, stratified

_DIGITS = PublicData(
    name="digits",
    shape=DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=10),
    how_to_get="pip install --force-reinstall scikit-learn, which ships them",
)
#: 60 %, 20 % and 20 % of the 1797 images.
_DIGITS_SIZES = (1078, 359, 360)

_FASHION_MNIST = PublicData(
    name="fashion-mnist",
    shape=DataShape(kind=TaskKind.IMAGES, input_shape=(1, 28, 28), outputs=10),
    hub="zalando-datasets/fashion_mnist",
    how_to_get=(
        "sudo apt-get install dataset-fashion-mnist; or pip install 'esper-task-vision[hub]', which downloads them; "
        "or --set task.directory=FOLDER with the IDX files, or with parquet or arrow files"
    ),
    idx=True,
)
_CIFAR10 = PublicData(
    name="cifar10",
    shape=DataShape(kind=TaskKind.IMAGES, input_shape=(3, 32, 32), outputs=10),
    hub="uoft-cs/cifar10",
    how_to_get=(
        "pip install 'esper-task-vision[hub]', which downloads them; "
        "or that and --set task.directory=FOLDER with parquet or arrow files"
    ),
)


class ImageTask:
    """Classify images; the loss is cross entropy, a sample is right if its class has the largest logit.

    The data are read on first use; then they stay in memory, and every caller shares the same tensors.
    """

    def __init__(
        self,
        name: str,
        shape: DataShape,
        read_splits: Callable[[], RawSplits],
        augmentation: Callable[[Tensor, Generator], Tensor] | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.random_guess_loss = math.log(shape.outputs)
        self._read_splits = read_splits
        self._augmentation = augmentation

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, shape, and each split's size and SHA-256; loads the data. Raises what `load` raises."""
        return self._loaded[1]

    def load(self) -> Splits:
        """Return all three splits: float32 images (N, C, H, W), int64 classes (N,).

        Raises:
            EsperError: E301 if the data cannot be found, E302 if they are damaged, E202 if there are too few.
        """
        return self._loaded[0]

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Return a training batch, with random augmentation if the task has any."""
        return inputs if self._augmentation is None else self._augmentation(inputs, generator)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of each image, (B,), in nats."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1.0 for each image that is classified correctly, else 0.0; (B,)."""
        return (outputs.argmax(dim=1) == targets).float()

    @cached_property
    def _loaded(self) -> tuple[Splits, Mapping[str, Any]]:
        raw = self._read_splits()
        identity = {"name": self.name, "shape": list(self.shape.input_shape), "splits": description(raw)}
        return resident(raw), identity


def digits(config: None = None) -> ImageTask:
    """Return the task `digits`; it has no options."""
    return ImageTask("digits", _DIGITS.shape, _read_digits)


def fashion_mnist(config: FashionMnistConfig) -> ImageTask:
    """Return the task `fashion-mnist`."""
    return ImageTask("fashion-mnist", _FASHION_MNIST.shape, partial(_read_fashion_mnist, config))


def cifar10(config: Cifar10Config) -> ImageTask:
    """Return the task `cifar10`."""
    augmentation = crop_and_flip if config.augment else None
    return ImageTask("cifar10", _CIFAR10.shape, partial(_read_cifar10, config), augmentation)


def _read_digits() -> RawSplits:
    pool = read_digits(_DIGITS)
    train, validation, test = (pool.take(indices) for indices in stratified(pool.labels, _DIGITS_SIZES))
    return RawSplits(train=train, validation=validation, test=test)


def _read_fashion_mnist(config: FashionMnistConfig) -> RawSplits:
    official = read(_FASHION_MNIST, config.directory, config.system_directory)
    return _split(*official, train=config.train_samples, validation=config.validation_samples)


def _read_cifar10(config: Cifar10Config) -> RawSplits:
    official = read(_CIFAR10, config.directory)
    return _split(*official, train=config.train_samples, validation=config.validation_samples)


def _split(pool: LabelledImages, test: LabelledImages, train: int, validation: int) -> RawSplits:
    """Take train and validation from the official training images; the test split is the official one."""
    if train + validation > len(pool):
        raise EsperError(
            "E202",
            f"there are {len(pool)} training images, too few for the splits",
            where=f"task.train_samples={train}, task.validation_samples={validation}",
            why=f"together they need {train + validation}",
            fix="set one of them lower",
        )
    # Validation comes first, so its images do not depend on the number of training images.
    validating, training = (pool.take(indices) for indices in stratified(pool.labels, (validation, train)))
    return RawSplits(train=training, validation=validating, test=test)
