#!/usr/bin/env python3
"""House rules that a machine can check: the arrows between rooms, what kernels may include, banned names, long files and lines.

usage: tidy.py SOURCE_DIR. Prints one line per finding and exits 1 if there are any."""
import pathlib
import re
import sys

# Which rooms a room may include (itself and base always). The same table stands in docs/architecture.md.
ARROWS = {
    "base": [],
    "platform": [],
    "kernels": [],
    "program": [],
    "models": ["program"],
    "weights": ["platform"],
    "compiler": ["program", "models", "weights", "kernels", "platform"],
    "runtime": ["program", "kernels", "platform"],
    "text": [],
    "engine": ["runtime", "text", "program", "platform"],
    "server": ["engine", "text", "platform"],
    "hub": ["platform"],
    "lpu": ["program", "compiler", "kernels"],
    "library": ["engine", "compiler", "runtime", "text", "weights", "program", "kernels", "platform"],
    "cli": ["base", "platform", "kernels", "program", "models", "weights", "compiler", "runtime", "text", "engine", "library", "server", "hub", "lpu"],
}
# Kernel files include no library: nothing inline can be compiled for a wide instruction set and win at link time.
KERNEL_HEADERS = {"bit", "cmath", "cstddef", "cstdint", "cstring", "immintrin.h", "limits"}
BANNED_FOLDERS = {"common", "utils", "misc", "helpers"}
LINE_MAX = 160
FILE_LINES_MAX = 900


def main(root: pathlib.Path) -> int:
    findings = []
    src = root / "src"
    for path in sorted(src.rglob("*")):
        relative = path.relative_to(src)
        if path.is_dir():
            if path.name in BANNED_FOLDERS:
                findings.append(f"src/{relative}: a folder may not be called {path.name}")
            continue
        if path.suffix not in {".h", ".cc"}:
            continue
        room = relative.parts[0]
        if room not in ARROWS:
            findings.append(f"src/{relative}: unknown room {room}")
            continue
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        if len(lines) > FILE_LINES_MAX:
            findings.append(f"src/{relative}: {len(lines)} lines, limit {FILE_LINES_MAX}")
        is_test = re.search(r"_(test|bench|fuzz)\.cc$", path.name) is not None
        allowed = {room, "base", *ARROWS[room]}
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_MAX:
                findings.append(f"src/{relative}:{number}: {len(line)} columns, limit {LINE_MAX}")
            include = re.match(r'\s*#\s*include\s+([<"])([^">]+)[">]', line)
            if not include:
                continue
            kind, target = include.groups()
            if kind == '"':
                other = target.split("/")[0]
                if other not in allowed:
                    findings.append(f"src/{relative}:{number}: {room} may not include {other}")
                if not (src / target).exists():
                    findings.append(f"src/{relative}:{number}: no such file src/{target}")
            elif room == "kernels" and not is_test and re.search(r"_(avx2|avx512)\.cc$|-inl\.h$", path.name):
                if target not in KERNEL_HEADERS:
                    findings.append(f"src/{relative}:{number}: a kernel may not include <{target}>")
    for path in sorted([*(root / "include").rglob("*.h"), *(root / "examples").rglob("*.cc")]):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if len(line) > LINE_MAX:
                findings.append(f"{path.relative_to(root)}:{number}: {len(line)} columns, limit {LINE_MAX}")
            if re.match(r'\s*#\s*include\s+"|\s*#\s*include\s+<sluice/', line) and (path.suffix == ".h" or '"' in line):
                findings.append(f"{path.relative_to(root)}:{number}: the public header and its examples see no other header of ours")
    for finding in findings:
        print(finding)
    print(f"tidy: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
