"""Writes architecture.svg beside this file: the parts of TimeChat in the published sizes, for light and dark pages.

python docs/images/architecture.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from timechat.models.config import TimeChatConfig
from timechat.text.timestamps import frame_sentence

FILE = Path(__file__).with_suffix(".svg")
WIDTH, HEIGHT = 880, 486

# Of the decoder, and of the example; everything else is read from the defaults of the model.
LLAMA_WIDTH, SENTENCE_TOKENS = 4096, 12

STYLE = """
  text { font: 12.5px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .name { font-size: 15px; font-weight: 600 }
  .head { font-size: 13.5px; font-weight: 600; fill: #59636e }
  .note { fill: #59636e }
  .panel { fill: #818b98; fill-opacity: 0.06; stroke: #818b98; stroke-opacity: 0.45 }
  .frozen { fill: #e6eaef; stroke: #818b98; stroke-width: 1.4 }
  .learns { fill: #ffe9d6; stroke: #d9762b; stroke-width: 1.4 }
  .words { fill: #ddf1ff; stroke: #4593d8; stroke-width: 1.2 }
  .frame { fill: #3d444d; stroke: #818b98 }
  .sun { fill: #f2b233 }
  .token { fill: #4593d8; fill-opacity: 0.55 }
  .window { fill: none; stroke: #d9762b; stroke-width: 2 }
  .line { fill: none; stroke: #818b98; stroke-width: 1.8 }
  .tip { fill: #818b98 }
"""

DARK = """
  text { fill: #e6edf3 }
  .head, .note { fill: #a5aeb8 }
  .frozen { fill: #2a313c }
  .learns { fill: #462913; stroke: #f0883e }
  .words { fill: #0d2f4f }
  .window { stroke: #f0883e }
"""


def text(x: float, y: float, words: str, style: str = "", anchor: str = "middle") -> str:
    """Words whose baseline is at y."""
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, style: str, *lines: str) -> str:
    """A rounded box; its first line is a name, the others are notes."""
    top = y + height / 2 - 17 * (len(lines) - 1) / 2 + 5
    words = [text(x + width / 2, top + 17 * i, line, "note" if i else "name") for i, line in enumerate(lines)]
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" class="{style}"/>'
    return "\n".join([shape, *words])


def quote(x: float, y: float, width: float, *lines: str) -> str:
    """Words that the model reads or writes."""
    height = 12 + 17 * len(lines)
    words = [text(x + width / 2, y + 19 + 17 * i, line) for i, line in enumerate(lines)]
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{height / 2 - 2:g}" class="words"/>'
    return "\n".join([shape, *words])


def panel(x: float, y: float, width: float, height: float, title: str, indent: float = 14) -> str:
    """The frame around parts that belong together."""
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" class="panel"/>'
    return "\n".join([shape, text(x + indent, y + 23, title, "head", "start")])


def arrow(*points: tuple[float, float]) -> str:
    """A line through the points, with a tip at the last one."""
    (before_x, before_y), (x, y) = points[-2:]
    dx, dy = (x > before_x) - (x < before_x), (y > before_y) - (y < before_y)
    path = " ".join(f"{a:g},{b:g}" for a, b in [*points[:-1], (x - 5 * dx, y - 5 * dy)])
    tip = f"{x:g},{y:g} {x - 8 * dx - 4 * dy:g},{y - 8 * dy - 4 * dx:g} {x - 8 * dx + 4 * dy:g},{y - 8 * dy + 4 * dx:g}"
    return f'<polyline points="{path}" class="line"/>\n<polygon points="{tip}" class="tip"/>'


def frame(x: float, y: float, height_of_sun: float, seconds: str) -> str:
    """A frame of the video, with its time under it."""
    shape = f'<rect x="{x:g}" y="{y:g}" width="46" height="46" rx="3" class="frame"/>'
    sun = f'<circle cx="{x + 23:g}" cy="{y + 46 - height_of_sun:g}" r="7" class="sun"/>'
    return "\n".join([shape, sun, text(x + 23, y + 63, seconds, "note")])


def frame_encoder(model: TimeChatConfig) -> list[str]:
    """The upper row: frames and their times become tokens."""
    patches = (model.image_size // 14) ** 2 + 1
    queries, width, frames = model.num_query_token, model.qformer.hidden_size, model.max_frame_pos
    middle = 147
    return [
        panel(8, 8, 864, 204, "Timestamp-aware frame encoder: each frame by itself"),
        frame(22, 124, 12, "0.0 s"),
        frame(73, 124, 21, "2.0 s"),
        frame(124, 124, 29, "4.0 s"),
        text(182, middle + 3, "…"),
        frame(194, 124, 34, f"{2.0 * (frames - 1)} s"),
        text(131, 113, f"{frames} frames and their seconds"),
        arrow((246, middle), (276, middle)),
        box(276, 112, 114, 70, "frozen", "EVA ViT-g", f"{model.vit.depth} blocks", "frozen"),
        arrow((390, middle), (476, middle)),
        text(431, middle - 8, f"{patches} × {model.vit.embed_dim}", "note"),
        quote(406, 44, 262, f"“{frame_sentence(2.0)}”"),
        arrow((537, 73), (537, 112)),
        box(476, 112, 122, 70, "learns", "Q-Former", f"{queries} queries", "learns"),
        arrow((598, middle), (722, middle)),
        text(657, middle - 8, f"{queries + SENTENCE_TOKENS} × {width}", "note"),
        text(657, middle + 18, "queries + words", "note"),
        box(684, 40, 108, 50, "learns", "position", "of the frame"),
        arrow((738, 90), (738, 131)),
        f'<circle cx="738" cy="{middle}" r="15" class="learns"/>',
        text(738, middle + 6, "+", "name"),
        arrow((753, middle), (848, middle), (848, 228), (40, 228), (40, 320)),
        text(802, middle - 8, f"{frames} × {queries + SENTENCE_TOKENS} × {width}", "note"),
    ]


def video_qformer(model: TimeChatConfig) -> list[str]:
    """The lower row on the left: tokens of frames become tokens of windows."""
    frames, window, stride = model.max_frame_pos, model.window_size, model.stride
    queries = model.num_video_query_token
    left, cell, top = 24, 3.0, 322
    parts = [panel(8, 244, 500, 204, "Sliding video Q-Former: a window moves over the frames", indent=48)]
    for i in range(frames):
        parts.append(f'<rect x="{left + i * cell:g}" y="{top}" width="{cell - 0.8:g}" height="36" class="token"/>')
    for i in range(0, frames, stride):
        x, width = left + i * cell, window * cell
        parts.append(
            f'<rect x="{x + 1:g}" y="{top - 4}" width="{width - 3:g}" height="44" rx="4" class="window"'
            f"{'' if i == 0 else ' stroke-dasharray=' + chr(34) + '4 3' + chr(34)}/>"
        )
        parts.append(text(x + width / 2, top + 58, f"{i + 1} – {i + window}", "note"))
    parts += [
        text(left + 1.5 * window * cell, top - 22, f"window {window}, stride {stride}", "note"),
        arrow((left + window * cell / 2, top - 14), (left + (window / 2 + stride) * cell, top - 14)),
        text(left + frames * cell / 2, top + 90, f"each window becomes {queries} tokens", "note"),
        arrow((left + frames * cell + 2, 340), (345, 340)),
        box(345, 305, 150, 70, "learns", "Video Q-Former", f"{queries} queries", "learns"),
    ]
    return parts


def language_model(model: TimeChatConfig) -> list[str]:
    """The lower row on the right: tokens of windows and a question become an answer."""
    windows = -(-model.max_frame_pos // model.stride)
    tokens = windows * model.num_video_query_token
    return [
        panel(524, 244, 348, 204, "Decoder"),
        arrow((495, 340), (538, 340)),
        box(538, 305, 98, 70, "learns", "llama_proj", "linear", "learns"),
        arrow((636, 340), (720, 340)),
        text(676, 332, f"{tokens} × {LLAMA_WIDTH}", "note"),
        box(720, 298, 140, 52, "frozen", "LLaMA-2 7B", "frozen"),
        box(720, 350, 140, 32, "learns"),
        text(790, 371, f"LoRA r = {model.lora_r}, learns"),
        quote(
            540,
            396,
            320,
            f"“… {model.max_frame_pos} frames sampled at 0.0, 2.0, … seconds.",
            "When does she crack the egg?”",
        ),
        arrow((790, 396), (790, 382)),
        arrow((790, 298), (790, 283)),
        quote(712, 254, 152, "“0.0 - 24.0 seconds”"),
    ]


def legend() -> list[str]:
    """What the colours mean."""
    parts, x = [], 12
    for style, words in (
        ("frozen", "frozen"),
        ("learns", "learns (published recipe)"),
        ("words", "text read or written"),
    ):
        parts.append(f'<rect x="{x}" y="461" width="20" height="14" rx="4" class="{style}"/>')
        parts.append(text(x + 27, 473, words, "note", "start"))
        x += 62 + int(6.4 * len(words))
    return [*parts, text(868, 473, "tokens × width, sizes of TimeChat-7B", "note", "end")]


def draw() -> str:
    """The whole picture."""
    model = TimeChatConfig()
    parts = frame_encoder(model) + video_qformer(model) + language_model(model) + legend()
    title = "Architecture of TimeChat: from frames and seconds to an answer with times"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" aria-label="{title}">',
            f"<title>{title}</title>",
            f"<style>{STYLE}@media (prefers-color-scheme: dark) {{{DARK}}}\n</style>",
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
