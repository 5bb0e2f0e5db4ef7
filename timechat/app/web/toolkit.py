"""Gradio, which draws the page, told to ask nobody on the internet before it is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from timechat.errors import ConfigError

# Counting its users and looking for newer versions happen in threads that start with the first page.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

# It makes folders there, although this page keeps its files elsewhere.
_FOLDER = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="timechat-gradio-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

try:
    import gradio as gr
except ImportError as error:
    raise ConfigError(f"the web page needs gradio ({error}): pip install 'timechat[demo]'") from error

__all__ = ["gr"]
