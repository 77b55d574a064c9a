"""Images and labels: drawn from a stated distribution, labelled by the teacher."""

import hashlib

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor

from esper_core.api import EsperError, Split
from esper_task_teacher.config import TeacherConfig
from esper_task_teacher.network import Teacher

#: Images are drawn in lots of this size, so that a split's first images do not depend on its length.
_LOT = 500
#: Images from which the head's scale, the balance of the classes and the teacher's sureness are taken.
_REFERENCE = 8 * _LOT
_BALANCING_ROUNDS, _BALANCING_RATE = 200, 0.2


def stream(config: TeacherConfig, name: str) -> np.random.RandomState:
    """Return the random numbers for one use; other names and other seeds give other numbers.

    The stream of this older generator is frozen for good, that of the newer ones may change with numpy's version.
    """
    digest = hashlib.sha256(f"esper-task-teacher/{config.data_seed}/{name}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def draw_images(config: TeacherConfig, random: np.random.RandomState) -> Tensor:
    """Return a lot of images, (500, channels, size, size) of float32.

    Each channel is a grid of independent standard normal values, interpolated bilinearly with the grid's corners in
    the image's corners.
    """
    values = random.standard_normal((_LOT, config.channels, config.grid, config.grid))
    weights = _interpolation(config.grid, config.size)
    return torch.from_numpy(np.einsum("yi,ncij,xj->ncyx", weights, values, weights).astype(np.float32))


@frozen(kw_only=True)
class Examiner:
    """A teacher who knows when it is sure.

    Attributes:
        teacher: the network, its head standardised and balanced.
        thresholds: how far the largest logit must be ahead of the next one, for each class (classes,).
    """

    teacher: Teacher
    thresholds: Tensor

    def label(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes (B,) and whether the teacher is sure of each (B,)."""
        classes, ahead = _decisions(self.teacher, images.double())
        return classes, ahead >= self.thresholds[classes]


def build_examiner(config: TeacherConfig) -> Examiner:
    """Draw the teacher and fit its head to reference images, which belong to no split.

    Raises:
        EsperError: E202 if there is a class to which the teacher assigns none of them.
    """
    # Layers initialise themselves from the global stream before they get the teacher's weights.
    with torch.random.fork_rng(devices=[]):
        teacher = Teacher(config, stream(config, "teacher")).eval()
    random = stream(config, "reference")
    images = torch.cat([draw_images(config, random) for _ in range(_REFERENCE // _LOT)]).double()
    teacher.standardise(images)
    _balance(teacher, images)
    classes, ahead = _decisions(teacher, images)
    _check_classes(config, classes)
    thresholds = [ahead[classes == label].quantile(1 - config.clear_share) for label in range(config.classes)]
    return Examiner(teacher=teacher, thresholds=torch.stack(thresholds))


def draw_split(config: TeacherConfig, examiner: Examiner, name: str, samples: int) -> Split:
    """Return one split from streams of its own: images of which the teacher is sure, with their labels."""
    random = stream(config, name)
    images: list[Tensor] = []
    labels: list[Tensor] = []
    while sum(map(len, labels)) < samples:
        lot = draw_images(config, random)
        classes, sure = examiner.label(lot)
        images.append(lot[sure])
        labels.append(classes[sure])
    targets = torch.cat(labels)[:samples]
    return Split(inputs=torch.cat(images)[:samples], targets=_with_noise(config, targets, name))


def _with_noise(config: TeacherConfig, labels: Tensor, name: str) -> Tensor:
    random = stream(config, f"{name} noise")
    drawn = torch.from_numpy(random.randint(0, config.classes, len(labels)))
    noisy = torch.from_numpy(random.random_sample(len(labels)) < config.label_noise)
    return torch.where(noisy, drawn, labels)


def _check_classes(config: TeacherConfig, classes: Tensor) -> None:
    never = (classes.bincount(minlength=config.classes) == 0).sum()
    if never:
        raise EsperError(
            "E202",
            f"the teacher never names {int(never)} of its {config.classes} classes",
            where=f"task.classes={config.classes}, task.widths={list(config.widths)}",
            why=f"{config.widths[-1]} features do not tell so many classes apart",
            fix="set fewer task.classes, or a larger last number in task.widths",
        )


def _decisions(teacher: Teacher, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of each image and how far its logit is ahead of the next one."""
    largest, classes = teacher(images).topk(2, dim=1)
    return classes[:, 0], largest[:, 0] - largest[:, 1]


def _balance(teacher: Teacher, images: Tensor) -> None:
    """Shift the head's biases until the classes are about equally frequent."""
    logits = teacher(images)
    classes = logits.shape[1]
    for done in range(_BALANCING_ROUNDS):
        counts = logits.argmax(dim=1).bincount(minlength=classes)
        # Ever smaller steps: with many classes, large ones would shift a class out of reach.
        rate = _BALANCING_RATE * (1 - done / _BALANCING_ROUNDS)
        shift = rate * (1 - classes * counts.double() / len(images)).clamp(min=-1)
        logits += shift
        teacher.head.bias += shift


def _interpolation(grid: int, size: int) -> NDArray[np.float64]:
    """Return the (size, grid) weights of linear interpolation, ends on ends."""
    at = np.linspace(0, grid - 1, size)
    return np.clip(1 - np.abs(at[:, np.newaxis] - np.arange(grid)), 0, None)
