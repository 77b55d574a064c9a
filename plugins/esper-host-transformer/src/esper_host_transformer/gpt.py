"""The network: token and position embeddings, pre-norm layers, a final normalisation, and a head tied to the tokens.

As in GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, HostBuild, Layout, SiteRequest, TaskKind
from esper_core.specs import Capability
from esper_host_transformer.config import Init, SiteKind, TransformerConfig

#: Standard deviation of GPT-2's initial weights, and of the embeddings here.
_DEVIATION = 0.02


class Attention(nn.Module):
    """Causal multi-head self-attention, (B, T, D) -> (B, T, D): a position sees itself and earlier positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.project_in = nn.Linear(config.width, 3 * config.width)
        self.project_out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention's output, before it is added to the residual stream."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, T, D) -> (B, heads, T, D / heads)
            for part in self.project_in(x).chunk(3, dim=-1)
        )
        dropout = self.dropout if self.training else 0.0
        gathered = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return F.dropout(self.project_out(gathered.transpose(1, 2).flatten(2)), self.dropout, self.training)


class Mlp(nn.Module):
    """A two-layer perceptron with GELU, applied to each position: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.project_in = nn.Linear(config.width, config.hidden)
        self.project_out = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the update, before it is added to the residual stream."""
        # GPT-2 uses the tanh approximation; on a CPU it is also faster.
        hidden = F.gelu(self.project_in(x), approximate="tanh")
        return F.dropout(self.project_out(hidden), self.dropout, self.training)


class Layer(nn.Module):
    """One layer on the residual stream: ``x + attention(norm(x))``, then the same with the MLP; keeps (B, T, D)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm_mlp = nn.LayerNorm(config.width)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the layer."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.mlp(self.norm_mlp(x))


class Gpt(nn.Module):
    """The host: tokens (B, T) of int64 -> logits (B, T, vocabulary); T is at most the context.

    Initialised from the global generator, in the order of the forward pass.
    """

    def __init__(self, config: TransformerConfig, vocabulary: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.dropout = config.dropout
        self.tokens = nn.Embedding(vocabulary, config.width)
        self.positions = nn.Embedding(context, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._initialise(config.layers, config.init)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token that follows each position.

        Raises:
            EsperError: E402 if the sequences are longer than the context.
        """
        length = tokens.shape[1]
        if length > self.context:
            raise _too_long(length, self.context)
        x = F.dropout(self.tokens(tokens) + self.positions.weight[:length], self.dropout, self.training)
        for layer in self.layers:
            x = layer(x)
        # The head is the token embedding itself, so the weights are stored once.
        logits: Tensor = F.linear(self.norm(x), self.tokens.weight)
        return logits

    def _initialise(self, layers: int, init: Init) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                # Two updates per layer add up on the residual stream; this scale keeps their total variance constant.
                scale = 1 / math.sqrt(2 * layers) if name.endswith("project_out") else 1.0
                own = init is Init.SCALED and isinstance(module, nn.Linear)
                nn.init.normal_(
                    module.weight, std=scale * (1 / math.sqrt(3 * module.in_features) if own else _DEVIATION)
                )
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def build(config: TransformerConfig, data: DataShape) -> HostBuild:
    """Build the host for this data, with the sites ``layer0_attention``, ``layer0_mlp``, ``layer0``, ``layer1``, …

    Raises:
        EsperError: E402 if the data are not tokens, their sequences are longer than the context, or the heads do not
            divide the width.
    """
    length = _sequence_length(data)
    context = length if config.context is None else config.context
    if length > context:
        raise _too_long(length, context)
    if config.width % config.heads:
        raise _indivisible(config.width, config.heads)
    sites = [site for index in range(config.layers) for site in _sites(config, index)]
    capabilities = {Capability.RANDOM} if config.dropout else set()
    return HostBuild(module=Gpt(config, data.outputs, context), sites=sites, capabilities=capabilities)


def _sites(config: TransformerConfig, index: int) -> list[SiteRequest]:
    """Return the sites of one layer, in the order in which they run."""
    places = (
        (SiteKind.LINEAR, ".attention.project_in"),
        (SiteKind.LINEAR, ".attention.project_out"),
        (SiteKind.ATTENTION, ".attention"),
        (SiteKind.LINEAR, ".mlp.project_in"),
        (SiteKind.LINEAR, ".mlp.project_out"),
        (SiteKind.MLP, ".mlp"),
        (SiteKind.BLOCK, ""),
    )
    return [
        SiteRequest(
            path=f"layers.{index}{path}", id=f"layer{index}{path.replace('.', '_')}", layout=Layout.BTD, causal=True
        )
        for kind, path in places
        if kind in config.sites
    ]


def _sequence_length(data: DataShape) -> int:
    if data.kind is not TaskKind.TOKENS or len(data.input_shape) != 1:
        raise EsperError(
            "E402",
            f"the host transformer cannot take {data.kind} of shape {data.input_shape}",
            where="host transformer",
            why="it takes sequences of tokens, of shape (length,)",
            fix="choose a host that fits the task's data, or a task with text",
        )
    return data.input_shape[0]


def _too_long(length: int, context: int) -> EsperError:
    return EsperError(
        "E402",
        f"sequences of {length} tokens are too long for the host transformer",
        where=f"host.context={context}",
        why=f"it has learned positions for {context} tokens",
        fix=f"set host.context to {length} or more, or do not set it; or use shorter sequences",
    )


def _indivisible(width: int, heads: int) -> EsperError:
    near = min((d for d in range(1, width + 1) if width % d == 0), key=lambda d: abs(d - heads))
    return EsperError(
        "E402",
        f"{heads} attention heads cannot share {width} features",
        where=f"host.heads={heads}, host.width={width}",
        why="each head works on an equal part of the width",
        fix=f"set host.heads={near}, or host.width to a multiple of {heads}",
    )
