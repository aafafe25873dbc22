#!/usr/bin/env python3
"""An answer that the client begins and the model goes on with, under a constraint: beginning and answer together obey. With the model inside.

usage: prefill.py BINARY [unittest arguments]"""
import json
import os
import re
import sys
import unittest

from running import Server, request

BINARY = os.path.abspath(sys.argv.pop(1))
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look_up", "strict": True, "parameters": {
    "type": "object", "properties": {"word": {"enum": ["mill", "river"]}}, "required": ["word"], "additionalProperties": False}}}


class Prefill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(BINARY)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def chat(self, begun, **fields):
        # A hot model may fill every gap with the 64 blanks that the form allows: 400 tokens end it all the same, 100 did not.
        messages = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": begun}]
        return request(self.server.port, "POST", "/v1/chat/completions", body={"messages": messages, "max_tokens": 400, **fields})

    def test_json_goes_on_where_the_client_left_it(self):
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
        for begun in ('{"name": "A', '{"name":"B', '{\n  "name": "Carl",\n  "age": 4', '{"na'):
            for seed in range(3):
                answer = self.chat(begun, response_format=form, seed=seed, temperature=1.5)
                self.assertEqual(answer.status, 200, answer.body)
                whole = json.loads(begun + answer.json()["choices"][0]["message"]["content"])
                self.assertEqual(sorted(whole), ["age", "name"])
                self.assertTrue(0 <= whole["age"] <= 99 and len(whole["name"]) <= 12, whole)

    def test_a_pattern_goes_on(self):
        answer = self.chat("2026-0", guided_regex="[0-9]{4}-[0-9]{2}-[0-9]{2}")
        self.assertRegex("2026-0" + answer.json()["choices"][0]["message"]["content"], re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z"))

    def test_a_call_goes_on(self):
        answer = self.chat('<tool_call>\n{"name": "look_up", "arguments": {"wor', tools=[TOOL], tool_choice="required")
        self.assertEqual(answer.status, 200, answer.body)
        call = answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]
        self.assertEqual(call["name"], "look_up")
        self.assertIn(json.loads(call["arguments"])["word"], ("mill", "river"))

    def test_what_cannot_begin_is_refused_with_its_place(self):
        answer = self.chat('{"name": 7', response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}})
        self.assertEqual(answer.status, 400)
        self.assertIn("byte 9 ", answer.json()["error"]["message"])

    def test_anthropic_messages_too(self):
        body = {"max_tokens": 100, "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": '{"name": "'}],
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
        answer = request(self.server.port, "POST", "/v1/messages", body=body)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(sorted(json.loads('{"name": "' + answer.json()["content"][0]["text"])), ["age", "name"])


if __name__ == "__main__":
    unittest.main()
