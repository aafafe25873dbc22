#!/usr/bin/env python3
"""A hub on this machine for the tests of `sluice pull`: files with ranges, and every way in which a download can go wrong.

usage: hub.py LOG. Prints the port it listens on; each request adds a line to LOG: method, path, Range, If-Range, whether a token came, status.
Paths of /OWNER/REPO/resolve/main/FILE: FILE says what happens.
  drop-N.gguf      the connection breaks after every N bytes
  moved.gguf       302 to another address with x-linked-etag, as the hub does with its large files
  changes.gguf     breaks once; the file is another one (and its etag) when the rest is asked for
  wrong.gguf       x-linked-etag is of other bytes
  norange.gguf     breaks once and knows no ranges
  liar.gguf        answers a range with bytes from elsewhere
  busy.gguf        503 twice, then the file
  forever.gguf     503 always"""
import hashlib
import http.server
import json
import sys
import threading

SIZE = 300_000
WHOLE = bytes((i * 7 + i // 251) % 256 for i in range(SIZE))
OTHER = bytes((i * 13 + 5) % 256 for i in range(SIZE))
CONFIG = b'{"model_type": "jamba"}\n'
seen = {}
lock = threading.Lock()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def blob_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def large(path, data=WHOLE):
    return {"type": "file", "path": path, "size": len(data), "oid": "0" * 40, "lfs": {"oid": sha256(data), "size": len(data)}}


def small(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": blob_sha1(data)}


TREES = {
    "one/gguf": [small("README.md", b"x"), large("drop-70000.gguf"), {"type": "directory", "path": "more"}],
    "two/gguf": [large("model-Q4_K_M.gguf"), large("model-Q8_0.gguf")],
    "check/point": [small("config.json", CONFIG), large("model.safetensors"), small("modeling_evil.py", b"import os"), large("pytorch_model.bin")],
    "bad/blob": [{**small("config.json", CONFIG), "oid": "1" * 40}, large("model.safetensors")],
    "evil/names": [large("../evil.gguf")],
    "short/size": [{**large("moved.gguf"), "size": 5}],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def note(self, status):
        with lock, open(sys.argv[1], "a") as out:
            token = "token" if self.headers.get("Authorization") else "-"
            out.write(f"{self.path} {self.headers.get('Range', '-')} {self.headers.get('If-Range', '-')} {token} {status}\n")

    def answer(self, status, data, headers=(), cut=None):
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def ranged(self, data, etag, cut=None, shift=0):
        begin = 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range", etag) == etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(data):
                return self.answer(416, b"", [("Content-Range", f"bytes */{len(data)}")])
            rest = data[begin + shift:]
            return self.answer(206, rest, [("ETag", etag), ("Content-Range", f"bytes {begin + shift}-{len(data) - 1}/{len(data)}")],
                               cut if cut is not None and cut < len(rest) else None)
        return self.answer(200, data, [("ETag", etag)], cut)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            tree = TREES.get("/".join(path.split("/")[3:5]))
            return self.answer(404, b"{}") if tree is None else self.answer(200, json.dumps(tree).encode(), [("Content-Type", "application/json")])
        name = path.rsplit("/", 1)[1]
        with lock:
            times = seen[path] = seen.get(path, 0) + 1
        if path.startswith("/cdn/"):
            return self.ranged(WHOLE, '"cdn"')
        if name == "config.json":
            return self.ranged(CONFIG, '"config"')
        if name.startswith("drop-"):
            return self.ranged(WHOLE, '"v1"', int(name.removeprefix("drop-").removesuffix(".gguf")))
        if name == "moved.gguf":
            return self.answer(302, b"", [("Location", f"http://localhost:{self.server.server_port}/cdn/abc"), ("x-linked-etag", f'"{sha256(WHOLE)}"')])
        if name == "changes.gguf":
            return self.ranged(WHOLE, '"v1"', 100_000) if times == 1 else self.ranged(OTHER, '"v2"')
        if name == "wrong.gguf":
            return self.answer(200, WHOLE, [("x-linked-etag", f'"{sha256(OTHER)}"')])
        if name == "norange.gguf":
            return self.answer(200, WHOLE, [("ETag", '"v1"')], 100_000 if times == 1 else None)
        if name == "liar.gguf":
            return self.ranged(WHOLE, '"v1"', 100_000) if times == 1 else self.ranged(WHOLE, '"v1"', None, 7)
        if name == "busy.gguf":
            return self.answer(503, b"busy") if times < 3 else self.ranged(WHOLE, '"v1"')
        if name == "forever.gguf":
            return self.answer(503, b"busy")
        if name in ("plain.gguf", "model.safetensors", "model-Q4_K_M.gguf", "model-Q8_0.gguf"):
            return self.ranged(WHOLE, '"v1"')
        return self.answer(404, b"not here")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
