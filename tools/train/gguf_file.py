"""A small GGUF v3 writer and reader, with Q8_0 blocks. Layout: shared/reference/architectures.md 12, 13."""

import struct

import numpy as np

F32, Q8_0 = 0, 8
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ALIGNMENT = 32


def quantise_q8_0(x: np.ndarray) -> bytes:
    """Rows of f32 (last axis a multiple of 32) -> blocks of f16 scale and 32 signed bytes."""
    blocks = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    top = np.abs(blocks).max(1, keepdims=True)
    inverse = np.divide(127.0, top, out=np.zeros_like(top), where=top > 0, dtype=np.float32)
    scaled = blocks * inverse
    q = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)  # half away
    out = np.empty(len(blocks), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    out["d"], out["q"] = (top[:, 0] / np.float32(127)).astype(np.float16), q
    return out.tobytes()


def dequantise_q8_0(data: bytes, shape: tuple) -> np.ndarray:
    blocks = np.frombuffer(data, np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    return (blocks["q"].astype(np.float32) * blocks["d"].astype(np.float32)[:, None]).reshape(shape)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(kind: int, value) -> bytes:
    if kind == STRING:
        return _string(value)
    return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def _value(value) -> bytes:
    """(kind, scalar) or (ARRAY, kind, list)."""
    if value[0] == ARRAY:
        _, kind, items = value
        return struct.pack("<IIQ", ARRAY, kind, len(items)) + b"".join(_scalar(kind, x) for x in items)
    return struct.pack("<I", value[0]) + _scalar(*value)


def write(path, keys: dict, tensors: list):
    """keys: name -> (kind, value) or (ARRAY, kind, values); tensors: (name, array f32, F32 or Q8_0).

    An array is in row-major order, so its shape reversed is GGUF's ne.
    """
    infos, data = [], bytearray()
    for name, array, kind in tensors:
        raw = quantise_q8_0(array) if kind == Q8_0 else np.ascontiguousarray(array, "<f4").tobytes()
        shape = array.shape[::-1]
        infos.append(_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data)))
        data += raw + bytes(-len(raw) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_string(k) + _value(v) for k, v in keys.items()) + b"".join(infos)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + data)


class _Reader:
    def __init__(self, raw: bytes):
        self.raw, self.at = raw, 0

    def take(self, form: str):
        values = struct.unpack_from("<" + form, self.raw, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def string(self) -> str:
        size = self.take("Q")
        self.at += size
        return self.raw[self.at - size : self.at].decode()

    def scalar(self, kind: int):
        return self.string() if kind == STRING else self.take({U32: "I", I32: "i", FLOAT: "f", BOOL: "?"}[kind])


def read(path) -> tuple[dict, dict[str, np.ndarray]]:
    """Our own files back: (keys -> values, tensors as dequantised f32)."""
    with open(path, "rb") as file:
        reader = _Reader(file.read())
    assert reader.raw[:4] == b"GGUF"
    reader.at = 4
    _, tensor_count, key_count = reader.take("IQQ")
    keys, infos = {}, []
    for _ in range(key_count):
        name, kind = reader.string(), reader.take("I")
        if kind == ARRAY:
            inner, count = reader.take("IQ")
            keys[name] = [reader.scalar(inner) for _ in range(count)]
        else:
            keys[name] = reader.scalar(kind)
    for _ in range(tensor_count):
        name, rank = reader.string(), reader.take("I")
        shape = tuple(reader.take("Q") for _ in range(rank))[::-1]
        infos.append((name, shape, *reader.take("IQ")))
    base = reader.at + -reader.at % ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in infos:
        count = int(np.prod(shape))
        size = count // 32 * 34 if kind == Q8_0 else count * 4
        data = reader.raw[base + offset : base + offset + size]
        whole = dequantise_q8_0(data, shape) if kind == Q8_0 else np.frombuffer(data, "<f4").reshape(shape)
        tensors[name] = whole
    return keys, tensors
