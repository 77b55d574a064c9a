"""Images and labels: images from a documented distribution, labelled by the teacher."""

import hashlib

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor

from esper_core.api import EsperError, Split
from esper_task_teacher.config import TeacherConfig
from esper_task_teacher.network import Teacher

#: Images are drawn in lots of this size, so a split's first images do not depend on its length.
_LOT = 500
#: Images that determine the head's scale, the balance of the classes and the thresholds of the teacher's certainty.
_REFERENCE = 8 * _LOT
_BALANCING_ROUNDS, _BALANCING_RATE = 200, 0.2


def stream(config: TeacherConfig, name: str) -> np.random.RandomState:
    """Return the random stream for one use; each name and each seed has a different stream.

    NumPy guarantees the stream of this older generator; the streams of newer ones may change with its version.
    """
    digest = hashlib.sha256(f"esper-task-teacher/{config.data_seed}/{name}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def draw_images(config: TeacherConfig, random: np.random.RandomState) -> Tensor:
    """Return a lot of images, (500, channels, size, size) of float32.

    Each channel is a grid of independent standard normal values, interpolated bilinearly, with the corners of the grid
    and the image aligned.
    """
    values = random.standard_normal((_LOT, config.channels, config.grid, config.grid))
    weights = _interpolation(config.grid, config.size)
    return torch.from_numpy(np.einsum("yi,ncij,xj->ncyx", weights, values, weights).astype(np.float32))


@frozen(kw_only=True)
class Examiner:
    """A teacher, and the thresholds that say when it is certain.

    Attributes:
        teacher: the network, with its head standardised and balanced.
        thresholds: required margin between the largest and the second largest logit, for each class (classes,).
    """

    teacher: Teacher
    thresholds: Tensor

    def label(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes (B,) and whether the teacher is certain of each (B,)."""
        classes, ahead = _decisions(self.teacher, images.double())
        return classes, ahead >= self.thresholds[classes]


def build_examiner(config: TeacherConfig) -> Examiner:
    """Draw the teacher and fit its head to reference images, which are in no split.

    Raises:
        EsperError: E202 if the teacher assigns no image to one of the classes.
    """
    # Layers are initialised from the global stream before they get the teacher's weights.
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
    """Return one split from its own random streams: images of which the teacher is certain, with their labels."""
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
            f"the teacher never chooses {int(never)} of its {config.classes} classes",
            where=f"task.classes={config.classes}, task.widths={list(config.widths)}",
            why=f"{config.widths[-1]} features are too few to distinguish {config.classes} classes",
            fix="set fewer task.classes, or a larger last number in task.widths",
        )


def _decisions(teacher: Teacher, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of each image and the margin between its logit and the second largest."""
    largest, classes = teacher(images).topk(2, dim=1)
    return classes[:, 0], largest[:, 0] - largest[:, 1]


def _balance(teacher: Teacher, images: Tensor) -> None:
    """Shift the head's biases until the classes are about equally frequent."""
    logits = teacher(images)
    classes = logits.shape[1]
    for done in range(_BALANCING_ROUNDS):
        counts = logits.argmax(dim=1).bincount(minlength=classes)
        # The steps become smaller: with many classes, large steps would make a class impossible to choose.
        rate = _BALANCING_RATE * (1 - done / _BALANCING_ROUNDS)
        shift = rate * (1 - classes * counts.double() / len(images)).clamp(min=-1)
        logits += shift
        teacher.head.bias += shift


def _interpolation(grid: int, size: int) -> NDArray[np.float64]:
    """Return the (size, grid) weights of linear interpolation, with the ends aligned."""
    at = np.linspace(0, grid - 1, size)
    return np.clip(1 - np.abs(at[:, np.newaxis] - np.arange(grid)), 0, None)
