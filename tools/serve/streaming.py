"""One streaming completion over a socket of its own, with the time at which each of its parts came: what arrives is only kept, and read after the round."""
import asyncio
import bisect
import hashlib
import itertools
import json
import random
import time
import urllib.parse

WORDS = ("river mill stone bridge water field harvest winter market lantern copper letter garden window harbour mountain shepherd thunder candle orchard "
         "barrel hammer silver needle blanket saddle feather basket kettle mirror anchor ribbon cellar ladder meadow pebble rooster timber valley willow").split()


def prompt(number, words):
    """A text that begins unlike every other one, so that no server has it ready; the same for every server."""
    pick = random.Random(number)
    begin = hashlib.sha256(str(number).encode()).hexdigest()[:12]
    return f"{begin} tells about " + " ".join(pick.choice(WORDS) for _ in range(words))


class Server:
    def __init__(self, name, url, chat):
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http":
            raise SystemExit(f"{url}: only http:// is measured")
        self.name, self.host, self.port, self.chat = name, parts.hostname, parts.port or 80, chat
        base = parts.path.rstrip("/")
        self.path = (base if base.endswith("/v1") else base + "/v1") + ("/chat/completions" if chat else "/completions")

    def body(self, number, words, max_tokens, model):
        """Fields that sluice, llama-server and vLLM understand alike: as many tokens as were asked for, the best one each, and no prompt from a cache."""
        text = prompt(number, words)
        shape = {"messages": [{"role": "user", "content": text}]} if self.chat else {"prompt": text}
        named = {"model": model} if model else {}
        return {**named, **shape, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0, "seed": number, "cache_prompt": False,
                "stream": True, "stream_options": {"include_usage": True}}


class Answer:
    """Times are of time.perf_counter(). Taken apart by read(), which is for when nothing is measured: then `events` are the times of those that show text."""

    def __init__(self, began, parts, error=""):
        self.began, self.parts, self.error = began, parts, error
        line = parts[0][1][:16] if parts else b""
        self.status = int(line.split(b" ")[1]) if line.startswith(b"HTTP/1.1 ") else 0
        self.events, self.usage, self.retry_after = [], {}, 0.0

    def read(self):
        raw = b"".join(data for _, data in self.parts)
        head, _, rest = raw.partition(b"\r\n\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n"))}
        self.retry_after = float(headers.get("retry-after", 0))
        pieces = [(len(head) + 4, rest)]
        if headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = list(chunks(rest, len(head) + 4))
        text = b"".join(data for _, data in pieces)
        if self.status == 200:
            self._read_events(text, pieces)
        elif not self.error:
            self.error = text[:300].decode(errors="replace")
        self.parts = []
        return self

    def _read_events(self, text, pieces):
        """An event came with the part of the connection that holds its last byte."""
        part_ends = list(itertools.accumulate(len(data) for _, data in self.parts))
        text_ends = list(itertools.accumulate(len(data) for _, data in pieces))
        position = 0
        while (end := text.find(b"\n\n", position)) >= 0:
            event, position = text[position:end].strip(), end + 2
            if not event.startswith(b"data:") or event[5:].strip() == b"[DONE]":
                continue
            piece = bisect.bisect_left(text_ends, position)
            at, data = pieces[piece]
            raw_end = at + len(data) - (text_ends[piece] - position)
            self._event(json.loads(event[5:]), self.parts[bisect.bisect_left(part_ends, raw_end)][0])

    def _event(self, event, when):
        if "error" in event:
            self.error = json.dumps(event["error"])
        for choice in event.get("choices", []):
            delta = choice.get("delta") or {}
            if choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
                self.events.append(when)
        self.usage = event.get("usage") or self.usage

    @property
    def tokens(self):
        return self.usage.get("completion_tokens", 0)

    @property
    def whole(self):
        return self.status == 200 and not self.error and self.tokens > 0 and bool(self.events)

    @property
    def last(self):
        return self.events[-1]

    @property
    def first_s(self):
        return self.events[0] - self.began


def chunks(data, at):
    """(offset in the stream, bytes) of each chunk."""
    position = 0
    while (end := data.find(b"\r\n", position)) >= 0:
        size = int(data[position:end].split(b";")[0] or b"0", 16)
        if size == 0:
            return
        yield at + end + 2, data[end + 2:end + 2 + size]
        position = end + 2 + size + 2


async def ask(server, body, key="", timeout=600):
    """The answer, or one with status 0 where there was none in time."""
    data = json.dumps(body).encode()
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (f"POST {server.path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nConnection: close\r\n{authorization}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n").encode()
    began, parts, writer = time.perf_counter(), [], None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(head + data)
            while part := await reader.read(65536):
                parts.append((time.perf_counter(), part))
    except (OSError, TimeoutError) as error:
        return Answer(began, parts, f"{type(error).__name__}: {error}")
    finally:
        if writer is not None:
            writer.close()
    return Answer(began, parts)
