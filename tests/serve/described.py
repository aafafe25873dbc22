#!/usr/bin/env python3
"""schemathesis (PyPI) against /openapi.json of a real `sluice serve`: examples, edge cases and random requests, good and bad; no answer may be a server error.

usage: described.py BINARY SCHEMATHESIS [--seconds N]. SCHEMATHESIS is its program (`./dev schema` makes it under build/deps). Without it: skipped (77)."""
import os
import subprocess
import sys
import tempfile

from running import Server, request

CHECKS = "not_a_server_error,status_code_conformance,unsupported_method"


def main():
    binary, program = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    seconds = sys.argv[sys.argv.index("--seconds") + 1] if "--seconds" in sys.argv else "60"
    if not os.access(program, os.X_OK):
        print(f"skipped: no schemathesis at {program}; `./dev schema` fetches it")
        return 77
    server = Server(binary, "--max-tokens", "8", "--alias", "*")
    try:
        key = server.create("schema")
        with tempfile.TemporaryDirectory() as folder:
            # A seed, so that a failure comes again.
            done = subprocess.run([program, "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", CHECKS, "--max-time", seconds, "--seed", "20",
                                   "--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--header", f"Authorization: Bearer {key}",
                                   "--continue-on-failure", "--no-color"], cwd=folder, check=False)
        if done.returncode != 0:
            return done.returncode
        if server.process.poll() is not None or request(server.port, "GET", "/health").status != 200:
            print("the server is gone:", server.stderr()[-2000:])
            return 1
        failed = request(server.port, "GET", "/metrics", key).body.decode()
        errors = [line for line in failed.splitlines() if line.startswith("http_requests_total") and 'status="5' in line]
        print("\n".join(["server errors by the server's own count:", *errors]) if errors else "0 server errors by the server's own count")
        return 1 if errors else 0
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
