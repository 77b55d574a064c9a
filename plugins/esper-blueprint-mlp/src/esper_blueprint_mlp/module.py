"""A two-layer perceptron as a residual update."""

from torch import Tensor, nn

from esper_blueprint_mlp.config import MlpConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, require_features


class Mlp(nn.Module):
    """Returns ``norm(down(gelu(up(norm(h)))))`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D) or (B, D). The inner normalisation makes the hidden layer independent of h's magnitude; the outer
    one bounds the input of the gain.

    Raises:
        EsperError: E404 if the site has only one feature.
    """

    def __init__(self, site: Site, config: MlpConfig) -> None:
        super().__init__()
        width, hidden = site.width, config.expansion * site.width
        require_features("mlp", site)
        # Neither normalisation has parameters, because they would duplicate those of the linear layer after the first
        # and of the gain after the second.
        self.body = nn.Sequential(
            nn.LayerNorm(width, elementwise_affine=False),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
            nn.LayerNorm(width, elementwise_affine=False),
        )
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, T, D) or (B, D)."""
        return self.gain(self.body(h), h)
