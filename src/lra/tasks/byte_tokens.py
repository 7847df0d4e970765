"""Text as bytes, as in the Long Range Arena: id = byte + 1, 0 = padding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.contract import list_array

VOCABULARY = 257


def byte_tokens(texts: Iterable[bytes], max_length: int) -> pa.ListArray:
    """The first ``max_length`` bytes of each text, plus one, as lists of uint16."""
    cut = [text[:max_length] for text in texts]
    tokens = np.frombuffer(b"".join(cut), dtype=np.uint8).astype(np.uint16)
    tokens += 1
    return list_array(tokens, np.fromiter(map(len, cut), dtype=np.int64, count=len(cut)))


def encode_bytes(text: str | bytes, max_length: int) -> npt.NDArray[np.uint16]:
    """Token ids (length,) of one text, which is UTF-8 where it is a str.

    Bytes of a command line that are no UTF-8 stay what they are.

    Raises:
        LraError: the text is empty, or no text.
    """
    if not isinstance(text, str | bytes) or not text:
        raise LraError(f"expected a text of at least one byte, not {text!r}.")
    try:
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    except UnicodeEncodeError as problem:
        raise LraError(f"{text!r} is no text that UTF-8 can hold ({problem.reason}).") from problem
    return np.frombuffer(data[:max_length], dtype=np.uint8).astype(np.uint16) + np.uint16(1)
