"""Run as a program: make weights of 1 GB in a child process, load them in this one, print what it took as JSON.

python memory_probe.py FOLDER LLAMA BERT
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import sys
from pathlib import Path

import torch

GB = 1 << 30
SIZES = {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 10, "num_attention_heads": 16}
SIZES |= {"num_key_value_heads": 16, "head_dim": 128}


def model_config(folder: Path, bert: str, ckpt: str = ""):
    """A model of 1 GB in the proportions of the published one: a large LLaMA, a ViT of a tenth of it in fp16."""
    from timechat.config import load_config

    file = folder / "config.yaml"
    if not file.is_file():
        file.write_text("model: {arch: timechat}\n")
    options = [
        f"model.llama_model={folder / 'llama'}",
        f"model.qformer_tokenizer={bert}",
        f"model.ckpt={ckpt}",
        "model.llama_precision=bf16",
        "model.image_size=56",
        "model.vit={embed_dim: 704, depth: 9, num_heads: 16}",
        "model.qformer={hidden_size: 384, num_hidden_layers: 4, num_attention_heads: 6, intermediate_size: 768, "
        "vocab_size: 88, max_position_embeddings: 64}",
    ]
    return load_config(file, options).model


def write_weights(folder: Path, llama: str, bert: str) -> None:
    """A LLaMA folder in fp16 and a checkpoint with everything else; numbers do not matter, so they are zeros."""
    import transformers

    from timechat.models import build_model
    from timechat.models.checkpoints import canonical_name

    target = folder / "llama"
    target.mkdir()
    shutil.copy(Path(llama) / "tokenizer.model", target)
    config = transformers.LlamaConfig.from_pretrained(llama, **SIZES)
    config.save_pretrained(target)
    with torch.device("meta"):
        shapes = transformers.LlamaForCausalLM(config).state_dict()
        rest = build_model(model_config(folder, bert), load_weights=False).state_dict()
    numbers = {name: torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in shapes.items()}
    torch.save(numbers, target / "pytorch_model.bin")
    state = {canonical_name(name): tensor for name, tensor in rest.items()}
    own = {n: torch.zeros(t.shape, dtype=t.dtype) for n, t in state.items() if not n.startswith("llama_model.")}
    torch.save({"model": own}, folder / "rest.pth")


def main() -> None:
    """Write, load, measure."""
    folder, llama, bert = (Path(sys.argv[1]), *sys.argv[2:])
    writer = multiprocessing.get_context("spawn").Process(target=write_weights, args=(folder, llama, bert))
    writer.start()
    writer.join()

    from timechat.models import build_model

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = build_model(model_config(folder, bert, str(folder / "rest.pth")))
    total = sum(float(p.sum()) for p in model.parameters())  # touches every page
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    result = {"weights_gb": weights / GB, "peak_gb": (after - before) / GB, "before_gb": before / GB, "sum": total}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
