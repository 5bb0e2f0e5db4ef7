"""The Q-Former: BERT with query tokens and cross-attention (BLIP-2, arXiv 2301.12597; InstructBLIP, 2305.06500).

Both Q-Formers of TimeChat are built from it. The frame Q-Former reads a timestamp sentence together with its query
tokens and cross-attends to the frame in every second layer; the video Q-Former has only query tokens and cross-attends
to the frame tokens in every layer.
Module names are those of the published checkpoints. Layers are post-norm, as in BERT.

Shapes: N frames (or windows), Q query tokens, S text tokens, D width, K encoder tokens, E encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class QFormerConfig:
    """Sizes of a Q-Former; the defaults are BERT-base.

    Attributes:
        encoder_width: width of the tokens that the queries look at.
        cross_attention_frequency: every how many layers the queries look at them, from the first on.
        text_input: whether it reads a sentence together with the query tokens.
        recompute: whether backward computes a layer's activations again, which saves their memory.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 30523
    max_position_embeddings: int = 512
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    encoder_width: int = 1408
    cross_attention_frequency: int = 2
    text_input: bool = True
    recompute: bool = False


class Embeddings(nn.Module):
    """Queries as they are, then word + position embeddings of the text; one norm over all."""

    position_ids: Tensor

    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        if cfg.text_input:
            # No padding_idx: outputs at a sentence's padding are used, and its row learns, as in the published code.
            self.word_embeddings = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
            self.position_embeddings = nn.Embedding(cfg.max_position_embeddings, cfg.hidden_size)
        self.LayerNorm = nn.LayerNorm(cfg.hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(cfg.hidden_dropout_prob)
        self.register_buffer("position_ids", torch.arange(cfg.max_position_embeddings)[None])

    def forward(self, query_embeds: Tensor, input_ids: Tensor | None) -> Tensor:
        """[N, Q, D] and [N, S] -> [N, Q + S, D]; text positions count from 0."""
        hidden = query_embeds
        if input_ids is not None:
            positions = self.position_ids[:, : input_ids.shape[1]]
            text = self.word_embeddings(input_ids) + self.position_embeddings(positions)
            hidden = torch.cat([query_embeds, text], dim=1)
        return self.dropout(self.LayerNorm(hidden))


class AttentionHeads(nn.Module):
    """Multi-head attention without its output projection (BERT's `self` module)."""

    def __init__(self, cfg: QFormerConfig, key_width: int):
        super().__init__()
        self.num_heads = cfg.num_attention_heads
        self.dropout_prob = cfg.attention_probs_dropout_prob
        self.query = nn.Linear(cfg.hidden_size, cfg.hidden_size)
        self.key = nn.Linear(key_width, cfg.hidden_size)
        self.value = nn.Linear(key_width, cfg.hidden_size)

    def forward(self, hidden: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """[N, L, D] attends to [N, K, E] where the bool mask [N, K] is True -> [N, L, D]."""
        q, k, v = (
            rearrange(layer(x), "n l (head d) -> n head l d", head=self.num_heads)
            for layer, x in ((self.query, hidden), (self.key, keys), (self.value, keys))
        )
        dropout = self.dropout_prob if self.training else 0.0
        mask = None if mask is None else mask[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return rearrange(out, "n head l d -> n l (head d)")


class AddNorm(nn.Module):
    """Projection, dropout, residual, norm (BERT's `output` modules)."""

    def __init__(self, cfg: QFormerConfig, width: int):
        super().__init__()
        self.dense = nn.Linear(width, cfg.hidden_size)
        self.LayerNorm = nn.LayerNorm(cfg.hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(cfg.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """[N, L, width] added to [N, L, D] and normalised."""
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Attention(nn.Module):
    """Self- or cross-attention with its output projection."""

    def __init__(self, cfg: QFormerConfig, key_width: int):
        super().__init__()
        self.self = AttentionHeads(cfg, key_width)
        self.output = AddNorm(cfg, cfg.hidden_size)

    def forward(self, hidden: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """[N, L, D] attends to [N, K, E] -> [N, L, D]."""
        return self.output(self.self(hidden, keys, mask), hidden)


class Intermediate(nn.Module):
    """The widening half of a feed-forward block."""

    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.dense = nn.Linear(cfg.hidden_size, cfg.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, intermediate]."""
        return F.gelu(self.dense(hidden))


class Layer(nn.Module):
    """Queries and text attend to each other, then queries to the encoder; each has its own feed-forward block."""

    def __init__(self, cfg: QFormerConfig, index: int):
        super().__init__()
        self.recompute = cfg.recompute
        self.attention = Attention(cfg, cfg.hidden_size)
        if index % cfg.cross_attention_frequency == 0:
            self.crossattention = Attention(cfg, cfg.encoder_width)
        if cfg.text_input:
            self.intermediate = Intermediate(cfg)
            self.output = AddNorm(cfg, cfg.intermediate_size)
        self.intermediate_query = Intermediate(cfg)
        self.output_query = AddNorm(cfg, cfg.intermediate_size)

    def forward(
        self, hidden: Tensor, num_queries: int, mask: Tensor | None, encoder: Tensor, encoder_mask: Tensor | None
    ) -> Tensor:
        """[N, Q + S, D] -> [N, Q + S, D]."""
        inputs = (hidden, num_queries, mask, encoder, encoder_mask)
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._forward, *inputs, use_reentrant=False)
        return self._forward(*inputs)

    def _forward(
        self, hidden: Tensor, num_queries: int, mask: Tensor | None, encoder: Tensor, encoder_mask: Tensor | None
    ) -> Tensor:
        hidden = self.attention(hidden, hidden, mask)
        query, text = hidden[:, :num_queries], hidden[:, num_queries:]
        if hasattr(self, "crossattention"):
            query = self.crossattention(query, encoder, encoder_mask)
        query = self.output_query(self.intermediate_query(query), query)
        if not hasattr(self, "intermediate"):
            return query
        return torch.cat([query, self.output(self.intermediate(text), text)], dim=1)


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.layer = nn.ModuleList(Layer(cfg, i) for i in range(cfg.num_hidden_layers))


class Bert(nn.Module):
    """Embeddings and layers; a separate module only because published names include it."""

    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.embeddings = Embeddings(cfg)
        self.encoder = Encoder(cfg)


class QFormer(nn.Module):
    """A Q-Former; see the module docstring.

    Args:
        cfg: sizes. Weights start as BERT's do: normal with standard deviation 0.02, zero biases.
    """

    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.cfg = cfg
        self.bert = Bert(cfg)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self,
        query_embeds: Tensor,
        encoder_states: Tensor,
        encoder_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> Tensor:
        """Compress what the queries attend to.

        Args:
            query_embeds: [N, Q, D].
            encoder_states: [N, K, E], what the queries attend to.
            encoder_mask: bool [N, K], False on padding; None without padding.
            input_ids: [N, S], the sentence that goes with each set of queries, or None.
            text_mask: bool [N, S], False on the sentence's padding.

        Returns:
            [N, Q + S, D]: the queries' outputs, then the text's.
        """
        num_queries = query_embeds.shape[1]
        mask = None
        if input_ids is None and self.cfg.text_input:
            # A sentence without words: every parameter takes part in every pass, so that processes which train on
            # images and on videos at the same time exchange the same gradients.
            input_ids = torch.empty(len(encoder_states), 0, dtype=torch.long, device=encoder_states.device)
        elif input_ids is not None and text_mask is not None:
            mask = torch.cat([text_mask.new_ones(len(text_mask), num_queries), text_mask], dim=1)
        hidden = self.bert.embeddings(query_embeds, input_ids)
        for layer in self.bert.encoder.layer:
            hidden = layer(hidden, num_queries, mask, encoder_states, encoder_mask)
        return hidden
