#!/usr/bin/env python3
"""packaging/haproxy.cfg in front of two real replicas: conversations stay where they are, a replica that ends loses nobody, streams pass through.

usage: two_replicas.py BINARY. Skips (exit 77) without haproxy."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve"))
from running import Server, chat, request, until  # noqa: E402

BINARY = os.path.abspath(sys.argv.pop(1))
CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging", "haproxy.cfg")
if shutil.which("haproxy") is None:
    print("haproxy is not installed (Debian package haproxy)")
    sys.exit(77)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class TwoReplicas(unittest.TestCase):
    def setUp(self):
        self.replicas = [Server(BINARY, "--allow-host", "*") for _ in range(2)]
        for replica in self.replicas:
            self.addCleanup(replica.stop)
        self.port = free_port()
        self.proxy = subprocess.Popen(["haproxy", "-db", "-f", CONFIG], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      env={**os.environ, "SLUICE_BIND": f"127.0.0.1:{self.port}", "SLUICE_A": f"127.0.0.1:{self.replicas[0].port}",
                                           "SLUICE_B": f"127.0.0.1:{self.replicas[1].port}"})
        self.addCleanup(self.end_proxy)
        self.assertTrue(until(lambda: self.ready()), "the proxy does not answer")

    def end_proxy(self):
        self.proxy.terminate()
        self.proxy.wait(10)

    def ready(self):
        try:
            return request(self.port, "GET", "/v1/models").status == 200
        except OSError:
            return False

    def served(self, replica):
        for line in request(replica.port, "GET", "/metrics").body.decode().splitlines():
            if line.startswith('http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'):
                return int(line.rsplit(" ", 1)[1])
        return 0

    def ask(self, conversation, **fields):
        return chat(self.port, headers=[f"x-conversation-id: {conversation}"], **fields)

    def test_conversations_stay_and_both_replicas_work(self):
        for _ in range(3):
            for conversation in range(12):
                before = [self.served(replica) for replica in self.replicas]
                self.assertEqual(self.ask(f"c{conversation}").status, 200)
                after = [self.served(replica) for replica in self.replicas]
                where = [b - a for a, b in zip(before, after)].index(1)
                self.home = getattr(self, "home", {})
                self.assertEqual(self.home.setdefault(conversation, where), where)
        self.assertEqual(set(self.home.values()), {0, 1})

    def test_streams_pass_and_admin_routes_do_not(self):
        answer = self.ask("s", stream=True)
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.body.rstrip().endswith(b"data: [DONE]"), answer.body[-100:])
        self.assertEqual(request(self.port, "GET", "/metrics").status, 403)
        self.assertEqual(request(self.port, "GET", "/admin/keys").status, 403)

    def test_a_replica_that_ends_loses_nobody(self):
        homes = {}
        for conversation in range(8):
            before = self.served(self.replicas[0])
            self.assertEqual(self.ask(f"d{conversation}").status, 200)
            homes[conversation] = 0 if self.served(self.replicas[0]) > before else 1
        self.replicas[0].process.send_signal(signal.SIGTERM)
        self.assertTrue(until(lambda: self.replicas[0].process.poll() is not None))
        self.assertTrue(until(lambda: all(self.ask(f"d{conversation}").status == 200 for conversation in range(8))))
        for conversation, home in homes.items():
            if home == 1:
                self.assertEqual(self.ask(f"d{conversation}").status, 200)


if __name__ == "__main__":
    unittest.main()
