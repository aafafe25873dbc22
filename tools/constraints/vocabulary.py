#!/usr/bin/env python3
"""One token's bytes a line, in hexadecimal, from a GGUF file or a tokenizer.json with a byte-level vocabulary: what compare.py reads.

usage: vocabulary.py MODEL.gguf|tokenizer.json > VOCABULARY.hex
A line <end> comes last. Special and added tokens are written by their names, as any other."""
import json
import pathlib
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


def gguf_tokens(data):
    at = 24
    count = struct.unpack_from("<Q", data, 16)[0]

    def value(kind):
        nonlocal at
        if kind == STRING:
            size = struct.unpack_from("<Q", data, at)[0]
            at += 8 + size
            return data[at - size:at].decode(errors="replace")
        if kind == ARRAY:
            inner, size = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(inner) for _ in range(size)]
        at += struct.calcsize(SCALARS[kind])
        return None
    for _ in range(count):
        key = value(STRING)
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        found = value(kind)
        if key == "tokenizer.ggml.tokens":
            return found
    raise SystemExit("the file has no tokenizer.ggml.tokens")


def json_tokens(text):
    tokenizer = json.loads(text)
    by_id = {i: token for token, i in tokenizer["model"]["vocab"].items()}
    by_id.update({added["id"]: added["content"] for added in tokenizer.get("added_tokens", [])})
    return [by_id.get(i, "") for i in range(max(by_id) + 1)]


def byte_of():
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(b): b for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in plain):
        letters[chr(256 + n)] = b
    return letters


def main():
    path = pathlib.Path(sys.argv[1])
    data = path.read_bytes()
    tokens = gguf_tokens(data) if data[:4] == b"GGUF" else json_tokens(data)
    letters = byte_of()
    for token in tokens:
        known = all(c in letters for c in token)
        print((bytes(letters[c] for c in token) if known else token.encode()).hex())
    print(b"<end>".hex())


if __name__ == "__main__":
    main()
