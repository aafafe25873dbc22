#!/usr/bin/env python3
"""Lets jsonschema judge what the engine writes under a schema when the model is random: every finished output must parse and validate.

usage: judge.py CLI_BENCH_BINARY [--runs N] [--temperature T] [--max-tokens M] [--seed S] [--suite SUITE_FOLDER]
CLI_BENCH_BINARY is build/release/cli_bench; SUITE_FOLDER is an unpacked JSON-Schema-Test-Suite, whose schemas then join the practical ones.
Needs jsonschema from PyPI. Exits 1 if one finished output is not what its schema admits, or if a run ended neither with stop nor with length."""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

from compare import HAND


def schemas_of(suite):
    schemas = [schema for schema, _ in HAND]
    if suite:
        for path in sorted(pathlib.Path(suite, "tests", "draft2020-12").glob("*.json")):
            if path.name != "format.json":
                schemas += [group["schema"] for group in json.loads(path.read_text()) if isinstance(group["schema"], dict)]
    return schemas


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--runs", type=int, default=10000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite")
    options = parser.parse_args()
    schemas = schemas_of(options.suite)
    with tempfile.TemporaryDirectory() as folder:
        jobs = os.path.join(folder, "jobs.json")
        pathlib.Path(jobs).write_text(json.dumps({"schemas": [json.dumps(s) for s in schemas], "runs": options.runs, "temperature": options.temperature,
                                                  "max_tokens": options.max_tokens, "seed": options.seed}))
        subprocess.run([options.binary, "--benchmark_filter=constrained/random_model"], env={**os.environ, "SLUICE_CONSTRAINED_JOBS": jobs},
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        runs = [json.loads(line) for line in pathlib.Path(jobs + ".out").read_text().split("\n") if line]
    validators = [jsonschema.validators.validator_for(s, default=jsonschema.Draft202012Validator)(s) for s in schemas]
    ends = collections.Counter(run["finish_reason"] for run in runs)
    bad = 0
    for run in runs:
        if run["finish_reason"] != "stop":
            continue
        try:
            validators[run["schema"]].validate(json.loads(run["text"]))
        except Exception as error:  # not JSON, not valid, or jsonschema itself cannot say
            bad += 1
            if bad <= 20:
                reason = str(error).splitlines()[0][:120]
                print(f"{type(error).__name__} {reason}: {json.dumps(schemas[run['schema']])[:160]} <- {run['text'][:160]!r}")
    print(f"{len(runs)} runs on {len(schemas)} schemas at temperature {options.temperature}: {ends['stop']} finished, "
          f"{bad} of them not accepted by jsonschema; {ends['length']} ended by max_tokens; {ends['error']} failed")
    return 1 if bad or ends["error"] or not ends["stop"] else 0


if __name__ == "__main__":
    sys.exit(main())
