"""Self-attention as a residual update."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_attention.config import AttentionConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, SelfAttention, require_divisor, require_features


class Attention(nn.Module):
    """Returns ``norm(attention(norm(h)))`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D). If the site is causal, position t only sees positions up to t. The inner normalisation keeps the
    attention from saturating where h is large; the outer one bounds the input of the gain.

    Raises:
        EsperError: E404 if `config.heads` does not divide the site's width, or the site has only one feature.
    """

    def __init__(self, site: Site, config: AttentionConfig) -> None:
        super().__init__()
        require_features("attention", site)
        require_divisor("attention", site, "heads", config.heads)
        width = site.width
        self.causal = site.causal
        # Neither normalisation has parameters, because they would duplicate those of the linear layer after the first
        # and of the gain after the second.
        self.norm_in = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = SelfAttention(width, config.heads)
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the update for `h`, (B, T, D).

        Args:
            h: the activation.
            mask: (B, T) of bool, False where a position is padding; no other position may see it.
        """

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if mask is None:
                return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=_visible(mask, self.causal))

        return self.gain(self.norm_out(self.attention(self.norm_in(h), attend)), h)


def _visible(mask: Tensor, causal: bool) -> Tensor:
    length = mask.shape[-1]
    everything = torch.ones(length, length, dtype=torch.bool, device=mask.device)
    visible = mask[:, None, None, :] & (everything.tril() if causal else everything)  # (B, 1, T, T)
    # A position always sees itself: in a row that sees nothing the softmax would be NaN.
    return visible | torch.eye(length, dtype=torch.bool, device=mask.device)
