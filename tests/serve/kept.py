#!/usr/bin/env python3
"""Files, batches, responses, conversations and named states of a real `sluice serve`: killed in the middle, restarted, on a full disk, with two keys.

usage: kept.py BINARY [unittest arguments]. The model inside the program answers."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from running import Server, chat, exchange, request, until

BINARY = os.path.abspath(sys.argv.pop(1))


def upload(port, content, key=None):
    form = b"\r\n".join([b"--cut", b'Content-Disposition: form-data; name="purpose"', b"", b"batch", b"--cut",
                         b'Content-Disposition: form-data; name="file"; filename="in.jsonl"', b"Content-Type: application/jsonl", b"", content, b"--cut--", b""])
    head = ["POST /v1/files HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", "Content-Type: multipart/form-data; boundary=cut",
            f"Content-Length: {len(form)}"] + ([f"Authorization: Bearer {key}"] if key else [])
    return exchange(port, "\r\n".join(head).encode() + b"\r\n\r\n" + form)


def line(custom_id, url="/v1/chat/completions", **body):
    asked = {"messages": [{"role": "user", "content": f"Tell me about {custom_id}."}], "max_tokens": 24, "temperature": 0, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": asked}).encode() + b"\n"


class Kept(unittest.TestCase):
    def serve(self, folder, *flags):
        server = Server(BINARY, "--state-dir", folder + "/states", "--store", "64M", *flags, folder=folder)
        self.addCleanup(server.stop)
        self.assertTrue(server.port, server.stderr())
        return server

    def folder(self):
        path = tempfile.mkdtemp(prefix="sluice-kept-")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def kill(self, server):
        server.process.kill()
        server.process.wait()

    def batch(self, server, content, endpoint="/v1/chat/completions", key=None):
        sent = upload(server.port, content, key)
        self.assertEqual(sent.status, 200, sent.body)
        made = request(server.port, "POST", "/v1/batches", key,
                       {"input_file_id": sent.json()["id"], "endpoint": endpoint, "completion_window": "24h"})
        self.assertEqual(made.status, 200, made.body)
        return made.json()["id"]

    def state_of(self, server, batch):
        return request(server.port, "GET", f"/v1/batches/{batch}").json()

    def lines(self, server, file):
        if file is None:
            return []
        answer = request(server.port, "GET", f"/v1/files/{file}/content")
        self.assertEqual(answer.status, 200)
        return [json.loads(text) for text in answer.body.split(b"\n") if text]

    def respond(self, server, key=None, **fields):
        answer = request(server.port, "POST", "/v1/responses", key, {"max_output_tokens": 12, "temperature": 0.9, "seed": 7, **fields})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()


class Batches(Kept):
    def test_kill_9_in_the_middle_answers_every_line_once(self):
        folder = self.folder()
        names = [f"fox-{i}" for i in range(120)]
        content = b"".join(line(name) for name in names) + b"no line\n"
        server = self.serve(folder)
        batch = self.batch(server, content)
        seen = []
        for _ in range(3):  # killed three times, each time when some more have been answered
            before = seen[-1] if seen else 0
            self.assertTrue(until(lambda: self.state_of(server, batch)["request_counts"]["completed"] > before, 30))
            seen.append(self.state_of(server, batch)["request_counts"]["completed"])
            self.kill(server)
            server = self.serve(folder)
            self.assertGreaterEqual(self.state_of(server, batch)["request_counts"]["completed"], seen[-1])
        self.assertLess(seen[0], len(names), "the batch was over before it was killed")
        self.assertTrue(until(lambda: self.state_of(server, batch)["status"] == "completed", 60), self.state_of(server, batch))
        state = self.state_of(server, batch)
        self.assertEqual(state["request_counts"], {"total": 121, "completed": 120, "failed": 1})
        output = self.lines(server, state["output_file_id"])
        self.assertEqual([entry["custom_id"] for entry in output], names)
        self.assertTrue(all(entry["response"]["status_code"] == 200 for entry in output))
        self.assertEqual(self.lines(server, state["error_file_id"])[0]["error"]["line"], 121)
        # As if it had been asked for alone.
        alone = chat(server.port, text="Tell me about fox-3.", max_tokens=24, temperature=0).json()
        self.assertEqual(output[3]["response"]["body"]["choices"], alone["choices"])

    def test_live_requests_go_before_a_batch(self):
        server = self.serve(self.folder(), "--users", "2")
        batch = self.batch(server, b"".join(line(f"fox-{i}", max_tokens=200) for i in range(40)))
        self.assertTrue(until(lambda: self.state_of(server, batch)["status"] == "in_progress"))
        for _ in range(5):
            self.assertEqual(chat(server.port).status, 200)
        self.assertEqual(request(server.port, "POST", f"/v1/batches/{batch}/cancel", body={}).status, 200)
        self.assertTrue(until(lambda: self.state_of(server, batch)["status"] == "cancelled"), self.state_of(server, batch))
        self.assertEqual(request(server.port, "GET", "/health").status, 200)

    def test_responses_and_embeddings_in_batches(self):
        server = self.serve(self.folder())
        asked = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"input": "Hi.", "max_output_tokens": 4}}).encode()
        batch = self.batch(server, asked, "/v1/responses")
        self.assertTrue(until(lambda: self.state_of(server, batch)["status"] == "completed"), self.state_of(server, batch))
        output = self.lines(server, self.state_of(server, batch)["output_file_id"])
        self.assertEqual(request(server.port, "GET", "/v1/responses/" + output[0]["response"]["body"]["id"]).status, 200)

    def test_a_full_disk_is_a_sentence_and_chat_goes_on(self):
        folder = self.folder()
        states = folder + "/states"
        os.mkdir(states)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", states], capture_output=True).returncode != 0:
            self.skipTest("needs the right to mount a small file system")
        self.addCleanup(subprocess.run, ["umount", "-l", states])
        server = self.serve(folder)
        refused = upload(server.port, b"".join(line(f"fox-{i}") for i in range(8000)))
        self.assertEqual(refused.status, 507, refused.body)
        self.assertIn("full", refused.json()["error"]["message"])
        self.assertEqual(chat(server.port).status, 200)
        self.assertEqual(upload(server.port, line("small")).status, 200)


class Responses(Kept):
    def test_the_next_turn_computes_only_its_own_text_also_after_a_restart(self):
        folder = self.folder()
        server = self.serve(folder)
        story = "Once there was a fox who lived near a lake and told long stories to the geese. " * 8
        first = self.respond(server, input=story)
        usage = first["usage"]
        second = self.respond(server, input="And then?", previous_response_id=first["id"])
        new = second["usage"]["input_tokens"] - usage["input_tokens"] - usage["output_tokens"]
        computed = second["usage"]["input_tokens"] - second["usage"]["input_tokens_details"]["cached_tokens"]
        self.assertLessEqual(computed, new + 16, second["usage"])
        self.assertGreater(usage["input_tokens"], 100)
        time.sleep(0.5)  # states are written behind the answer
        self.assertEqual(server.process.send_signal(15), None)
        self.assertEqual(server.process.wait(20), 0)
        server = self.serve(folder)
        third = self.respond(server, input="And then?", previous_response_id=second["id"])
        new = third["usage"]["input_tokens"] - second["usage"]["input_tokens"] - second["usage"]["output_tokens"]
        computed = third["usage"]["input_tokens"] - third["usage"]["input_tokens_details"]["cached_tokens"]
        self.assertLessEqual(computed, new + 16, third["usage"])

    def test_a_conversation_id_reuses_what_plain_messages_would(self):
        server = self.serve(self.folder())
        story = "A goose and a fox went down to the water to look at the moon in it. " * 8
        first = chat(server.port, text=story, conversation="moon", max_tokens=12).json()
        second = chat(server.port, text="And then?", conversation="moon", max_tokens=12).json()
        plain = request(server.port, "POST", "/v1/chat/completions", body={"max_tokens": 12, "messages": [
            {"role": "user", "content": story}, {"role": "assistant", "content": first["choices"][0]["message"]["content"]},
            {"role": "user", "content": "And then?"}]}).json()
        cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreaterEqual(cached + 16, first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"])
        self.assertGreaterEqual(cached, first["usage"]["prompt_tokens"] - 16)
        self.assertGreaterEqual(plain["usage"]["prompt_tokens_details"]["cached_tokens"], first["usage"]["prompt_tokens"] - 16)


class States(Kept):
    def test_saved_forked_restored_and_explained(self):
        folder = self.folder()
        server = self.serve(folder)
        system = "You are a lighthouse keeper who answers in few words and never leaves the tower. " * 8
        saved = request(server.port, "POST", "/v1/state/save", body={"name": "keeper", "ttl_s": 600, "messages": [{"role": "system", "content": system}]})
        self.assertEqual(saved.status, 200, saved.body)
        tokens = saved.json()["tokens"]
        self.assertTrue(request(server.port, "GET", "/v1/state/keeper").json()["pinned"])
        children = [f"child-{i}" for i in range(8)]
        self.assertEqual(request(server.port, "POST", "/v1/state/fork", body={"name": "keeper", "to": children}).status, 200)
        for child in children:
            usage = chat(server.port, text=f"Who is {child}?", conversation=child).json()["usage"]
            self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], tokens - 16)
        other = "You are a sailor. " + system
        explained = request(server.port, "POST", "/v1/state/explain", body={"messages": [{"role": "system", "content": other}]}).json()
        self.assertLess(explained["cached_tokens"], 64, explained)
        self.assertIsNotNone(explained["reason"])
        self.assertIsNotNone(explained["differs_at"])
        time.sleep(0.5)
        server.process.terminate()
        server.process.wait(20)
        server = self.serve(folder)
        restored = request(server.port, "POST", "/v1/state/restore", body={"name": "keeper", "conversation": "again"}).json()
        self.assertLessEqual(restored["computed_tokens"], 16, restored)
        self.assertEqual(request(server.port, "POST", "/v1/state/pin", body={"name": "keeper", "ttl_s": 0}).status, 200)
        self.assertFalse(request(server.port, "GET", "/v1/state/keeper").json()["pinned"])

    def test_a_deleted_state_leaves_memory_and_disk(self):
        folder = self.folder()
        server = self.serve(folder)
        messages = [{"role": "system", "content": "You mend nets by the quay and speak of the weather. " * 8}]
        files = lambda: len(list(pathlib.Path(folder).rglob("*.snap")))  # noqa: E731
        saved = request(server.port, "POST", "/v1/state/save", body={"name": "nets", "ttl_s": 600, "messages": messages}).json()
        self.assertTrue(until(lambda: files() > 0))
        kept = files()
        explain = lambda: request(server.port, "POST", "/v1/state/explain", body={"messages": messages}).json()["cached_tokens"]  # noqa: E731
        self.assertGreaterEqual(explain(), saved["tokens"] - 1)
        self.assertEqual(request(server.port, "DELETE", "/v1/state/nets").status, 200)
        self.assertLess(explain(), saved["tokens"] - 1)
        self.assertTrue(until(lambda: files() < kept), "its file is still there")
        self.assertEqual(request(server.port, "DELETE", "/v1/state/nets").status, 404)

    def test_another_key_sees_nothing(self):
        server = self.serve(self.folder())
        mine, theirs = server.create("mine"), server.create("theirs")
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models").status == 401))
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models", theirs).status == 200))
        file = upload(server.port, line("a"), mine).json()["id"]
        batch = self.batch(server, line("a"), key=mine)
        response = self.respond(server, mine, input="Hi.")["id"]
        saved = {"name": "s", "messages": [{"role": "system", "content": "Sing. " * 40}]}
        self.assertEqual(request(server.port, "POST", "/v1/state/save", mine, saved).status, 200)
        paths = (f"/v1/files/{file}", f"/v1/files/{file}/content", f"/v1/batches/{batch}", f"/v1/responses/{response}",
                 f"/v1/responses/{response}/input_items", "/v1/state/s")
        for path in paths:
            self.assertEqual(request(server.port, "GET", path, mine).status, 200, path)
            self.assertEqual(request(server.port, "GET", path, theirs).status, 404, path)
        asked = request(server.port, "POST", "/v1/responses", theirs, {"input": "x", "previous_response_id": response, "max_output_tokens": 2})
        self.assertEqual(asked.status, 404)
        for path in (f"/v1/files/{file}", f"/v1/responses/{response}", "/v1/state/s"):
            self.assertEqual(request(server.port, "DELETE", path, theirs).status, 404, path)
        for path in ("/v1/files", "/v1/batches", "/v1/state"):
            self.assertEqual(request(server.port, "GET", path, theirs).json()["data"], [], path)
        explained = request(server.port, "POST", "/v1/state/explain", theirs, {"messages": saved["messages"]}).json()
        self.assertEqual((explained["cached_tokens"], explained["reason"]), (0, "no such prefix"))
        # A revoked key's batch begins no more lines.
        slow = self.batch(server, b"".join(line(f"fox-{i}", max_tokens=300) for i in range(60)), key=theirs)
        server.keys("revoke", "theirs")
        self.assertTrue(until(lambda: request(server.port, "GET", "/v1/models", theirs).status == 401))
        self.assertEqual(request(server.port, "GET", f"/v1/batches/{slow}", mine).status, 404)


if __name__ == "__main__":
    unittest.main()
