#!/usr/bin/env python3
"""Ten times more than a server can do, for a minute: what is let in goes on, what is not is told so at once, and memory stays where the plan put it.

usage: overload.py URL [--key KEY] [--pid PID] [--seconds 60] [--factor 10] [--max-tokens 32] [--clients 8] [--calibrate 10] [--json]
First `clients` closed-loop clients find the peak (requests and tokens a second). Then requests arrive at `factor` times that rate whatever comes back,
over kept-alive connections, while /health is asked every 50 ms. Prints what came of it and exits 1 if a bar is missed:
  rejects p99 <= 10 ms, every reject with Retry-After; goodput >= 95 % of the peak; /health p99 <= 50 ms; RSS <= plan + 64 MiB (with --pid).
The client shares the machine with the server: its own scheduling delay is measured too (a timer of 50 ms) and printed beside the server's figures."""
import argparse
import asyncio
import json
import os
import sys
import time
import urllib.parse

PROMPT = "Tell me about the river that runs past the mill, and about the people who live there."


def percentile(values, share):
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def request(self, head, body):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        try:
            self.writer.write(head + body)
            lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            status = int(lines[0].split()[1])
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                headers[name.strip().lower().decode()] = value.strip().decode()
            if headers.get("transfer-encoding", "") == "chunked":
                data = b""
                while size := int((await self.reader.readuntil(b"\r\n")).strip() or b"0", 16):
                    data += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readuntil(b"\r\n")
            else:
                data = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            self.close()
            raise
        if headers.get("connection", "") == "close":
            self.close()
        return status, headers, data

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    def __init__(self, args):
        url = urllib.parse.urlsplit(args.url)
        self.host, self.port = url.hostname, url.port or 80
        self.args = args
        self.auth = f"Authorization: Bearer {args.key}\r\n" if args.key else ""
        self.idle = []
        self.count = 0
        self.done, self.tokens = [], 0
        self.rejects, self.statuses, self.without_retry_after, self.retry_after = [], {}, 0, []
        self.errors = 0

    def chat(self):
        self.count += 1
        named = {"model": self.args.model} if self.args.model else {}
        body = json.dumps({**named, "max_tokens": self.args.max_tokens, "seed": self.count,
                           "messages": [{"role": "user", "content": f"{self.count}: {PROMPT}"}]}).encode()
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{self.auth}Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode()
        return head, body

    async def one(self):
        connection = self.idle.pop() if self.idle else Connection(self.host, self.port)
        head, body = self.chat()
        began = time.perf_counter()
        try:
            status, headers, data = await connection.request(head, body)
        except (OSError, asyncio.IncompleteReadError):
            self.errors += 1
            return
        took = time.perf_counter() - began
        self.idle.append(connection)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.done.append(took)
            self.tokens += json.loads(data)["usage"]["completion_tokens"]
        else:
            self.rejects.append(took)
            if "retry-after" in headers:
                self.retry_after.append(int(headers["retry-after"]))
            else:
                self.without_retry_after += 1

    async def peak(self):
        stop = time.perf_counter() + self.args.calibrate

        async def client():
            while time.perf_counter() < stop:
                await self.one()
        began = time.perf_counter()
        await asyncio.gather(*[client() for _ in range(self.args.clients)])
        took = time.perf_counter() - began
        return len(self.done) / took, self.tokens / took

    async def flood(self, rate):
        """Open loop: arrivals by the clock, never waiting for answers."""
        tasks = set()
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter() - began) < self.args.seconds:
            while sent < now * rate:
                task = asyncio.ensure_future(self.one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.002)
        window = time.perf_counter() - began
        within = self.tokens
        if tasks:
            await asyncio.wait(tasks, timeout=60)
        return sent / window, within / window


async def health(load, stop, out, lag):
    connection = Connection(load.host, load.port)
    head = f"GET /health HTTP/1.1\r\nHost: {load.host}:{load.port}\r\n\r\n".encode()
    while not stop.is_set():
        began = time.perf_counter()
        status, _, _ = await connection.request(head, b"")
        out.append((time.perf_counter() - began, status))
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        lag.append(time.perf_counter() - began - 0.05)


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory(pid, stop, out):
    while pid and not stop.is_set():
        out.append(resident(pid))
        await asyncio.sleep(0.2)


async def planned(load):
    head = f"GET /metrics HTTP/1.1\r\nHost: {load.host}:{load.port}\r\n{load.auth}\r\n".encode()
    status, _, data = await Connection(load.host, load.port).request(head, b"")
    for line in data.decode().splitlines() if status == 200 else []:
        if line.startswith("sluice_memory_planned_bytes "):
            return float(line.split()[1])
    return 0.0


async def main(args):
    calm = Load(args)
    plan = args.plan_bytes or await planned(calm)
    before = resident(args.pid) if args.pid else 0
    peak_requests, peak_tokens = await calm.peak()
    load = Load(args)
    stop = asyncio.Event()
    healths, lags, rss = [], [], []
    watchers = [asyncio.ensure_future(health(load, stop, healths, lags)), asyncio.ensure_future(memory(args.pid, stop, rss))]
    rate, goodput = await load.flood(peak_requests * args.factor)
    stop.set()
    await asyncio.gather(*watchers)
    ms = 1e3
    out = {
        "peak_requests_per_s": round(peak_requests, 2), "peak_tokens_per_s": round(peak_tokens, 1), "offered_requests_per_s": round(rate, 1),
        "statuses": dict(sorted(load.statuses.items())), "connection_errors": load.errors,
        "goodput_of_peak": round(goodput / peak_tokens, 3) if peak_tokens else 0,
        "reject_ms": {"p50": round(percentile(load.rejects, 0.5) * ms, 2), "p99": round(percentile(load.rejects, 0.99) * ms, 2)},
        "rejects_without_retry_after": load.without_retry_after,
        "retry_after_s": {"min": min(load.retry_after, default=0), "max": max(load.retry_after, default=0)},
        "health_ms": {"p50": round(percentile([h for h, _ in healths], 0.5) * ms, 2), "p99": round(percentile([h for h, _ in healths], 0.99) * ms, 2)},
        "health_not_200": sum(status != 200 for _, status in healths),
        "client_timer_late_ms_p99": round(percentile(lags, 0.99) * ms, 2),
        "rss_bytes": {"before": before, "max": max(rss, default=0), "planned": int(plan)},
    }
    bars = {
        "overloaded": len(load.rejects) > len(load.done),
        "rejects p99 <= 10 ms": percentile(load.rejects, 0.99) <= 0.010,
        "Retry-After on every reject": load.without_retry_after == 0,
        "goodput >= 95 % of peak": goodput >= 0.95 * peak_tokens,
        "/health p99 <= 50 ms": percentile([h for h, _ in healths], 0.99) <= 0.050 and out["health_not_200"] == 0,
        "RSS <= plan + 64 MiB": not args.pid or not plan or max(rss) <= plan + (64 << 20),
    }
    out["bars"] = bars
    if args.json:
        print(json.dumps(out))
    else:
        for name, value in out.items():
            if name != "bars":
                print(f"{name:30} {value}")
        for name, held in bars.items():
            print(f"{'held  ' if held else 'MISSED'} {name}")
    return 0 if all(bars.values()) else 1


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("url")
parser.add_argument("--key", default="")
parser.add_argument("--model", default="")
parser.add_argument("--pid", type=int, default=0)
parser.add_argument("--plan-bytes", type=int, default=0)
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--calibrate", type=float, default=10)
parser.add_argument("--factor", type=float, default=10)
parser.add_argument("--clients", type=int, default=8)
parser.add_argument("--max-tokens", type=int, default=32)
parser.add_argument("--json", action="store_true")
sys.exit(asyncio.run(main(parser.parse_args())))
