#!/usr/bin/env python3
"""Masks beside xgrammar and llguidance, in one run on the same schemas and tokens; and random outputs judged by jsonschema.

usage: compare.py BENCH_BINARY VOCABULARY.hex [SUITE_FOLDER] [SAMPLES_PER_SCHEMA]
BENCH_BINARY is build/release/text_bench; VOCABULARY.hex has one token's bytes a line, in hexadecimal, the last one ending the output (vocabulary.py writes
it); SUITE_FOLDER is an unpacked JSON-Schema-Test-Suite. Needs from PyPI: xgrammar, llguidance, jsonschema, numpy (the first two are optional).
The engines take turns, ROUNDS (3) times. Mask times are CPU time of the thread, so that a busy machine does not spoil them; from each is taken what the
clock alone costs there, and from the others' also what a call from Python does, so that they are not charged for it."""
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HAND = [
    ({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
      "email": {"type": "string", "pattern": "^[a-z0-9.]+@[a-z0-9]+\\.[a-z]{2,4}$"}, "tags": {"type": "array", "items": {"type": "string"}}},
      "required": ["name", "age", "email", "tags"], "additionalProperties": False},
     {"name": "Ada Lovelace", "age": 36, "email": "ada@engine.org", "tags": ["mathematics", "first programmer", "poetry"]}),
    ({"type": "object", "properties": {"city": {"type": "string", "maxLength": 40}, "unit": {"enum": ["celsius", "fahrenheit"]},
      "days": {"type": "array", "items": {"type": "object", "properties": {"date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
      "high": {"type": "number"}, "low": {"type": "number"}, "rain": {"type": "boolean"}}, "required": ["date", "high", "low", "rain"],
      "additionalProperties": False}, "maxItems": 7}}, "required": ["city", "unit", "days"], "additionalProperties": False},
     {"city": "Reykjavik", "unit": "celsius", "days": [{"date": "2024-05-01", "high": 11.5, "low": 4.25, "rain": True},
                                                       {"date": "2024-05-02", "high": 9, "low": -1.5, "rain": False}]}),
    ({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"label": {"type": "string"}, "children": {"type": "array",
      "items": {"$ref": "#/$defs/node"}}}, "required": ["label", "children"], "additionalProperties": False}}},
     {"label": "root", "children": [{"label": "left leaf", "children": []}, {"label": "right", "children": [{"label": "x", "children": []}]}]}),
    ({"type": "object", "properties": {"title": {"type": "string"}, "body": {"type": "string"}, "score": {"type": ["number", "null"]},
      "kind": {"const": "review"}}, "required": ["title", "body", "score", "kind"], "additionalProperties": False},
     {"title": "A \"good\" book", "body": "It was a dark and stormy night; the rain fell in torrents.\nThe end.", "score": 4.5, "kind": "review"}),
    ({"type": "array", "items": {"anyOf": [{"type": "object", "properties": {"op": {"const": "add"}, "value": {"type": "integer"}},
      "required": ["op", "value"], "additionalProperties": False}, {"type": "object", "properties": {"op": {"const": "remove"},
      "path": {"type": "string"}}, "required": ["op", "path"], "additionalProperties": False}]}},
     [{"op": "add", "value": 12345}, {"op": "remove", "path": "/a/b/c"}, {"op": "add", "value": -7}]),
    ({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}}, {"alpha": [1, 2, 3], "beta gamma": [], "é": [40]}),
]


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def suite_jobs(folder):
    jobs = []
    for path in sorted(pathlib.Path(folder, "tests", "draft2020-12").glob("*.json")):
        if path.name == "format.json":
            continue
        for group in json.loads(path.read_text()):
            valid = [t["data"] for t in group["tests"] if t["valid"]]
            if valid:
                jobs.append((group["schema"], valid[0]))
    return jobs


def greedy(vocabulary):
    table = {t: i for i, t in reversed(list(enumerate(vocabulary))) if t}
    longest = max(map(len, table))

    def encode(data):
        out, at = [], 0
        while at < len(data):
            for n in range(min(longest, len(data) - at), 0, -1):
                if data[at:at + n] in table:
                    out.append(table[data[at:at + n]])
                    at += n
                    break
        return out
    return encode


def quantiles(name, us):
    us = sorted(us)
    if us:
        print(f"{name:12} masks {len(us):6}  p50 {us[len(us) // 2]:8.1f} us  p90 {us[int(len(us) * .9)]:8.1f}  p99 {us[int(len(us) * .99)]:8.1f}  "
              f"max {us[-1]:9.1f}  mean {statistics.mean(us):8.1f}")


def run_ours(binary, vocabulary, jobs, samples):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "jobs.json")
        with open(path, "w") as file:
            json.dump({"vocabulary": [t.hex() for t in vocabulary], "end": len(vocabulary) - 1,
                       "jobs": [{"schema": json.dumps(s), "tokens": t, "samples": samples} for s, _, t in jobs]}, file)
        subprocess.run([binary, "--benchmark_filter=constraint/jobs"], env={**os.environ, "SLUICE_CONSTRAINT_JOBS": path}, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(pathlib.Path(path + ".out").read_text())


def cost_of(call):
    """The median of the clock and a call that does next to nothing."""
    us = []
    for _ in range(1001):
        start = time.thread_time()
        call()
        us.append((time.thread_time() - start) * 1e6)
    return statistics.median(us)


def run_llguidance(vocabulary, jobs):
    import llguidance
    import numpy
    encode = greedy(vocabulary)

    class Model:
        def __init__(self):
            self.eos_token_id = len(vocabulary) - 1
            self.bos_token_id = None
            self.tokens = vocabulary
            self.special_token_ids = [self.eos_token_id]

        def __call__(self, text):
            return encode(text if isinstance(text, bytes) else text.encode())
    path = os.environ.get("TOKENIZER_JSON")  # its own tokenizer, where there is one for this vocabulary: no calls back into Python
    tokenizer = llguidance.LLTokenizer(path) if path else llguidance.LLTokenizer(llguidance.TokenizerWrapper(Model()))
    mask = numpy.zeros((1, (len(vocabulary) + 31) // 32), dtype=numpy.int32)
    us, compile_us, accepted = [], [], 0
    call_us = None
    for schema, _, tokens in jobs:
        start = time.process_time()
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
            matcher = llguidance.LLMatcher(tokenizer, grammar)
        except Exception:
            continue
        compile_us.append((time.process_time() - start) * 1e6)
        if matcher.is_error():
            continue
        good = True
        call_us = call_us or cost_of(matcher.is_error)
        at, size = mask.ctypes.data, mask.nbytes
        for token in tokens:
            start = time.thread_time()
            matcher.unsafe_compute_mask_ptr(at, size)
            us.append((time.thread_time() - start) * 1e6 - call_us)
            if not matcher.consume_token(token):
                good = False
                break
        accepted += good
    return us, compile_us, accepted


def run_xgrammar(vocabulary, jobs):
    import torch
    import xgrammar
    info = xgrammar.TokenizerInfo(vocabulary, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[len(vocabulary) - 1])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)
    mask = torch.zeros((1, (len(vocabulary) + 31) // 32), dtype=torch.int32)
    us, compile_us, accepted = [], [], 0
    call_us = None
    for schema, _, tokens in jobs:
        start = time.process_time()
        try:
            compiled = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, separators=(",", ":"), strict_mode=False)
        except Exception:
            continue
        compile_us.append((time.process_time() - start) * 1e6)
        matcher = xgrammar.GrammarMatcher(compiled)
        good = True
        call_us = call_us or cost_of(matcher.is_terminated)
        for token in tokens:
            start = time.thread_time()
            matcher.fill_next_token_bitmask(mask)
            us.append((time.thread_time() - start) * 1e6 - call_us)
            if not matcher.accept_token(token):
                good = False
                break
        accepted += good
    return us, compile_us, accepted


def judge(ours, jobs):
    import jsonschema
    count = {"stop": 0, "length": 0, "bad": 0}
    for (schema, _, _), result in zip(jobs, ours["jobs"]):
        for sample in result["samples"]:
            if sample["finish"] != "stop":
                count[sample["finish"] if sample["finish"] == "length" else "bad"] += 1
                continue
            count["stop"] += 1
            try:
                jsonschema.Draft202012Validator(schema).validate(json.loads(sample["text"]))
            except Exception as error:
                count["bad"] += 1
                print("BAD", json.dumps(schema)[:200], sample["text"][:200], str(error)[:200].replace("\n", " "))
    print(f"random model: {count['stop']} finished, {count['length']} ended by max_tokens, {count['bad']} bad")


def main():
    binary, vocabulary_path = sys.argv[1:3]
    suite = suite_jobs(sys.argv[3]) if len(sys.argv) > 3 else []
    samples = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    vocabulary = [bytes.fromhex(line) for line in open(vocabulary_path).read().split("\n")[:-1]]
    vocabulary[-1] = b"<end>"
    encode = greedy(vocabulary[:-1])
    jobs = [(s, v, encode(compact(v).encode())) for s, v in HAND * 3 + suite]
    print(f"{len(vocabulary)} tokens, {len(jobs)} schemas")
    masks, compiles, accepted, absent = collections.defaultdict(list), collections.defaultdict(list), {}, {}
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        ours = run_ours(binary, vocabulary, jobs, samples)
        kept = [job for job, result in zip(jobs, ours["jobs"]) if not result["error"]]
        masks["sluice"] += [us - ours["clock_us"] for us in ours["mask_us"]]
        compiles["sluice"] += ours["compile_us"]
        accepted["sluice"] = sum(r["accepted"] for r in ours["jobs"])
        for name, run in (("llguidance", run_llguidance), ("xgrammar", run_xgrammar)):
            try:
                us, compile_us, accepted[name] = run(vocabulary, kept)
            except ImportError as error:
                absent[name] = error
                continue
            masks[name] += us
            compiles[name] += compile_us
    print(f"{len(kept)} compiled, {len(jobs) - len(kept)} refused by keyword")
    for name, us in masks.items():
        quantiles(name, us)
        quantiles("  compile", compiles[name])
        print(f"  accepted {accepted[name]} of {len(kept)}")
    for name, error in absent.items():
        print(f"{name}: {error}")
    if samples:
        judge(ours, jobs)


if __name__ == "__main__":
    main()
