"""Gradio, which draws the page, told to ask nobody on the internet before it is imported."""

from __future__ import annotations

import os

from timechat.errors import ConfigError

# Counting its users and looking for newer versions happen in threads that start with the first page.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

try:
    import gradio as gr
except ImportError as error:
    raise ConfigError(f"the web page needs gradio ({error}): pip install timechat[demo]") from error

__all__ = ["gr"]
