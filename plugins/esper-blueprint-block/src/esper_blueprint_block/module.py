"""A transformer layer as a residual update."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_block.config import Activation, BlockConfig
from esper_blueprint_block.likeness import activation_of, heads_of, hidden_of
from esper_core.api import Site
from esper_core.nn import SelfAttention, kept_within, require_divisor, require_features

_LAYERS: dict[Activation, type[nn.Module]] = {
    Activation.GELU: nn.GELU,
    Activation.RELU: nn.ReLU,
    Activation.SILU: nn.SiLU,
}


class Block(nn.Module):
    """Returns what a pre-norm transformer layer adds to h: ``a + mlp(norm(h + a))`` with ``a = attention(norm(h))``.

    h is (B, T, D). The last projections of the attention and of the feed-forward are zero at birth, so the update is
    exactly zero and they have a non-zero first gradient; all other weights have torch's initial scale, which falls with
    the root of the width. The update is kept below ``config.limit`` times h (`esper_core.nn.kept_within`).

    Raises:
        EsperError: E404 if `config.heads` does not divide the site's width, or the site has only one feature.
    """

    def __init__(self, site: Site, config: BlockConfig, module: nn.Module) -> None:
        super().__init__()
        width = site.width
        require_features("block", site)
        heads = config.heads or heads_of(module, width)
        require_divisor("block", site, "heads", heads)
        hidden = config.expansion * width if config.expansion else hidden_of(module, width)
        self.layout, self.causal, self.limit = site.layout, site.causal, config.limit
        # Neither normalisation has parameters, because they would duplicate those of the linear layer after it.
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = SelfAttention(width, heads)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.up = nn.Linear(width, hidden)
        self.activation = _LAYERS[config.activation or activation_of(module)]()
        self.down = nn.Linear(hidden, width)
        for last in (self.attention.project_out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

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

        attended = self.attention(self.norm_attention(h), attend)
        fed = self.down(self.activation(self.up(self.norm_mlp(h + attended))))
        return kept_within(attended + fed, h, self.layout, self.limit)


def _visible(mask: Tensor, causal: bool) -> Tensor:
    length = mask.shape[-1]
    everything = torch.ones(length, length, dtype=torch.bool, device=mask.device)
    visible = mask[:, None, None, :] & (everything.tril() if causal else everything)  # (B, 1, T, T)
    # A position always sees itself: in a row that sees nothing the softmax would be NaN.
    return visible | torch.eye(length, dtype=torch.bool, device=mask.device)
