"""TimeChat computed step by step, as its paper describes it (arXiv 2312.02051, section 3): what speed is compared with.

It shares the weights of a `TimeChat`, and nothing of how that computes: videos and windows one after the other, every
attention as two products with a softmax between them, logits at all positions, conversations padded to the longest,
all of it fp32, timestamp sentences tokenized each time, and Hugging Face's `generate` for one question at a time.

Shapes: T frames of one video, P ViT tokens of a frame, E its width, Q query tokens, L tokens of a timestamp sentence,
D width of the Q-Formers, N embeddings of one video, H width of LLaMA, S tokens of the longest conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
import transformers
from einops import rearrange
from timm.models.eva import Eva
from torch import Tensor

from timechat.batch import VideoBatch
from timechat.models import TimeChat
from timechat.models import llama as lm
from timechat.models.eva_vit import PIXEL_MEAN, PIXEL_STD
from timechat.models.qformer import Attention, QFormer
from timechat.models.video_qformer import window_slices
from timechat.text.conversation import IGNORE_INDEX
from timechat.text.timestamps import frame_sentence


class EagerTimeChat:
    """A TimeChat's weights, computed plainly.

    Args:
        model: whose weights are shared; in fp32, with a decoder that is not in training mode's checkpointing.
    """

    def __init__(self, model: TimeChat):
        self.model = model

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float]]) -> list[Tensor]:
        """Videos, uint8 [T_i, 3, H, W] each, with the seconds of their frames -> LLaMA embeddings [N_i, H] each."""
        return [self._encode(*video) for video in zip(frames, seconds, strict=True)]

    def loss(self, batch: VideoBatch) -> Tensor:
        """What training minimises: the mean over samples of the mean over supervised tokens."""
        videos = self.encode_video(batch.frames.split(batch.frame_counts), batch.seconds)
        rows = [self._embed(*row) for row in zip(batch.input_ids, videos, strict=True)]
        decoder = lm.causal_lm(self.model.llama_model)
        with plain_attention(decoder):
            out = decoder(inputs_embeds=torch.stack(rows), attention_mask=batch.attention_mask.long(), use_cache=False)
        logits, targets = out.logits.float()[:, :-1].contiguous(), batch.labels[:, 1:].contiguous()
        losses = F.cross_entropy(
            rearrange(logits, "b s v -> (b s) v"),
            rearrange(targets, "b s -> (b s)"),
            ignore_index=IGNORE_INDEX,
            reduction="none",
        )
        losses = rearrange(losses, "(b s) -> b s", b=len(targets))
        return (losses.sum(dim=1) / (targets != IGNORE_INDEX).sum(dim=1)).mean()

    @torch.no_grad()
    def answer(
        self,
        videos: Sequence[Tensor],
        seconds: Sequence[Sequence[float]],
        prompts: Sequence[str],
        max_new_tokens: int,
    ) -> list[str]:
        """Greedy answers, one after the other, each with its whole prompt computed anew.

        Args:
            videos: what `encode_video` made of each.
            seconds, prompts: of each.
            max_new_tokens: longest answer, in tokens.
        """
        return [self._answer(*row, max_new_tokens) for row in zip(videos, seconds, prompts, strict=True)]

    # Frames -----------------------------------------------------------------------------------------------------------

    def _encode(self, frames: Tensor, seconds: Sequence[float]) -> Tensor:
        model = self.model
        pixels = encode_pixels(model.visual_encoder, normalised(frames))
        pixels = model.ln_vision(pixels)
        input_ids, text_mask = self._sentences(seconds)
        queries = model.query_tokens.expand(len(frames), -1, -1)
        tokens = compress(model.Qformer, queries, pixels, input_ids, text_mask)
        if not model.cfg.keep_timestamp_tokens:
            tokens = tokens[:, : model.query_tokens.shape[1]]
        positions = model.video_frame_position_embedding(torch.arange(len(frames)))
        tokens = tokens + positions[:, None]
        windows = window_slices(len(frames), model.cfg.window_size, model.cfg.stride)
        parts = [
            compress(model.video_Qformer, model.video_query_tokens, rearrange(tokens[where], "t l d -> 1 (t l) d"))
            for where in windows
        ]
        return model.llama_proj(torch.cat(parts, dim=1))[0]

    def _sentences(self, seconds: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Ids and bool mask of a video's timestamp sentences, [T, L] each, padded to its longest."""
        tokenizer = self.model.timestamp_tokenizer
        rows = [tokenizer.encode(frame_sentence(second)) for second in seconds]
        ids = torch.full((len(rows), max(map(len, rows))), tokenizer.pad_id)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = True
        return ids, mask

    # Words ------------------------------------------------------------------------------------------------------------

    def _embed(self, input_ids: Tensor, video: Tensor) -> Tensor:
        """Token embeddings [S, H] of one conversation around its video's embeddings."""
        is_video = input_ids == self.model.tokenizer.image_token_id
        embeds = lm.causal_lm(self.model.llama_model).model.embed_tokens(input_ids.masked_fill(is_video, 0))
        embeds = embeds.clone()
        embeds[is_video] = video
        return embeds

    def _answer(self, video: Tensor, seconds: Sequence[float], prompt: str, max_new_tokens: int) -> str:
        model, tokenizer = self.model, self.model.tokenizer
        embeds = self._embed(torch.tensor(model.prompt_ids(len(video), seconds, prompt)), video)[None]
        settings = transformers.GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id,
        )
        decoder = lm.causal_lm(model.llama_model)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        with plain_attention(decoder):
            ids = decoder.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=settings)
        return tokenizer.decode(ids[0].tolist())


@contextmanager
def plain_attention(decoder: transformers.LlamaForCausalLM) -> Iterator[None]:
    """The decoder's attention as two products with a softmax between them, for a while."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def normalised(frames: Tensor) -> Tensor:
    """uint8 [T, 3, H, W] -> floats, all frames at once."""
    mean, std = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
    return (frames.float() / 255 - mean) / std if frames.dtype == torch.uint8 else frames


def encode_pixels(vit: Eva, frames: Tensor) -> Tensor:
    """Normalised frames [T, 3, H, W] -> tokens [T, P, E] (EVA, arXiv 2211.07636)."""
    patches = vit.patch_embed(frames)
    hidden = torch.cat([vit.cls_token.expand(len(frames), -1, -1), patches], dim=1) + vit.pos_embed
    for block in vit.blocks:
        part = block.attn
        joint = F.linear(block.norm1(hidden), part.qkv.weight)
        query, key, value = joint.chunk(3, dim=-1)
        out = attend(query + part.q_bias, key, value + part.v_bias, part.num_heads)
        hidden = hidden + part.proj(out)
        hidden = hidden + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(hidden))))
    return hidden


def compress(
    qformer: QFormer,
    queries: Tensor,
    seen: Tensor,
    input_ids: Tensor | None = None,
    text_mask: Tensor | None = None,
) -> Tensor:
    """A Q-Former (BLIP-2, arXiv 2301.12597): queries [T, Q, D] read a sentence and look at [T, P, E] -> [T, Q + L, D].

    Args:
        qformer: whose weights are used; its dropout acts in training mode.
        queries, seen: as above.
        input_ids, text_mask: [T, L] of the sentence; None without.
    """
    bert, count, mask = qformer.bert, queries.shape[1], None
    hidden = queries
    if input_ids is not None:
        words = bert.embeddings.word_embeddings(input_ids)
        words = words + bert.embeddings.position_embeddings(torch.arange(input_ids.shape[1]))
        hidden = torch.cat([queries, words], dim=1)
        mask = torch.cat([torch.ones(queries.shape[:2], dtype=torch.bool), text_mask], dim=1)
    hidden = bert.embeddings.dropout(bert.embeddings.LayerNorm(hidden))
    for layer in bert.encoder.layer:
        hidden = _attention(layer.attention, hidden, hidden, mask)
        query, text = hidden[:, :count], hidden[:, count:]
        if hasattr(layer, "crossattention"):
            query = _attention(layer.crossattention, query, seen)
        query = layer.output_query(F.gelu(layer.intermediate_query.dense(query)), query)
        if input_ids is not None:
            text = layer.output(F.gelu(layer.intermediate.dense(text)), text)
        hidden = torch.cat([query, text], dim=1)
    return hidden


def _attention(part: Attention, hidden: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
    """One attention of BERT with its projection and norm, [T, L, D] over [T, K, E]; bool mask [T, K]."""
    heads = part.self
    dropout = heads.dropout_prob if heads.training else 0.0
    out = attend(heads.query(hidden), heads.key(seen), heads.value(seen), heads.num_heads, mask, dropout)
    return part.output(out, hidden)


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Attention in so many words: [B, L, D] over [B, K, D], where the bool mask [B, K] is True -> [B, L, D]."""
    query, key, value = (rearrange(x, "b l (head d) -> b head l d", head=heads) for x in (query, key, value))
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
    weights = F.dropout(scores.softmax(dim=-1), dropout)
    return rearrange(weights @ value, "b head l d -> b l (head d)")
