#!/usr/bin/env python3
"""Keys, limits, logs, metrics, configuration and certificates of a real `sluice serve`, as its operator and its clients meet them.

usage: operations.py BINARY [unittest arguments]. Rows A1, A2, H2 of the reliability table; the model inside the program answers."""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from running import Server, chat, request, until

BINARY = os.path.abspath(sys.argv.pop(1))
CANARY = "xylophone-canary-83651"


class WithServer(unittest.TestCase):
    def serve(self, *flags, **more):
        server = Server(BINARY, *flags, **more)
        self.addCleanup(server.stop)
        self.assertTrue(server.port, server.stderr())
        return server

    def folder(self):
        path = tempfile.mkdtemp(prefix="sluice-operations-")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def first_key(self, server, name="me", *flags):
        """A key, and a server that has noticed."""
        key = server.create(name, *flags)
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models").status == 401))
        return key


class Keys(WithServer):
    def test_a2_every_route_asks_for_a_key_once_one_exists(self):
        server = self.serve()
        self.assertEqual(request(server.port, "GET", "/v1/models").status, 200)
        routes = request(server.port, "GET", "/openapi.json").json()["paths"]
        self.assertIn("/v1/chat/completions", routes)
        key = self.first_key(server)
        asked = 0
        for path, methods in routes.items():
            for method in methods:
                if path in ("/health", "/ready"):
                    continue
                concrete = re.sub(r"\{[^}]*\}", "x", path)
                body = {} if method == "post" else None
                self.assertEqual(request(server.port, method.upper(), concrete, body=body).status, 401, f"{method} {path}")
                self.assertNotEqual(request(server.port, method.upper(), concrete, key, body).status, 401, f"{method} {path}")
                asked += 1
        self.assertGreater(asked, 5)
        for probe in ("/health", "/ready"):
            self.assertEqual(request(server.port, "GET", probe, host="10.0.0.7").status, 200)

    def test_a1_no_spelling_of_host_or_path_gets_past_the_key(self):
        server = self.serve("--allow-host", "*")
        self.first_key(server)
        for path in ("/v1/models", "//v1/models", "/v1//models", "/v1/models/", "/V1/models", "/health/../v1/models", "/health/..%2fv1/models", "/%76%31/models",
                     "/v1/models?x=/health", "/v1/models#/health", "/health/%2e%2e/v1/models", "/v1/models;/health", "/./v1/models", "/v1\\models",
                     "http://localhost/v1/models", "http://localhost/health/../v1/models"):
            self.assertNotEqual(request(server.port, "GET", path).status, 200, path)
        for host in ("localhost/health", "localhost/health?", "localhost:1/health#", "x@localhost", "/health", "localhost\t/health", ""):
            self.assertNotEqual(request(server.port, "GET", "/v1/models", host=host or " ").status, 200, host)
        for header in ("X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Forwarded-Prefix: /health", "X-HTTP-Method-Override: OPTIONS",
                       "Authorization: Bearer", "Authorization: Basic eDp5", "X-Forwarded-For: 127.0.0.1", "x-api-key: "):
            self.assertNotEqual(request(server.port, "GET", "/v1/models", headers=[header]).status, 200, header)
        for method in ("OPTIONS", "HEAD", "get", "PROPFIND", "TRACE", "CONNECT"):
            self.assertNotEqual(request(server.port, method, "/v1/models").status, 200, method)

    def test_a_revoked_key_is_refused_within_a_second_and_nothing_is_restarted(self):
        server = self.serve()
        key = self.first_key(server, "alice")
        other = server.create("bob")
        self.assertTrue(until(lambda: chat(server.port, other).status == 200))
        self.assertEqual(chat(server.port, key).status, 200)
        server.keys("revoke", "alice")
        began = time.monotonic()
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models", key).status == 401, 5))
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(request(server.port, "GET", "/v1/models", key).json()["error"]["code"], "invalid_api_key")
        self.assertEqual(chat(server.port, other).status, 200)

    def test_a_limit_that_is_reached_is_429_with_the_seconds_to_wait(self):
        server = self.serve()
        key = self.first_key(server, "alice", "--rpm", "3", "--tpm", "600")
        first = chat(server.port, key)
        self.assertEqual(first.status, 200)
        self.assertEqual(first.headers["x-ratelimit-limit-requests"], "3")
        self.assertEqual(first.headers["x-ratelimit-limit-tokens"], "600")
        self.assertLess(int(first.headers["x-ratelimit-remaining-tokens"]), 600)
        self.assertRegex(first.headers["x-ratelimit-reset-requests"], r"^(\d+h)?(\d+m)?[\d.]+s$")
        answers = [first] + [chat(server.port, key) for _ in range(4)]
        self.assertIn(429, [answer.status for answer in answers])
        refused = next(answer for answer in answers if answer.status == 429)
        self.assertTrue(1 <= int(refused.headers["retry-after"]) <= 20, refused.headers)
        self.assertIn("requests per minute (RPM)", refused.json()["error"]["message"])
        self.assertIn("x-ratelimit-remaining-requests", refused.headers)
        server.keys("limit", "alice", "--rpm", "none")
        self.assertTrue(until(lambda: chat(server.port, key).status == 200))

    def test_h2_a_price_above_every_limit_costs_nothing(self):
        server = self.serve()
        key = self.first_key(server, "alice", "--tpm", "300")
        began = time.monotonic()
        for fields in ({"n": 1_000_000}, {"n": 16, "max_tokens": 100}, {"max_tokens": 2**31}, {"n": -1}, {"max_tokens": 1e308}):
            answer = chat(server.port, key, **fields)
            self.assertIn(answer.status, (400, 413), fields)
            self.assertNotIn("retry-after", answer.headers)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(chat(server.port, key).status, 200)

    def test_a_damaged_database_refuses_everybody_and_says_so(self):
        folder = self.folder()
        os.makedirs(f"{folder}/state/sluice")
        with open(f"{folder}/state/sluice/keys.db", "w") as out:
            out.write("this was a database once " * 10)
        server = self.serve(folder=folder)
        self.assertEqual(request(server.port, "GET", "/v1/models").status, 503)
        self.assertEqual(request(server.port, "GET", "/health").status, 200)
        self.assertIn("the key database is damaged", server.stderr())
        os.remove(f"{folder}/state/sluice/keys.db")
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models").status == 200))

    def test_the_admin_port_makes_and_ends_keys(self):
        server = self.serve("--admin-port", "0")
        port, admin = server.ports
        self.assertEqual(request(port, "GET", "/admin/keys").status, 404)
        self.assertEqual(request(admin, "POST", "/admin/keys", body={"name": "x", "rmp": 5}).status, 400)
        root = request(admin, "POST", "/admin/keys", body={"name": "root", "admin": True}).json()["key"]
        self.assertTrue(until(lambda: request(admin, "GET", "/admin/keys").status == 401))
        made = request(admin, "POST", "/admin/keys", root, {"name": "alice", "tpm": 5000}).json()
        self.assertEqual(chat(port, made["key"]).status, 200)
        self.assertEqual(request(admin, "GET", "/admin/keys", made["key"]).status, 403)
        listed = request(admin, "GET", "/admin/keys", root).json()["data"]
        self.assertEqual([key["name"] for key in listed], ["root", "alice"])
        self.assertNotIn(made["key"].rsplit("-", 1)[1], json.dumps(listed))
        statistics = request(admin, "GET", "/admin/statistics", root).json()
        alice = next(key for key in statistics["keys"] if key["name"] == "alice")
        self.assertEqual(alice["requests"], 1)
        self.assertEqual(request(admin, "DELETE", "/admin/keys/alice", root).status, 200)
        self.assertEqual(request(port, "GET", "/v1/models", made["key"]).status, 401)
        self.assertEqual(request(admin, "GET", "/metrics", root).status, 200)


class Operations(WithServer):
    def test_metrics_have_the_fields_names(self):
        server = self.serve()
        chat(server.port, ignore_eos=True)
        request(server.port, "GET", f"/{CANARY}")
        text = request(server.port, "GET", "/metrics").body.decode()
        for name in ("http_requests_total{", "http_request_duration_seconds_bucket{", "sluice_prompt_tokens_total ", "sluice_generation_tokens_total 4",
                     "sluice_time_to_first_token_seconds_count 1", "sluice_num_requests_waiting 0", "sluice_prefix_cache_queries_total",
                     "sluice_requests_refused_total{reason=\"capacity\"} 0", "process_resident_memory_bytes ", "sluice_memory_planned_bytes "):
            self.assertIn(name, text)
        self.assertNotIn(CANARY, text)

    def test_logs_hold_no_prompt_no_answer_and_no_key(self):
        folder = self.folder()
        log = f"{folder}/log"
        server = self.serve("--log", log, "--log-level", "debug", folder=folder)
        key = self.first_key(server)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        answers = [chat(server.port, key, f"Repeat: {CANARY} {CANARY}", [f"traceparent: 00-{trace}-00f067aa0ba902b7-01"], max_tokens=24),
                   chat(server.port, key, CANARY, stop=CANARY, user=CANARY), chat(server.port, key, CANARY, stream=True),
                   request(server.port, "POST", "/v1/completions", key, {"model": "sluice-jamba", "prompt": CANARY, "max_tokens": 4}),
                   request(server.port, "POST", "/v1/chat/completions", key, f'{{"{CANARY}": 1'.encode()),
                   request(server.port, "GET", f"/{CANARY}?{CANARY}={CANARY}", key, headers=[f"X-Test: {CANARY}", f"User-Agent: {CANARY}"]),
                   request(server.port, "GET", "/v1/models", f"sk-sluice-{CANARY}"), request(server.port, CANARY.upper(), "/")]
        said = answers[0].json()["choices"][0]["message"]["content"]
        server.stop()
        with open(log) as file:
            text = file.read() + (server.stderr() if os.path.exists(f"{folder}/stderr") else "")
        self.assertNotIn(CANARY, text)
        self.assertNotIn(CANARY.upper(), text)
        self.assertNotIn(key.rsplit("-", 1)[1], text)
        if len(said.strip()) > 12:
            self.assertNotIn(said.strip()[:40], text)
        with open(log) as file:
            lines = [json.loads(line) for line in file]
        requests = [line for line in lines if line["event"] == "request"]
        self.assertGreaterEqual(len(requests), len(answers))
        traced = [line for line in requests if line["trace_id"] == trace]
        self.assertEqual(len(traced), 1)
        self.assertEqual(traced[0]["route"], "/v1/chat/completions")
        self.assertGreater(traced[0]["completion_tokens"], 0)
        self.assertTrue(all(re.fullmatch(r"[0-9a-f]{32}", line["trace_id"]) for line in requests))

    def test_hangup_rotates_the_log_and_changes_its_level(self):
        folder = self.folder()
        log, config = f"{folder}/log", f"{folder}/sluice.toml"
        with open(config, "w") as out:
            out.write('log-level = "info"\n')
        server = self.serve("--log", log, "--config", config, folder=folder)
        chat(server.port)
        self.assertTrue(until(lambda: os.path.getsize(log) > 0))
        os.rename(log, log + ".1")
        server.hang_up()
        self.assertTrue(until(lambda: os.path.exists(log) and "reload" in pathlib.Path(log).read_text()))
        with open(config, "w") as out:
            out.write('log-level = "error"\n')
        server.hang_up()
        time.sleep(0.5)
        before = os.path.getsize(log)
        chat(server.port)
        time.sleep(0.3)
        self.assertEqual(os.path.getsize(log), before)
        with open(config, "w") as out:
            out.write('log-levle = "info"\n')
        server.hang_up()
        self.assertTrue(until(lambda: "did you mean log-level?" in pathlib.Path(log).read_text()))
        self.assertEqual(chat(server.port).status, 200)

    def test_a_configuration_file_is_held_to_the_flags(self):
        for text, sentence in (("users = 2\nmemroy = \"4G\"\n", ":2: memroy: no such setting; did you mean memory?"), ("port = \"many\"\n", ":1: port:"),
                               ("users = 2000\n", ":1: users:"), ("insecure = 1\n", "must be true or false"), ("host = [\"a\", \"b\"]\n", "takes one value"),
                               ("[server]\nport = 1\n", "there are no sections"), ("port = \n", ":1:")):
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(text)
                file.flush()
                done = subprocess.run([BINARY, "serve", "--config", file.name], capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, text)
                self.assertIn(sentence, done.stderr)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("ctx = 256\nalias = [\"one\", \"two\"]\nno_access_log = true\n")
            file.flush()
            server = self.serve("--config", file.name)  # its --ctx 512 goes before
            names = [model["id"] for model in request(server.port, "GET", "/v1/models").json()["data"]]
            self.assertIn("sluice-jamba", names)
            self.assertEqual(chat(server.port, model="two").status, 200)
            self.assertNotIn('"event":"request"', server.stderr())

    def test_an_expired_certificate_is_told_and_the_old_one_goes_on(self):
        folder = self.folder()

        def certificate(days, name):
            for arguments in (["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", "request",
                               "-subj", "/CN=localhost"], ["x509", "-req", "-in", "request", "-signkey", f"{name}.key", "-days", days, "-out", f"{name}.pem"]):
                subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        certificate("-1", "old")
        done = subprocess.run([BINARY, "serve", "--port", "0", "--tls-cert", f"{folder}/old.pem", "--tls-key", f"{folder}/old.key"], capture_output=True,
                              text=True, timeout=60, env={**os.environ, "XDG_STATE_HOME": folder})
        self.assertEqual(done.returncode, 1)
        self.assertIn("the certificate of localhost expired on", done.stderr)
        certificate("5", "good")
        server = self.serve("--tls-cert", f"{folder}/good.pem", "--tls-key", f"{folder}/good.key", folder=folder)
        self.assertEqual(request(server.port, "GET", "/health", tls=True).status, 200)
        self.assertIn("the certificate of localhost expires on", server.stderr())  # within two weeks
        for bad in ("expired on", "holds no PEM private key"):
            if bad == "expired on":
                shutil.copy(f"{folder}/old.pem", f"{folder}/good.pem")
                shutil.copy(f"{folder}/old.key", f"{folder}/good.key")
            else:
                pathlib.Path(folder, "good.key").write_text("no key any more")
            server.hang_up()
            self.assertTrue(until(lambda bad=bad: bad in server.stderr() and "stays as it was" in server.stderr()), server.stderr())
            self.assertEqual(request(server.port, "GET", "/health", tls=True).status, 200)

    def test_a_full_disk_costs_what_would_be_written_and_nothing_else(self):
        # A log on a device that is always full.
        server = self.serve("--log", "/dev/full")
        for _ in range(3):
            self.assertEqual(chat(server.port).status, 200)
        self.assertTrue(until(lambda: int(re.search(r"lines_dropped_total (\d+)", request(server.port, "GET", "/metrics").body.decode()).group(1)) >= 3))
        # No file may grow beyond 16 KiB: states, keys and logs meet what a full disk is to them.
        folder = self.folder()
        first = self.serve(folder=folder)
        key = self.first_key(first)
        first.stop()

        def full():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        server = self.serve("--state-dir", f"{folder}/states", "--log", f"{folder}/log", folder=folder, preexec=full)
        answers = [chat(server.port, key, "Tell me of the sea. " * 20, seed=1, max_tokens=8) for _ in range(40)]
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(len({answer.json()["choices"][0]["message"]["content"] for answer in answers}), 1)
        self.assertEqual(chat(server.port).status, 401)
        self.assertTrue(until(lambda: "sluice_disk_failures_total 0" not in request(server.port, "GET", "/metrics", key).body.decode()))
        self.assertLessEqual(os.path.getsize(f"{folder}/log"), 16384)
        self.assertEqual(request(server.port, "GET", "/health").status, 200)
        server.process.terminate()
        self.assertEqual(server.process.wait(30), 0)

    @unittest.skipUnless(os.geteuid() == 0, "for root, who can become somebody who may not write")
    def test_a_state_folder_that_may_only_be_read(self):
        folder = self.folder()
        os.chmod(folder, 0o777)
        first = self.serve(folder=folder)
        key = self.first_key(first)
        first.stop()
        os.remove(f"{folder}/stderr")
        nobody = 65534
        for name in (folder, f"{folder}/state", f"{folder}/state/sluice"):
            os.chmod(name, 0o555)
        for name in os.listdir(f"{folder}/state/sluice"):
            os.chown(f"{folder}/state/sluice/{name}", nobody, nobody)
            os.chmod(f"{folder}/state/sluice/{name}", 0o400)
        errors = self.folder()
        os.chmod(errors, 0o777)

        def become_nobody():
            os.setgroups([])
            os.setgid(nobody)
            os.setuid(nobody)
        key_file = f"{folder}/state/sluice/keys.db"
        # Who asks for states on a disk where none can be written is told at the start; keys need no writing.
        refused = subprocess.run([BINARY, "serve", "--port", "0", "--key-file", key_file, "--state-dir", f"{folder}/states"], capture_output=True, text=True,
                                 timeout=60, preexec_fn=become_nobody, env={**os.environ, "XDG_CACHE_HOME": errors}, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, rf"cannot make the folder {folder}/states.*Permission denied")
        server = self.serve("--key-file", key_file, folder=errors, preexec=become_nobody)
        self.assertEqual(chat(server.port, key).status, 200)
        self.assertEqual(chat(server.port).status, 401)
        server.process.terminate()
        self.assertEqual(server.process.wait(30), 0)
        self.assertIn("a restart will not know what keys have used today", server.stderr())
        done = subprocess.run([BINARY, "keys", "create", "--name", "late", "--file", key_file], capture_output=True, text=True, timeout=60,
                              preexec_fn=become_nobody, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("keys.db", done.stderr)

    def test_an_address_for_others_needs_keys_and_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([BINARY, "serve", "--host", "0.0.0.0", "--port", "0"], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "XDG_STATE_HOME": folder})
        self.assertEqual(done.returncode, 1)
        self.assertIn("--insecure", done.stderr)

    def test_a_full_house_is_told_when_to_come_back(self):
        server = self.serve("--queue", "2")
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(chat(server.port, max_tokens=128, ignore_eos=True))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = [answer.status for answer in answers]
        self.assertIn(503, statuses)
        self.assertIn(200, statuses)
        for answer in answers:
            if answer.status == 503:
                self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
                self.assertEqual(answer.json()["error"]["code"], "capacity_exceeded")


class Models(unittest.TestCase):
    def test_pull_list_run_and_remove(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with tempfile.TemporaryDirectory() as folder:
            files = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", f"{root}/models"],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                port = re.search(r"port (\d+)", files.stdout.readline()).group(1)
                environment = {**os.environ, "XDG_DATA_HOME": folder, "XDG_CACHE_HOME": f"{folder}/cache"}

                def sluice(*arguments):
                    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120, env=environment, stdin=subprocess.DEVNULL)
                pulled = sluice("pull", f"http://127.0.0.1:{port}/sluice-jamba.gguf")
                self.assertEqual((pulled.returncode, pulled.stdout), (0, "sluice-jamba.gguf\n"), pulled.stderr)
                self.assertIn("sluice-jamba.gguf", sluice("list").stdout)
                ran = sluice("run", "sluice-jamba", "-n", "4", "-p", "Hi", "--threads", "1")
                self.assertEqual(ran.returncode, 0, ran.stderr)
                self.assertEqual(sluice("rm", "../x").returncode, 1)
                self.assertEqual(sluice("rm", "sluice-jamba.gguf").returncode, 0)
                self.assertEqual(json.loads(sluice("list", "--json").stdout), [])
            finally:
                files.terminate()
                files.wait()
                files.stdout.close()


if __name__ == "__main__":
    unittest.main()
