#!/usr/bin/env python3
"""libsluice as its users meet it: installed into an empty prefix; the example built by find_package and by pkg-config, and run on the model inside.

usage: installed.py SOURCE_DIR BUILD_DIR"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE, BUILD = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
EXAMPLE = SOURCE / "examples" / "branches.cc"
LINES_MAX = 60


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def expect(true, what):
    if not true:
        sys.exit(f"installed.py: {what}")


def check_symbols(library):
    """Nothing of ours but the public classes leaves the library."""
    shown = [line.split(" ", 2)[2] for line in run("nm", "-D", "-C", "--defined-only", library).splitlines()]
    others = [name for name in shown if not re.match(r"(sluice::(Model|Conversation)::|sluice::version\(|SLUICE_0)", name)]
    expect(not others, f"{library} shows {others[:5]}")
    expect(any("Conversation::generate" in name for name in shown), "generate() is missing")


def check_output(text):
    reused = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+) of (\d+) tokens known before\)", text)]
    expect(len(reused) == 4, f"four answers were expected:\n{text}")
    for known, prompt in reused:
        expect(prompt > 10 and known >= prompt - 2, f"computed again: {prompt - known} of {prompt} tokens\n{text}")
    expect(len(re.sub(r"\(.*", "", text)) > 100, f"next to nothing was said:\n{text}")


with tempfile.TemporaryDirectory(prefix="sluice-library-") as scratch:
    prefix = pathlib.Path(scratch) / "prefix"
    run("cmake", "--install", BUILD, "--component", "library", "--prefix", prefix)
    headers = [str(path.relative_to(prefix)) for path in prefix.rglob("*.h")]
    expect(headers == ["include/sluice/sluice.h"], f"headers: {headers}")
    expect(len(EXAMPLE.read_text().splitlines()) < LINES_MAX, f"{EXAMPLE} has {LINES_MAX} lines or more")
    (library,) = prefix.rglob("libsluice.so")
    check_symbols(library)

    build = pathlib.Path(scratch) / "build"
    run("cmake", "-S", EXAMPLE.parent, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(library.parent / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "sluice", env=environment).split()
    run("c++", "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", build / "by_hand", EXAMPLE, *flags)

    found = run(build / "branches", "", scratch)
    by_hand = run(build / "by_hand", "", scratch, env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})
    check_output(found)
    expect(found == by_hand, f"two builds, two answers:\n{found}\n{by_hand}")
print("installed.py: built by find_package and by pkg-config, the same answers")
