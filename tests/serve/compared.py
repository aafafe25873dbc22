#!/usr/bin/env python3
"""tools/serve/compare.py over the model inside: it counts what was written, and its bars can be missed.

usage: compared.py BINARY [unittest arguments]"""
import os
import re
import subprocess
import sys
import unittest

from running import Server, request, until

BINARY = os.path.abspath(sys.argv.pop(1))
TOOL = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools", "serve", "compare.py")


def compare(*arguments):
    done = subprocess.run([sys.executable, TOOL, "--prompt-tokens", "64", "--max-tokens", "12", *arguments], capture_output=True, text=True, timeout=300)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if re.match(r"\| [^-]", line)]
    return done, rows[1:]


class Compared(unittest.TestCase):
    def serve(self, *flags):
        server = Server(BINARY, *flags)
        self.addCleanup(server.stop)
        return server

    def test_two_servers_by_turns(self):
        one, other = self.serve(), self.serve()
        servers = [f"one=http://127.0.0.1:{one.port}", f"other=http://127.0.0.1:{other.port}/v1"]
        done, rows = compare(*servers, "--clients", "1,2", "--rounds", "2", "--settle", "0", "--bar", "2:0.01")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([row[0] for row in rows], ["1"] * 7 + ["2"] * 7)
        self.assertIn("0 of them cached at most, answers of 12 to 12", done.stdout)
        for row in rows:
            self.assertEqual(len(row), 5)
            for cell in row[2:]:
                self.assertRegex(cell, r"[\d.]+ \([\d.]+ to [\d.]+\)" if "between" not in row[1] else r"\d|-")
        # Three rounds of three requests each, the one that warms up among them, and two that found the prompt's length.
        self.assertIn("sluice_generation_tokens_total 110\n", request(one.port, "GET", "/metrics").body.decode())
        self.assertIn("sluice_generation_tokens_total 108\n", request(other.port, "GET", "/metrics").body.decode())
        missed, _ = compare(*servers, "--clients", "1", "--rounds", "1", "--settle", "0", "--bar", "1:1000")
        self.assertEqual(missed.returncode, 1)
        self.assertIn("MISSED", missed.stdout)

    def test_a_flood_and_a_light_key(self):
        server = self.serve()
        heavy, light = server.create("heavy"), server.create("light")
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models").status == 401))
        done, rows = compare(f"http://127.0.0.1:{server.port}", "--flood", "8", "--heavy-key", heavy, "--light-key", light, "--rounds", "2", "--requests", "3",
                             "--flood-lead", "0.5")
        self.assertEqual(len(rows), 1, done.stderr)  # how the bar fares depends on the machine's other work
        self.assertRegex(done.stdout, r"the heavy key's answers by status: .*200 x \d+")
        self.assertEqual(rows[0][-1], "none")

    def test_stalled_sockets(self):
        server = self.serve()
        done, rows = compare(f"http://127.0.0.1:{server.port}", "--stalled", "60", "--rounds", "1", "--requests", "4")
        self.assertEqual(len(rows), 1, done.stderr)
        self.assertRegex(done.stdout, r"sockets opened: [1-9]\d+")


if __name__ == "__main__":
    unittest.main()
