#!/usr/bin/env python3
"""Two servers that speak OpenAI's protocol, by turns (A B A B) and with the same requests: `sluice serve`, llama.cpp's `llama-server`, or the like.

usage: compare.py NAME=URL NAME=URL [--clients 1,2,4,8,16] [--rounds 5] [--requests 1] [--prompt-tokens 256] [--max-tokens 64] [--bar 8:2]
       compare.py NAME=URL ... --flood 100 [--heavy-key K] [--light-key K]     a key that keeps so many requests running, and one that asks one at a time
       compare.py NAME=URL ... --stalled 1000                                  so many sockets that stall, and one client that does not
A URL may end in /v1. Requests go to /v1/completions (--chat: /v1/chat/completions), stream, take the best token, ignore the end token and begin each unlike
all others with cache_prompt off, so a cache helps nobody. Tokens are counted by the usage in a stream's last event; a token of the model that shows no text
(half a character) has no event of its own at either server, so the gaps between events are given with the tokens an event. Prints Markdown.
Exits 1 if a bar is missed: --bar CLIENTS:RATIO (tokens a second of the first by the second's), --flood (light key's time to first token <= 2 x idle),
--stalled (<= 1.05 x, as stalled.py has it); only the first server is held to the last two."""
import argparse
import asyncio
import itertools
import statistics
import sys
import time

from stalled import Crowd
from streaming import Server, ask

FLOOD_BAR, STALLED_BAR = 2.0, 1.05
SETTLE_S = 1.0  # after a flood's connections were closed
PAUSE_S = 0.05  # of a flood's request that was sent away
numbers = itertools.count(1)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def spread(values, digits=2):
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(head, rows):
    print("\n| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def fail(server, answer):
    raise SystemExit(f"compare.py: {server.name}: status {answer.status}: {answer.error or 'an answer without usage or text'}")


async def words_for(args):
    """How many words of the prompt make --prompt-tokens, asked of the first server."""
    server, words = args.servers[0], 200
    for _ in range(2):
        answer = (await ask(server, server.body(next(numbers), words, 1, args.model), args.light_key, args.timeout)).read()
        if answer.status != 200 or not answer.usage.get("prompt_tokens"):
            fail(server, answer)
        words = max(1, round(words * args.prompt_tokens / answer.usage["prompt_tokens"]))
    return words


class Round:
    """What `clients` clients saw of one server, each after the other's requests."""

    def __init__(self, answers, began):
        self.answers = answers
        self.wall = max(answer.last for answer in answers) - began
        self.tokens = sum(answer.tokens for answer in answers)
        self.rate = self.tokens / self.wall
        self.decode_rates = [(answer.tokens - 1) / (answer.last - answer.events[0]) for answer in answers if answer.last > answer.events[0]]
        self.first = [answer.first_s for answer in answers]
        self.gaps = [after - before for answer in answers for before, after in itertools.pairwise(answer.events)]
        self.events = sum(len(answer.events) for answer in answers)


async def load(args, server, clients, seeds):
    """`seeds`: of the prompts, the same for every server."""
    async def client(own):
        answers = []
        for seed in own:
            answers.append(await ask(server, server.body(seed, args.words, args.max_tokens, args.model), args.light_key, args.timeout))
        return answers
    began = time.perf_counter()
    lists = await asyncio.gather(*[client(seeds[i::clients]) for i in range(clients)])
    answers = [answer.read() for answers in lists for answer in answers]
    for answer in answers:
        if not answer.whole:
            fail(server, answer)
    return Round(answers, began)


def rows_of(clients, sides):
    """A row a measure: both servers and their ratio by rounds."""
    def row(name, value, digits, scale=1.0):
        values = [[value(one) * scale for one in side] for side in sides]
        cells = [spread(of, digits) for of in values]
        if len(values) == 2:
            ratios = [a / b for a, b in zip(*values) if b > 0]  # events that came in one piece have no time between them
            cells.append(spread(ratios))
        return [str(clients), name, *cells]
    ms = 1e3
    return [
        row("tokens/s, all clients", lambda one: one.rate, 1),
        row("tokens/s of a stream after its first", lambda one: statistics.mean(one.decode_rates or [0]), 1),
        row("time to first token p50, ms", lambda one: percentile(one.first, 0.5), 1, ms),
        row("time to first token p99, ms", lambda one: percentile(one.first, 0.99), 1, ms),
        row("between events p50, ms", lambda one: percentile(one.gaps, 0.5), 2, ms),
        row("between events p99, ms", lambda one: percentile(one.gaps, 0.99), 2, ms),
        row("tokens an event", lambda one: one.tokens / one.events, 2),
    ]


async def compare(args):
    ratios = {}
    facts = {server.name: set() for server in args.servers}
    rows = []
    for clients in args.clients:
        sides = [[] for _ in args.servers]
        for number in range(args.rounds + 1):  # the first one warms up
            seeds = [next(numbers) for _ in range(clients * args.requests)]
            for side, server in zip(sides, args.servers):
                one = await load(args, server, clients, seeds)
                facts[server.name] |= {(answer.usage.get("prompt_tokens", 0),
                                        (answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, answer.tokens) for answer in one.answers}
                if number > 0:
                    side.append(one)
                await asyncio.sleep(args.settle)
        rows += rows_of(clients, sides)
        if len(sides) == 2:
            ratios[clients] = statistics.median(a.rate / b.rate for a, b in zip(*sides))
        print(f"compare.py: {clients} clients done", file=sys.stderr, flush=True)
    for name, seen in facts.items():
        prompts, cached, answers = zip(*seen)
        print(f"{name}: prompts of {min(prompts)} to {max(prompts)} tokens, {max(cached)} of them cached at most, answers of {min(answers)} to {max(answers)}; ", end="")
    print(f"{args.rounds} rounds of {args.requests} requests a client by turns; median (least to most) of the rounds")
    ratio = [f"{args.servers[0].name} / {args.servers[1].name}"] if len(args.servers) == 2 else []
    table(["clients", "measure", *[server.name for server in args.servers], *ratio], rows)
    return [(f"tokens/s of {args.servers[0].name} >= {least:g} x at {clients} clients: {ratios[clients]:.2f}", ratios[clients] >= least)
            for clients, least in args.bar if clients in ratios]


class Flood:
    """One key's requests, `count` of them running at any time."""

    def __init__(self, args, server):
        self.args, self.server, self.done, self.statuses, self.tasks = args, server, 0, {}, []

    async def one(self):
        while True:
            body = self.server.body(next(numbers), self.args.words, self.args.max_tokens, self.args.model)
            answer = await ask(self.server, body, self.args.heavy_key, self.args.timeout)
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status != 200:
                await asyncio.sleep(PAUSE_S)

    async def start(self):
        self.tasks = [asyncio.ensure_future(self.one()) for _ in range(self.args.flood)]
        await asyncio.sleep(self.args.flood_lead)

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(SETTLE_S)


async def first_tokens(args, server):
    """Of --requests requests one after the other, and what went wrong with the others."""
    times, wrong = [], {}
    for _ in range(args.requests):
        answer = (await ask(server, server.body(next(numbers), args.words, args.light_tokens, args.model), args.light_key, args.timeout)).read()
        if answer.whole:
            times.append(answer.first_s)
        else:
            reason = str(answer.status or answer.error)
            wrong[reason] = wrong.get(reason, 0) + 1
    return times, wrong


class Flooded:
    name, bar = "a flood", FLOOD_BAR

    def __init__(self, args, server):
        self.flood = Flood(args, server)

    async def __aenter__(self):
        await self.flood.start()

    async def __aexit__(self, *_):
        await self.flood.stop()

    def said(self):
        return "the heavy key's answers by status: " + ", ".join(f"{status} x {count}" for status, count in sorted(self.flood.statuses.items()))


class Crowded:
    name, bar = "stalled sockets", STALLED_BAR

    def __init__(self, args, server):
        self.args, self.server, self.opened, self.ended = args, server, 0, 0

    async def __aenter__(self):
        self.crowd = await asyncio.to_thread(Crowd, self.server.host, self.server.port, self.args.stalled)

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.crowd.stop)
        self.opened, self.ended = self.opened + self.crowd.opened, self.ended + self.crowd.ended

    def said(self):
        return f"sockets opened: {self.opened}, of those ended by the server: {self.ended}"


async def beside(args, burden):
    """One client's time to first token with and without a burden, in blocks by turns."""
    rows, held = [], []
    for server in args.servers:
        other, calm, burdened, ratios, wrong = burden(args, server), [], [], [], {}
        await first_tokens(args, server)
        for _ in range(args.rounds):
            before, failed = await first_tokens(args, server)
            if failed or not before:
                raise SystemExit(f"compare.py: {server.name}: idle, and yet: {failed}")
            async with other:
                during, failed = await first_tokens(args, server)
            wrong = {reason: wrong.get(reason, 0) + failed.get(reason, 0) for reason in wrong.keys() | failed.keys()}
            calm += before
            burdened += during
            ratios.append(statistics.median(during) / statistics.median(before) if during else float("inf"))
        ms = [f"{percentile(times, share) * 1e3:.1f}" for times in (calm, burdened) for share in (0.5, 0.99)]
        rows.append([server.name, *ms, spread(ratios, 3), ", ".join(f"{reason} x {count}" for reason, count in wrong.items()) or "none"])
        if server is args.servers[0]:
            ratio = statistics.median(ratios)
            held.append((f"time to first token of {server.name} beside {burden.name} <= {burden.bar:g} x: {ratio:.3f}", ratio <= burden.bar and not wrong))
        print(f"{server.name}: {other.said()}")
    print(f"{args.rounds} pairs of blocks of {args.requests} requests; prompts of some {args.prompt_tokens} tokens")
    table(["server", "alone p50, ms", "alone p99, ms", f"beside {burden.name} p50, ms", "p99, ms", "ratio of medians by block", "without an answer"], rows)
    return held


async def run(args):
    args.words = await words_for(args)
    if args.flood:
        held = await beside(args, Flooded)
    elif args.stalled:
        held = await beside(args, Crowded)
    else:
        held = await compare(args)
    print()
    for what, holds in held:
        print(f"{'held  ' if holds else 'MISSED'} {what}")
    return 0 if all(holds for _, holds in held) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="NAME=URL")
    parser.add_argument("--clients", default="1,2,4,8,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, help="a client and round (1), a block of --flood (10) or --stalled (40)")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--light-tokens", type=int, default=4, help="an answer's tokens where only the first one is measured")
    parser.add_argument("--model", default="", help="left out of the requests by default: the one that is served")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--settle", type=float, default=0.5, help="seconds between rounds")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a request")
    parser.add_argument("--bar", action="append", default=[], metavar="CLIENTS:RATIO")
    parser.add_argument("--flood", type=int, default=0)
    parser.add_argument("--flood-lead", type=float, default=3, help="seconds that a flood runs before the light key asks")
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--heavy-key", default="")
    parser.add_argument("--light-key", default="", help="of every request that is not a flood's")
    args = parser.parse_args()
    named = [text.partition("=") if "=" in text.split("/")[0] else (text, "=", text) for text in args.servers]
    args.servers = [Server(name, url, args.chat) for name, _, url in named]
    if len(args.servers) > 2:
        parser.error("one server or two")
    args.clients = [int(count) for count in args.clients.split(",")]
    args.bar = [(int(clients), float(ratio)) for clients, _, ratio in (bar.partition(":") for bar in args.bar)]
    args.requests = args.requests or (10 if args.flood else 40 if args.stalled else 1)
    return asyncio.run(run(args))


if __name__ == "__main__":
    sys.exit(main())
