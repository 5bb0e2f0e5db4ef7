"""Speech for tests, by espeak-ng."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

SYNCHRONOUS = 2  # of espeak_AUDIO_OUTPUT: samples are handed to a function
UTF8 = 1


def spoken(text: str) -> tuple[np.ndarray, int]:
    """A sentence as samples, float32 [N] from -1 to 1, and how many of them are a second; skips without espeak-ng."""
    loader = pytest.importorskip("espeakng_loader", reason="no packaged espeak-ng (make test-asr)")
    library = ctypes.cdll.LoadLibrary(str(loader.get_library_path()))
    rate = library.espeak_Initialize(SYNCHRONOUS, 500, str(loader.get_data_path()).encode(), 0)
    assert rate > 0
    parts: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def take(samples: ctypes._Pointer, count: int, events: int) -> int:
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(take)
    assert library.espeak_SetVoiceByName(b"en") == 0
    said = text.encode()
    assert library.espeak_Synth(said, len(said) + 1, 0, 1, 0, UTF8, None, None) == 0
    library.espeak_Synchronize()
    library.espeak_Terminate()
    return np.concatenate(parts).astype(np.float32) / 32768, int(rate)
