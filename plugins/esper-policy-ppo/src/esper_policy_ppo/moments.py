"""Running means and variances: of observations, and of returns. They are buffers, and saved with the network."""

import torch
from torch import Tensor, nn

#: A feature that never changed is divided by this and not by its standard deviation of 0.
LEAST_DEVIATION = 0.05


class RunningMoments(nn.Module):
    """Mean and variance of everything seen, by the parallel algorithm (Chan, Golub and LeVeque, 1979), in float64.

    Before anything was seen the mean is 0 and the variance 1.

    Args:
        width: number of features.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take in rows, (n, width)."""
        if not len(rows):
            return
        seen = rows.double()
        count = torch.tensor(float(len(rows)), dtype=torch.float64)
        mean, variance = seen.mean(0), seen.var(0, correction=0)
        total = self.count + count
        shift = mean - self.mean
        squares = self.variance * self.count + variance * count + shift.square() * self.count * count / total
        self.mean += shift * count / total
        self.variance.copy_(squares / total)
        self.count.copy_(total)

    def deviation(self) -> Tensor:
        """Return the standard deviations, (width,) of float64, `LEAST_DEVIATION` at least."""
        return self.variance.sqrt().clamp(min=LEAST_DEVIATION)

    def normalised(self, values: Tensor, clip: float) -> Tensor:
        """Return values, (..., width), with mean 0 and variance 1, clipped to plus and minus `clip`."""
        scaled = (values - self.mean.float()) / self.deviation().float()
        return scaled.clamp(-clip, clip)
