"""Self-attention through FlexAttention as a residual update."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from esper_blueprint_flex_attention.config import FlexAttentionConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, SelfAttention, require_divisor, require_features


class FlexAttention(nn.Module):
    """Returns ``norm(attention(norm(h)))`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D). If the site is causal, position t only sees positions up to t; `config.window` limits how far a
    position sees. A compiled model skips the blocks of the score matrix that are masked completely (Dong et al. 2024,
    https://arxiv.org/abs/2412.05496). There are no gradients on the CPU: PyTorch has no backward pass there.

    Raises:
        EsperError: E404 if `config.heads` does not divide the site's width, or the site has only one feature.
    """

    def __init__(self, site: Site, config: FlexAttentionConfig) -> None:
        super().__init__()
        require_features("flex-attention", site)
        require_divisor("flex-attention", site, "heads", config.heads)
        width = site.width
        self.causal, self.window = site.causal, config.window
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
        return self.gain(self.norm_out(self.attention(self.norm_in(h), partial(self._attend, mask))), h)

    def _attend(self, mask: Tensor | None, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.is_meta:  # only shapes and costs are needed, and FlexAttention does not support meta tensors
            return F.scaled_dot_product_attention(query, key, value)
        causal, window = self.causal, self.window
        if not causal and window is None and mask is None:
            return flex_attention(query, key, value)

        def visible(batch: Tensor, _head: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
            distance = query_at - key_at
            seen = distance >= (0 if causal else -length if window is None else 1 - window)
            if window is not None:
                seen = seen & (distance < window)
            # A position always sees itself: a softmax over nothing is NaN.
            return seen if mask is None else seen & (mask[batch, key_at] | (distance == 0))

        batch, _, length, _ = query.shape
        blocks = create_block_mask(visible, None if mask is None else batch, None, length, length, device=query.device)
        return flex_attention(query, key, value, block_mask=blocks)
