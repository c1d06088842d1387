"""Packets: a head, which is a JSON object, and binary parts (session/wire)."""

import base64
import datetime
import json
import math
import numbers
import os
import struct
from typing import Any, Dict, List, Optional

_WORD = struct.Struct(">I")
# Parts of one writev call; IOV_MAX is 1024 on the systems that matter.
_IOV = 512


def _default(value: Any) -> Any:
    """Encode what JSON does not know, the way ipykernel does."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (set, frozenset, tuple)) or hasattr(value, "__next__"):
        return list(value)
    raise TypeError("%s is not JSON serializable" % type(value).__name__)


_encode = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_default
).encode


def _clean(value: Any) -> Any:
    """Return value with the floats that JSON lacks as None, and string keys."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return _clean(float(value))
    return value


def dumps(value: Any) -> bytes:
    """Return value as JSON. Bytes become base64, NaN and infinity null."""
    try:
        return _encode(value).encode("ascii")
    except (ValueError, TypeError):
        return _encode(_clean(value)).encode("ascii")


loads = json.loads


def write(fd: int, *packets: List[Any]) -> None:
    """Write packets, each a list of parts with the encoded head first. Blocks until
    all is written."""
    vector: List[Any] = []
    for parts in packets:
        sizes = [len(p) for p in parts]
        vector.append(struct.pack(">%dI" % (len(parts) + 1), len(parts), *sizes))
        vector += [p for p, n in zip(parts, sizes) if n]
    rest = sum(map(len, vector))
    while True:
        n = os.writev(fd, vector[:_IOV])
        rest -= n
        if not rest:
            return
        i = 0
        while n >= len(vector[i]):
            n -= len(vector[i])
            i += 1
        del vector[:i]
        if n:
            vector[0] = memoryview(vector[0])[n:]


class Packet:
    """A packet that came in. Parts after the head are memoryviews."""

    __slots__ = ("head", "parts")

    def __init__(self, head: Dict[str, Any], parts: List[memoryview]) -> None:
        self.head = head
        self.parts = parts

    def json(self, i: int) -> Dict[str, Any]:
        """Return part i as a dict; {} if it is missing or no JSON object."""
        if i >= len(self.parts):
            return {}
        try:
            value = loads(bytes(self.parts[i]))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Reader:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._need = 8

    @property
    def want(self) -> int:
        """How many more bytes are useful to read at once."""
        return max(65536, min(self._need - len(self._data), 1 << 20))

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._data += data

    def next(self) -> Optional[Packet]:
        """Return the next complete packet, or None."""
        data = self._data
        if len(data) < self._need:
            return None
        (count,) = _WORD.unpack_from(data)
        start = 4 + 4 * count
        if len(data) < start:
            self._need = start
            return None
        sizes = struct.unpack_from(">%dI" % count, data, 4)
        end = start + sum(sizes)
        if len(data) < end:
            self._need = end
            return None
        body = memoryview(bytes(memoryview(data)[start:end]))
        del data[:end]
        self._need = 8
        parts = []
        at = 0
        for size in sizes:
            parts.append(body[at : at + size])
            at += size
        return Packet(loads(bytes(parts[0])), parts[1:])
