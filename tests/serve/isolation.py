#!/usr/bin/env python3
"""What a request can reach besides its own answer: nothing outside (H9), nothing of another key's (A5). Of a real `sluice serve` with the model inside.

usage: isolation.py BINARY [unittest arguments]. Rows H9 and A5 of the reliability table."""
import ctypes
import math
import os
import platform
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import unittest

from running import Server, chat, request, until

BINARY = os.path.abspath(sys.argv.pop(1))

# seccomp: the numbers of x86-64.
CONNECT, SENDTO, SENDMMSG = 42, 44, 307
AUDIT_ARCH_X86_64 = 0xC000003E
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
ALLOW, KILL = 0x7FFF0000, 0x80000000


def forbid_connections():
    """From here on the kernel ends this process when it connects anywhere or sends a datagram to an address. For subprocess's preexec_fn."""
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT_ARCH_X86_64), (RETURN, 0, 0, KILL),
             (LOAD, 0, 0, 0), (EQUAL, 6, 0, CONNECT), (EQUAL, 5, 0, SENDMMSG), (EQUAL, 1, 0, SENDTO), (RETURN, 0, 0, ALLOW),
             (LOAD, 0, 0, 16 + 4 * 8), (EQUAL, 0, 1, 0), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, KILL)]  # sendto() without an address is send()
    code = b"".join(struct.pack("HBBI", op, yes, no, value) for op, yes, no, value in lines)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:  # no new privileges; seccomp filter
        raise OSError(ctypes.get_errno(), "seccomp")


class Listener:
    """Counts who calls."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.calls = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@unittest.skipUnless(platform.machine() == "x86_64", "the filter is written for x86-64")
class H9NoOutboundConnections(unittest.TestCase):
    def test_h9_the_filter_ends_who_connects(self):
        for program in ("import socket; socket.create_connection(('127.0.0.1', 9))",
                        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))"):
            done = subprocess.run([sys.executable, "-c", program], preexec_fn=forbid_connections, stderr=subprocess.DEVNULL, timeout=60, check=False)
            self.assertEqual(done.returncode, -signal.SIGSYS, program)

    def test_h9_urls_in_requests_reach_nobody(self):
        listener = Listener()
        self.addCleanup(listener.close)
        server = Server(BINARY, preexec=forbid_connections)
        self.addCleanup(server.stop)
        self.assertTrue(server.port, server.stderr())
        for url in (f"http://127.0.0.1:{listener.port}/x", f"http://localhost:{listener.port}/", "https://example.com/y.png", "file:///etc/passwd",
                    "http://169.254.169.254/latest/meta-data/", "data:image/png;base64,iVBORw0KGgo=", f"ftp://127.0.0.1:{listener.port}/z"):
            def user(part):
                return {"messages": [{"role": "user", "content": [part]}]}
            refused = [user({"type": "image_url", "image_url": {"url": url}}), user({"type": "image_url", "image_url": url}),
                       user({"type": "input_image", "image_url": url}), user({"type": "image", "source": {"type": "url", "url": url}}),
                       user({"type": "input_audio", "input_audio": {"url": url, "data": "", "format": "wav"}}),
                       user({"type": "video_url", "video_url": {"url": url}}), user({"type": "file", "file": {"file_url": url}}),
                       {"documents": [{"url": url}]}, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": url}}}},
                       {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"$ref": url}}}], "tool_choice": "required"},
                       {"tools": [{"type": "mcp", "server_url": url}]}, {"tools": [{"type": "web_search", "url": url}]}, {"webhook": url}]
            for fields in refused:
                self.assertEqual(chat(server.port, **fields).status, 400, f"{url} {fields}")
            # As text it is text.
            self.assertEqual(chat(server.port, text=f"Read {url} and tell me.", documents=[{"title": url, "text": url}], max_tokens=2).status, 200)
            self.assertEqual(chat(server.port, headers=[f"Referer: {url}", f"X-Forwarded-Host: 127.0.0.1:{listener.port}", f"Callback: {url}"]).status, 200)
            for path in ("/v1/files", "/v1/batches", "/v1/responses", "/v1/messages"):
                request(server.port, "POST", path, body={"input": url, "url": url, "file_url": url, "input_file_id": url, "endpoint": url})
        # And the rest of what it can do, to its end, under the same filter.
        for path in ("/", "/metrics", "/openapi.json", "/status", "/v1/models"):
            self.assertEqual(request(server.port, "GET", path).status, 200)
        server.hang_up()
        self.assertEqual(chat(server.port).status, 200)
        self.assertIsNone(server.process.poll())
        server.process.terminate()
        self.assertEqual(server.process.wait(30), 0)
        self.assertEqual(listener.calls, 0)


def distance(a, b):
    """Kolmogorov and Smirnov's: the widest gap between two empirical distributions."""
    a, b = sorted(a), sorted(b)
    widest, i, j = 0.0, 0, 0
    for value in sorted(a + b):
        while i < len(a) and a[i] <= value:
            i += 1
        while j < len(b) and b[j] <= value:
            j += 1
        widest = max(widest, abs(i / len(a) - j / len(b)))
    return widest


class A5TimesTellNothing(unittest.TestCase):
    SAMPLES = 400 if os.environ.get("SLUICE_SLOW_TESTS") else 40
    WORDS = "river stone lantern fox garden winter bread silver window letter morning paper cloud silent market harbour".split()

    def prompt(self, seed):
        chance = random.Random(seed)
        return " ".join(chance.choice(self.WORDS) for _ in range(90))

    def test_a5_a_prompt_of_another_key_takes_as_long_as_a_new_one(self):
        server = Server(BINARY, "--store", "256M")
        self.addCleanup(server.stop)
        owner, other = server.create("owner"), server.create("other")
        self.assertTrue(until(lambda: [request(server.port, "GET", "/v1/models", key).status for key in (other, None)] == [200, 401]))

        def ask(key, seed):
            usage = chat(server.port, key, self.prompt(seed), max_tokens=1).json()["usage"]
            return usage["prompt_time"], usage["prompt_tokens_details"]["cached_tokens"]
        times = {"asked by another": [], "new": [], "own": []}
        chance = random.Random(5)
        for i in range(self.SAMPLES):
            ask(owner, f"secret {i}")
            turns = ["asked by another", "new", "own"]
            chance.shuffle(turns)
            for turn in turns:
                key, seed = (owner, f"secret {i}") if turn == "own" else (other, f"secret {i}" if turn == "asked by another" else f"new {i}")
                took, cached = ask(key, seed)
                times[turn].append(took)
                # What is the same in all of one key's prompts (the template's beginning) may be kept for it.
                if turn == "own":
                    self.assertGreater(cached, 60)
                else:
                    self.assertLess(cached, 40)
        limit = 1.95 * math.sqrt(2 / self.SAMPLES)  # a chance of one in a thousand
        hidden, own = distance(times["asked by another"], times["new"]), distance(times["own"], times["new"])
        medians = {name: round(1e3 * statistics.median(values), 2) for name, values in times.items()}
        self.assertGreater(own, limit, f"the test must see a hit where there is one: {medians}")
        self.assertLess(hidden, limit, f"another key's prompt shows in the time: {medians}")


if __name__ == "__main__":
    unittest.main()
