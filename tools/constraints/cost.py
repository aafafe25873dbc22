#!/usr/bin/env python3
"""What a constraint costs while decoding: seconds as ratios of interleaved runs, and instructions a token.

usage: cost.py CLI_BENCH_BINARY [--model MODEL.gguf ...] [--rounds N] [--tokens N] [--instructions CASE ...]
CLI_BENCH_BINARY is build/release/cli_bench. The embedded model comes first, then each MODEL. For every case: free, held and free again, N times, CPU time
of one thread; the median ratio and its quartiles. --instructions counts with valgrind what one token of a case takes between steps, free and held."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

FILTER = "--benchmark_filter=constrained/speed"
COUNTED = ["Runtime::step", "Scheduler::compute", "Scheduler::draw", "Sampler::draw", "ConstraintState::fill_mask", "ConstraintState::mask_of"]


def environment(options, model, **more):
    out = {**os.environ, "SLUICE_CONSTRAINED_ROUNDS": str(options.rounds), "SLUICE_CONSTRAINED_TOKENS": str(options.tokens), **more}
    return {**out, "SLUICE_CONSTRAINED_MODEL": model} if model else out


def ratios(options, model):
    print(f"{model or 'embedded model'}, {options.rounds} rounds of {options.tokens} tokens", flush=True)
    subprocess.run([options.binary, FILTER], env=environment(options, model), check=True, stderr=subprocess.DEVNULL)


def instructions(options, case):
    """Inclusive counts by function, a token."""
    counts = {}
    for arm in ("free", "held"):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "callgrind")
            env = environment(options, None, SLUICE_CONSTRAINED_CASE=case, SLUICE_CONSTRAINED_ARM=arm)
            subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", options.binary, FILTER], env=env, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out], check=True, capture_output=True, text=True).stdout
        for line in text.splitlines():
            found = re.match(r"\s*([\d,]+) .*?:sluice::\w+::(\w+::\w+)\(", line)
            if found and found[2] in COUNTED and "lambda" not in line:
                counts.setdefault(found[2], {}).setdefault(arm, int(found[1].replace(",", "")) / (options.rounds * options.tokens))
    print(f"{case}: instructions a token, of {options.rounds} answers of {options.tokens} tokens")
    for name in COUNTED:
        print(f"  {name:28} free {counts.get(name, {}).get('free', 0):12,.0f}   held {counts.get(name, {}).get('held', 0):12,.0f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--instructions", nargs="+", default=[])
    options = parser.parse_args()
    if options.instructions:
        for case in options.instructions:
            instructions(options, case)
        return 0
    for model in [None, *options.model]:
        ratios(options, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
