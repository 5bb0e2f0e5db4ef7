"""Registers what the quick start offers, as `import: [quickstart.plugin]` does in its configs."""

from __future__ import annotations

import quickstart.plugin  # noqa: F401
