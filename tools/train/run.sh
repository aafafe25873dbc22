#!/bin/bash
# Training at low priority: run.sh WORKDIR [flags of train.py]. CONFIG chooses the size (default cpu).
# The allocator settings stop page faults on large temporaries (1.3x).
set -e
work=$1
shift
cd "$(dirname "$0")"
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 OMP_NUM_THREADS=1
exec nice -n 19 python train.py --config "configs/${CONFIG:-cpu}.toml" --tokens "$work/tokens" --out "$work/run" "$@"
