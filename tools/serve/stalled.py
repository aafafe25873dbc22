#!/usr/bin/env python3
"""A thousand sockets that stall, read slowly or send slowly, and what they do to a client that does not: time to the first token with and without them, in
blocks by turns, so that what else the machine does falls on both.

usage: stalled.py URL [--key KEY] [--pid SERVER] [--sockets N] [--blocks N] [--requests N]. A third of the sockets stop in the middle of a header or never begin one, a third
send a body at a byte now and then, a third ask for pages and do not take them. With --pid also the server's CPU time a request, which other processes do not
change. Exits 1 if the medians of the time differ by more than 5 %."""
import argparse
import http.client
import json
import multiprocessing
import pathlib
import random
import select
import socket
import statistics
import sys
import time
import urllib.parse

BAR = 1.05
SETTLE_S = 2  # after a thousand connections have come or gone


class Crowd:
    """Sockets that are kept bad, in a process of their own so that they take no time from who measures: one that the server ends is replaced."""

    def __init__(self, host, port, count):
        self.host, self.port, self.count = host, port, count
        self.stopping, self.ready = multiprocessing.Event(), multiprocessing.Event()
        self.counts = multiprocessing.Queue()
        self.opened = self.ended = 0
        self.process = multiprocessing.Process(target=self.run)
        self.process.start()
        self.ready.wait(60)
        time.sleep(SETTLE_S)

    def open(self, kind):
        sock = socket.socket()
        if kind == 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(10)
        sock.connect((self.host, self.port))
        host = f"Host: {self.host}:{self.port}\r\n".encode()
        if kind == 0:
            sock.sendall(random.choice([b"", b"POST /v1/chat/comp", b"GET /health HTTP/1.1\r\n" + host + b"X-Slow: "]))
        elif kind == 1:
            sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + host + b"Content-Length: 60000\r\n\r\n{")
        else:
            sock.sendall((b"GET / HTTP/1.1\r\n" + host + b"\r\n") * 8)
        sock.setblocking(False)
        self.opened += 1
        return sock

    def run(self):
        kinds, poll = {}, select.poll()
        while not self.stopping.is_set():
            while len(kinds) < self.count:
                kind = self.opened % 3
                try:
                    sock = self.open(kind)
                except OSError:  # it takes no more of them: then so many it is
                    break
                kinds[sock.fileno()] = (sock, kind)
                poll.register(sock, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
            self.ready.set()
            for fd, _ in poll.poll(200):
                poll.unregister(fd)
                kinds.pop(fd)[0].close()
                self.ended += 1
            for sock, kind in random.sample(list(kinds.values()), min(20, len(kinds))):
                try:
                    if kind == 1:
                        sock.send(b" ")
                    elif kind == 2:
                        sock.recv(64)
                except OSError:
                    continue
        for sock, _ in kinds.values():
            sock.close()
        self.counts.put((self.opened, self.ended))

    def stop(self):
        self.stopping.set()
        self.opened, self.ended = self.counts.get()
        self.process.join()
        time.sleep(SETTLE_S)


def first_token_s(args, host, port, number):
    connection = http.client.HTTPConnection(host, port, timeout=60)
    messages = [{"role": "user", "content": f"{number}: tell me about rivers and stones."}]
    body = json.dumps({"messages": messages, "max_tokens": 4, "stream": True, "seed": number})
    headers = {"Content-Type": "application/json"}
    if args.key:
        headers["Authorization"] = f"Bearer {args.key}"
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"stalled.py: {answer.status}: {answer.read()[:200]}")
    while b'"content":"' not in (line := answer.readline()) or b'"content":""' in line:
        if not line:
            raise SystemExit("stalled.py: a stream without a token")
    took = time.perf_counter() - began
    answer.read()
    connection.close()
    return took


def cpu_s(pid):
    """On a CPU so far, all threads."""
    total = 0
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat") if pid else ():
        total += int(path.read_text().split()[0])
    return total / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--key", default="")
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--blocks", type=int, default=8, help="pairs of blocks")
    parser.add_argument("--requests", type=int, default=40, help="a block")
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    host, port = url.hostname, url.port or 80
    number, calm, crowded, ratios, opened, ended = 0, [], [], [], 0, 0
    cpu = {False: [], True: []}
    for _ in range(5):
        number += 1
        first_token_s(args, host, port, number)
    for _ in range(args.blocks):
        pair = []
        for sockets in random.sample([0, args.sockets], 2):
            crowd = Crowd(host, port, sockets) if sockets else None
            times, before = [], cpu_s(args.pid)
            for _ in range(args.requests):
                number += 1
                times.append(first_token_s(args, host, port, number))
            cpu[bool(sockets)].append((cpu_s(args.pid) - before) / args.requests)
            if crowd:
                crowd.stop()
                opened, ended = opened + crowd.opened, ended + crowd.ended
            (crowded if sockets else calm).extend(times)
            pair.append((sockets, statistics.median(times)))
        medians = {bool(sockets): median for sockets, median in pair}
        ratios.append(medians[True] / medians[False])
    p95 = [sorted(times)[int(0.95 * len(times))] * 1e3 for times in (calm, crowded)]
    ratio = statistics.median(ratios)
    print(f"sockets {args.sockets}, opened {opened}, of those ended by the server {ended}")
    print(f"time to the first token, median: {statistics.median(calm) * 1e3:.2f} ms without, {statistics.median(crowded) * 1e3:.2f} ms with; "
          f"p95 {p95[0]:.2f} and {p95[1]:.2f} ms")
    if args.pid:
        print(f"server's CPU a request, median: {statistics.median(cpu[False]) * 1e3:.2f} ms without, {statistics.median(cpu[True]) * 1e3:.2f} ms with")
    print(f"ratio of medians by block: {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"{'held  ' if ratio <= BAR else 'MISSED'} median ratio <= {BAR}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
