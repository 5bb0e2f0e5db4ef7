"""The Q-Former against BERT written out in plain loops, and its masks."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from timechat.models.qformer import AttentionHeads, QFormer, QFormerConfig
from timechat.models.recomputing import recompute

CFG = QFormerConfig(
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=20,
    vocab_size=30,
    max_position_embeddings=16,
    encoder_width=10,
)
CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture
def qformer() -> QFormer:
    """Random weights, large enough that every part shows in the output."""
    model = QFormer(CFG).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    return model


def attend_one_by_one(block: AttentionHeads, hidden: Tensor, keys: Tensor) -> Tensor:
    """Attention of one sequence [L, D] to [K, E], query by query and head by head."""
    width = CFG.hidden_size // CFG.num_attention_heads
    q, k, v = block.query(hidden), block.key(keys), block.value(keys)
    rows = []
    for i in range(len(hidden)):
        heads = []
        for h in range(CFG.num_attention_heads):
            part = slice(h * width, (h + 1) * width)
            weights = torch.stack([q[i, part] @ k[j, part] / math.sqrt(width) for j in range(len(keys))]).softmax(0)
            heads.append(sum(w * v[j, part] for j, w in enumerate(weights)))
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def plain_qformer(model: QFormer, queries: Tensor, encoder: Tensor, ids: list[int], padding: int = 0) -> Tensor:
    """One item: post-norm BERT layers, cross-attention in layers 0 and 2, only for queries.

    The last `padding` ids are embedded and look at the others, but nobody looks at them.
    """
    emb = model.bert.embeddings
    text = emb.word_embeddings.weight[ids] + emb.position_embeddings.weight[: len(ids)]
    hidden = emb.LayerNorm(torch.cat([queries, text]))
    n = len(queries)
    for index, layer in enumerate(model.bert.encoder.layer):
        out = layer.attention.output
        seen = hidden[: len(hidden) - padding]
        hidden = out.LayerNorm(out.dense(attend_one_by_one(layer.attention.self, hidden, seen)) + hidden)
        query, text = hidden[:n], hidden[n:]
        if index in (0, 2):
            cross, out = layer.crossattention, layer.crossattention.output
            query = out.LayerNorm(out.dense(attend_one_by_one(cross.self, query, encoder)) + query)
        out = layer.output_query
        query = out.LayerNorm(out.dense(F.gelu(layer.intermediate_query.dense(query))) + query)
        out = layer.output
        text = out.LayerNorm(out.dense(F.gelu(layer.intermediate.dense(text))) + text)
        hidden = torch.cat([query, text])
    return hidden


@torch.no_grad()
def test_equals_bert_written_out(qformer: QFormer) -> None:
    queries, encoder = torch.randn(2, 4, 12), torch.randn(2, 5, 10)
    ids = [[1, 7, 3], [9, 2, 29]]
    out = qformer(queries, encoder, input_ids=torch.tensor(ids), text_mask=torch.ones(2, 3, dtype=torch.bool))
    for i in range(2):
        assert_close(out[i], plain_qformer(qformer, queries[i], encoder[i], ids[i]), **CLOSE)


def test_every_row_of_the_word_table_learns_also_that_of_the_padding(qformer: QFormer) -> None:
    """Sentences of 2 and 5 ids: all outputs count, those at the padding too, as in the published code."""
    queries, encoder, target = torch.randn(2, 4, 12), torch.randn(2, 5, 10), torch.randn(2, 9, 12)
    ids, padding = [[7, 3, 0, 0, 0], [9, 2, 29, 7, 1]], [3, 0]
    mask = torch.tensor([[True] * (5 - n) + [False] * n for n in padding])
    table = qformer.bert.embeddings.word_embeddings.weight
    out = qformer(queries, encoder, input_ids=torch.tensor(ids), text_mask=mask)
    plain = torch.stack([plain_qformer(qformer, queries[i], encoder[i], ids[i], padding[i]) for i in range(2)])
    assert_close(out, plain, **CLOSE)
    (found,) = torch.autograd.grad((out * target).sum(), table)
    (expected,) = torch.autograd.grad((plain * target).sum(), table)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected[0].norm() > 0.1 * expected.norm(dim=1).max()
    assert not expected[4].any()  # a word that no sentence has


@torch.no_grad()
def test_padding_of_text_and_encoder_is_not_seen(qformer: QFormer) -> None:
    queries, encoder = torch.randn(1, 4, 12), torch.randn(1, 5, 10)
    ids, seen = torch.tensor([[1, 7, 3]]), torch.ones(1, 3, dtype=torch.bool)
    alone = qformer(queries, encoder, input_ids=ids, text_mask=seen)
    padded = qformer(
        queries,
        F.pad(encoder, (0, 0, 0, 2), value=9.0),
        F.pad(torch.ones(1, 5, dtype=torch.bool), (0, 2)),
        F.pad(ids, (0, 2), value=11),
        F.pad(seen, (0, 2)),
    )
    assert_close(padded[:, :7], alone, **CLOSE)


@torch.no_grad()
def test_no_text_equals_text_that_is_masked_whole(qformer: QFormer) -> None:
    """An image in a batch with videos reads a sentence of padding only."""
    queries, encoder = torch.randn(1, 4, 12), torch.randn(1, 5, 10)
    masked = qformer(queries, encoder, None, torch.tensor([[5, 6]]), torch.zeros(1, 2, dtype=torch.bool))
    assert_close(masked[:, :4], qformer(queries, encoder), **CLOSE)


def test_without_a_text_every_weight_has_a_gradient_all_the_same(qformer: QFormer) -> None:
    """Images have no sentence; processes that train on images and on videos must exchange the same gradients."""
    qformer(torch.randn(2, 3, 12), torch.randn(2, 4, 10)).square().sum().backward()
    assert [name for name, p in qformer.named_parameters() if p.grad is None] == []
    assert not qformer.bert.embeddings.word_embeddings.weight.grad.any()


def test_without_text_input_there_are_no_text_weights() -> None:
    names = [name for name, _ in QFormer(QFormerConfig(num_hidden_layers=1, text_input=False)).named_parameters()]
    assert not [n for n in names if "word_embeddings" in n or "position_embeddings" in n]
    assert not [n for n in names if ".intermediate." in n or "layer.0.output." in n]


def test_dropout_is_off_in_evaluation_and_on_in_training(qformer: QFormer) -> None:
    queries, encoder = torch.randn(1, 4, 12), torch.randn(1, 5, 10)
    assert torch.equal(qformer(queries, encoder), qformer(queries, encoder))
    qformer.train()
    assert not torch.equal(qformer(queries, encoder), qformer(queries, encoder))


def test_recomputing_changes_no_gradient_and_keeps_less(qformer: QFormer) -> None:
    """Also with dropout, which draws the same a second time."""
    again = QFormer(CFG)
    again.load_state_dict(qformer.state_dict())
    recompute(again.bert.encoder.layer)
    again = pickle.loads(pickle.dumps(again))
    inputs = (torch.randn(2, 4, 12), torch.randn(2, 5, 10), None, torch.tensor([[1, 7, 3], [9, 2, 29]]))
    gradients, kept = [], []
    for model in (qformer.train(), again.train()):
        sizes = []
        keep = torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t)
        torch.manual_seed(5)
        with keep:
            loss = model(*inputs).square().sum()
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
        kept.append(sum(sizes))
    for found, expected in zip(*gradients, strict=True):
        assert_close(found, expected)
    assert kept[1] < 0.5 * kept[0]
