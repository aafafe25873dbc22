"""A `sluice serve` on this machine for tests, and the plainest HTTP client: what is sent is what the test wrote."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time


class Answer:
    def __init__(self, raw):
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        self.status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if self.headers.get("transfer-encoding") == "chunked":
            body = dechunked(body)
        self.body = body

    def json(self):
        return json.loads(self.body)


def dechunked(body):
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size or b"0", 16)
        if count == 0:
            return out
        out += rest[:count]
        body = rest[count + 2:]
    return out


def exchange(port, raw, tls=False, timeout=60):
    """One request on a connection of its own, read to its end."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=timeout))
        sock = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = stack.enter_context(context.wrap_socket(plain))
        sock.sendall(raw)
        data = b""
        while True:
            try:
                part = sock.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            data += part
    return Answer(data)


def request(port, method, path, key=None, body=None, headers=(), host=None, tls=False):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Connection: close"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += headers
    return exchange(port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data, tls)


def chat(port, key=None, text="Say something.", headers=(), tls=False, **fields):
    body = {"model": "sluice-jamba", "max_tokens": 4, "messages": [{"role": "user", "content": text}], **fields}
    return request(port, "POST", "/v1/chat/completions", key, body, headers, tls=tls)


class Server:
    """Runs in a folder of its own; `addresses` are the ports that it printed."""

    def __init__(self, binary, *flags, folder=None, wait=True, preexec=None):
        self.binary = binary
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="sluice-serve-"))
        self.environment = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "XDG_CACHE_HOME": str(self.folder / "cache"),
                            "XDG_DATA_HOME": str(self.folder / "data")}
        self.errors = open(self.folder / "stderr", "ab")
        defaults = {"--port": "0", "--threads": "1", "--ctx": "512", "--users": "2"}
        given = [part for flag, value in defaults.items() if flag not in flags for part in (flag, value)]
        self.process = subprocess.Popen([binary, "serve", *given, *flags], stdout=subprocess.PIPE, stderr=self.errors, env=self.environment,
                                        preexec_fn=preexec)
        self.ports = []
        while wait:
            line = self.process.stdout.readline().decode()
            if not line.startswith("http"):
                break
            self.ports.append(int(line.strip().rsplit(":", 1)[1]))
        self.port = self.ports[0] if self.ports else 0

    def stderr(self):
        return (self.folder / "stderr").read_text()

    def keys(self, *arguments):
        done = subprocess.run([self.binary, "keys", *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def create(self, name, *flags):
        return self.keys("create", "--name", name, *flags).strip().split("\n")[-1]

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
