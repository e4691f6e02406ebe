"""Seven ways to hide a text from a model that reads letters; written anew here, not turned around from the decoders."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable
from types import MappingProxyType

LEET = str.maketrans("aeiostAEIOST", "431057431057")
CYRILLIC = str.maketrans("aceiopxyACEHKMOPTX", "асеіорхуАСЕНКМОРТХ")
ZERO_WIDTH = "\u200b"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _hex(text: str) -> str:
    return text.encode().hex()


def _url(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def _leet(text: str) -> str:
    return text.translate(LEET)


def _look_alikes(text: str) -> str:
    return text.translate(CYRILLIC)


def _zero_width(text: str) -> str:
    return ZERO_WIDTH.join(text)


PLAIN = "as it stands"
FORMS = MappingProxyType[str, Callable[[str], str]](
    {
        PLAIN: str,
        "base64": _base64,
        "hex": _hex,
        "url": _url,
        "rot13": _rot13,
        "leet": _leet,
        "look-alikes": _look_alikes,
        "zero-width": _zero_width,
    }
)
"""Name to the function that writes a text so; the first leaves it alone."""
