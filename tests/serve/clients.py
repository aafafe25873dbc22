#!/usr/bin/env python3
"""The clients that people have, unchanged, against a real `sluice serve`: openai, anthropic, groq, ai21, langchain-openai, litellm from PyPI.

usage: clients.py BINARY FOLDER [unittest arguments]. FOLDER holds the packages of clients.txt (`./dev clients` puts them there); without it the test is
skipped. The model inside the program answers: its words mean little, so what is checked is shape, schema and count."""
import json
import logging
import os
import pathlib
import sys
import time
import typing
import unittest

from running import Server, request, until

BINARY = os.path.abspath(sys.argv.pop(1))
FOLDER = pathlib.Path(sys.argv.pop(1))
if not (FOLDER / "openai").is_dir():
    print(f"skipped: the clients are not in {FOLDER}; ./dev clients fetches them from PyPI")
    sys.exit(77)
sys.path.insert(0, str(FOLDER))
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch one
for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "AI21_API_KEY", "LANGSMITH_TRACING", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
    os.environ.pop(name, None)

import pydantic  # noqa: E402

MODEL = "sluice-jamba"
USER = [{"role": "user", "content": "Say something."}]
WEATHER = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
           "required": ["city", "days"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER, "strict": True}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


class Pet(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    kind: str = pydantic.Field(pattern="^(cat|dog)$")
    age: int = pydantic.Field(ge=0, le=99)


# Anthropic's client turns patterns and bounds into words of the description; an enumeration it leaves as it is.
class Kind(pydantic.BaseModel):
    kind: typing.Literal["cat", "dog"]


def setUpModule():
    global server, KEY, BASE
    logging.disable(logging.WARNING)
    server = Server(BINARY, "--ctx", "2048", "--store", "64M", "--users", "4")
    assert server.port, server.stderr()
    KEY = server.create("clients")
    assert until(lambda: request(server.port, "GET", "/v1/models").status == 401)
    BASE = f"http://127.0.0.1:{server.port}"


def tearDownModule():
    server.stop()


class Case(unittest.TestCase):
    def assert_weather(self, arguments):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        self.assertIn(arguments["city"], ("Oslo", "Rome"))
        self.assertIn(arguments["days"], range(1, 10))
        self.assertEqual(set(arguments), {"city", "days"})


class OpenAi(Case):
    @classmethod
    def setUpClass(cls):
        import openai
        cls.openai = openai
        cls.client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_chat(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=8, n=2, seed=1, logprobs=True, top_logprobs=3)
        self.assertEqual(len(answer.choices), 2)
        self.assertEqual(len(answer.choices[0].logprobs.content[0].top_logprobs), 3)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))

    def test_stream(self):
        whole = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=12, seed=3).choices[0].message.content
        chunks = list(self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=12, seed=3, stream=True,
                                                          stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole)
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)
        # The helper wants an answer that ends by itself.
        stopped = {"model": MODEL, "messages": USER, "max_tokens": 200, "seed": 3, "stop": ["e", "a"]}
        with self.client.chat.completions.stream(**stopped) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].message.content,
                             self.client.chat.completions.create(**stopped).choices[0].message.content)

    def test_tools(self):
        for choice in ("required", NAMED):
            call = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=120, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False).choices[0]
            self.assertEqual(call.finish_reason, "tool_calls")
            self.assertEqual(call.message.tool_calls[0].function.name, "get_weather")
            self.assert_weather(call.message.tool_calls[0].function.arguments)
        back = USER + [call.message, {"role": "tool", "tool_call_id": call.message.tool_calls[0].id, "content": "rain"}]
        self.assertIsNone(self.client.chat.completions.create(model=MODEL, messages=back, max_tokens=8, tools=[TOOL], tool_choice="none")
                          .choices[0].message.tool_calls)
        with self.client.chat.completions.stream(model=MODEL, messages=USER, max_tokens=120, tools=[TOOL], tool_choice="required", parallel_tool_calls=False) as stream:
            events = {event.type for event in stream}
            self.assert_weather(stream.get_final_completion().choices[0].message.tool_calls[0].function.arguments)
        self.assertIn("tool_calls.function.arguments.done", events)

    def test_schema(self):
        pet = self.client.chat.completions.parse(model=MODEL, messages=USER, max_tokens=80, response_format=Pet).choices[0].message.parsed
        self.assertIn(pet.kind, ("cat", "dog"))

    def test_completions(self):
        answer = self.client.completions.create(model=MODEL, prompt=["Once", "There was"], n=2, max_tokens=4, echo=True, logprobs=1)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2, 3])
        self.assertTrue(all(c.text.startswith(("Once", "There was")[c.index // 2]) for c in answer.choices))
        for c in answer.choices:
            self.assertEqual(len(c.logprobs.tokens), len(c.logprobs.token_logprobs))
            self.assertEqual("".join(c.logprobs.tokens), c.text)
        texts = {}
        for chunk in self.client.completions.create(model=MODEL, prompt=["Once", "There was"], max_tokens=4, stream=True):
            texts[chunk.choices[0].index] = texts.get(chunk.choices[0].index, "") + chunk.choices[0].text
        self.assertEqual(set(texts), {0, 1})

    def test_responses(self):
        first = self.client.responses.create(model=MODEL, input="Who lives by the sea?", max_output_tokens=12)
        self.assertTrue(first.output_text)
        self.assertEqual(self.client.responses.retrieve(first.id).output_text, first.output_text)
        second = self.client.responses.create(model=MODEL, input="And who else?", previous_response_id=first.id, max_output_tokens=12)
        self.assertGreater(second.usage.input_tokens_details.cached_tokens, 0)
        with self.client.responses.stream(model=MODEL, input="Who lives by the sea?", max_output_tokens=12) as stream:
            events = list(stream)
        self.assertEqual(events[-1].response.output_text, "".join(e.delta for e in events if e.type == "response.output_text.delta"))
        self.client.responses.delete(first.id)
        with self.assertRaises(self.openai.NotFoundError):
            self.client.responses.retrieve(first.id)

    def test_batches(self):
        lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions",
                  "body": {"model": MODEL, "max_tokens": 3 + i, "seed": i, "messages": USER}} for i in range(3)]
        data = "\n".join(json.dumps(line) for line in lines).encode()
        file = self.client.files.create(file=("lines.jsonl", data), purpose="batch")
        batch = self.client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        end = time.monotonic() + 30
        while batch.status not in ("completed", "failed", "expired") and time.monotonic() < end:
            time.sleep(0.1)
            batch = self.client.batches.retrieve(batch.id)
        self.assertEqual((batch.status, batch.request_counts.completed), ("completed", 3))
        answers = [json.loads(line) for line in self.client.files.content(batch.output_file_id).text.splitlines()]
        texts = {a["custom_id"]: a["response"]["body"]["choices"][0]["message"]["content"] for a in answers}
        alone = {line["custom_id"]: self.client.chat.completions.create(**line["body"]).choices[0].message.content for line in lines}
        self.assertEqual(texts, alone)

    def test_embeddings(self):
        vectors = self.client.embeddings.create(model=MODEL, input=["a cat", "a dog"])  # base64 on the wire
        plain = self.client.embeddings.create(model=MODEL, input="a cat", encoding_format="float")
        self.assertEqual(len(vectors.data), 2)
        self.assertAlmostEqual(vectors.data[0].embedding[0], plain.data[0].embedding[0], 5)

    def test_errors(self):
        with self.assertRaises(self.openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=MODEL, messages=USER, extra_body={"max_token": 5})
        self.assertEqual(caught.exception.param, "max_token")
        self.assertIn("'max_tokens'", str(caught.exception))
        with self.assertRaises(self.openai.NotFoundError):
            self.client.chat.completions.create(model="gpt-5", messages=USER)
        with self.assertRaises(self.openai.AuthenticationError):
            self.openai.OpenAI(base_url=f"{BASE}/v1", api_key="wrong", max_retries=0).models.list()


class Anthropic(Case):
    @classmethod
    def setUpClass(cls):
        import anthropic
        cls.anthropic = anthropic
        cls.client = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)
        cls.tool = {"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER}

    def test_messages(self):
        answer = self.client.messages.create(model=MODEL, max_tokens=8, messages=USER, system="Be brief.", stop_sequences=["###"])
        self.assertEqual(answer.content[0].type, "text")
        self.assertIn(answer.stop_reason, ("end_turn", "max_tokens"))
        self.assertTrue(answer._request_id.startswith("req_"))

    def test_stream(self):
        with self.client.messages.stream(model=MODEL, max_tokens=12, messages=USER) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(final.content[0].text, text)
        self.assertGreater(final.usage.output_tokens, 0)
        events = [event.type for event in self.client.messages.create(model=MODEL, max_tokens=4, messages=USER, stream=True)]
        self.assertEqual((events[0], events[-2], events[-1]), ("message_start", "message_delta", "message_stop"))

    def test_tools(self):
        answer = self.client.messages.create(model=MODEL, max_tokens=80, messages=USER, tools=[self.tool], tool_choice={"type": "any", "disable_parallel_tool_use": True})
        self.assertEqual(answer.stop_reason, "tool_use")
        call = answer.content[0]
        self.assert_weather(call.input)
        back = USER + [{"role": "assistant", "content": answer.content},
                       {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}]
        again = self.client.messages.create(model=MODEL, max_tokens=8, messages=back, tools=[self.tool], tool_choice={"type": "none"})
        self.assertNotEqual(again.stop_reason, "tool_use")
        with self.client.messages.stream(model=MODEL, max_tokens=80, messages=USER, tools=[self.tool], tool_choice={"type": "tool", "name": "get_weather"}) as stream:
            self.assert_weather(stream.get_final_message().content[0].input)

    def test_schema(self):
        answer = self.client.messages.parse(model=MODEL, max_tokens=80, messages=USER, output_format=Kind)
        self.assertIn(answer.parsed_output.kind, ("cat", "dog"))

    def test_cache_control_and_count_tokens(self):
        system = [{"type": "text", "text": "You tell stories of the sea and of the people who live by it. " * 12, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        first = self.client.messages.create(model=MODEL, max_tokens=2, system=system, messages=USER).usage
        self.assertGreater(first.cache_creation_input_tokens, 100)
        self.assertEqual(first.cache_creation.ephemeral_1h_input_tokens, first.cache_creation_input_tokens)
        other = [{"role": "user", "content": "Another question altogether."}]
        second = self.client.messages.create(model=MODEL, max_tokens=2, system=system, messages=other).usage
        self.assertEqual(second.cache_read_input_tokens, first.cache_creation_input_tokens)
        self.assertEqual(second.cache_creation_input_tokens, 0)
        counted = self.client.messages.count_tokens(model=MODEL, system=system, messages=other).input_tokens
        self.assertEqual(counted, second.input_tokens + second.cache_read_input_tokens)

    def test_errors(self):
        with self.assertRaises(self.anthropic.BadRequestError) as caught:
            self.client.messages.create(model=MODEL, max_tokens=5, messages=USER, extra_body={"stop_sequence": ["a"]})
        self.assertIn("'stop_sequences'", str(caught.exception))
        self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        with self.assertRaises(self.anthropic.AuthenticationError):
            self.anthropic.Anthropic(base_url=BASE, api_key="wrong", max_retries=0).messages.create(model=MODEL, max_tokens=5, messages=USER)


class Groq(Case):
    @classmethod
    def setUpClass(cls):
        import groq
        cls.groq = groq
        cls.client = groq.Groq(base_url=BASE, api_key=KEY, max_retries=0)

    def test_chat(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=8, service_tier="on_demand", seed=7, reasoning_format="parsed")
        self.assertTrue(answer.x_groq.id.startswith("req_"))
        self.assertEqual(answer.x_groq.seed, 7)
        self.assertEqual(answer.service_tier, "on_demand")
        self.assertGreater(answer.usage.total_time, 0)
        self.assertIsNotNone(answer.usage.queue_time)

    def test_stream(self):
        chunks = list(self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=8, stream=True))
        self.assertTrue(chunks[0].x_groq.id)
        self.assertGreater(chunks[-1].x_groq.usage.completion_time, 0)

    def test_tools_schema_and_documents(self):
        call = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=120, tools=[TOOL], tool_choice="required",
                                                   parallel_tool_calls=False).choices[0]
        self.assert_weather(call.message.tool_calls[0].function.arguments)
        schema = {"type": "json_schema", "json_schema": {"name": "pet", "schema": Pet.model_json_schema(), "strict": True}}
        answer = self.client.chat.completions.create(model=MODEL, messages=USER, max_tokens=80, response_format=schema,
                                                     documents=[{"source": {"type": "text", "text": "Cats purr."}}])
        Pet.model_validate_json(answer.choices[0].message.content)

    def test_embeddings_and_errors(self):
        self.assertEqual(len(self.client.embeddings.create(model=MODEL, input=["a", "b"]).data), 2)
        with self.assertRaises(self.groq.BadRequestError):
            self.client.chat.completions.create(model=MODEL, messages=USER, search_settings={"country": "no"})


class Ai21(Case):
    @classmethod
    def setUpClass(cls):
        import ai21
        from ai21.models.chat import ChatMessage, ToolDefinition, ToolFunction  # noqa: F401
        cls.client = ai21.AI21Client(api_key=KEY, api_host=f"{BASE}/studio/v1", num_retries=0)
        cls.messages = [ChatMessage(role="user", content="Say something.")]

    def test_chat(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=self.messages, max_tokens=8, temperature=0.4, top_p=1.0, n=1,
                                                     documents=[{"content": "The sky is green.", "metadata": {"topic": "sky"}}])
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.usage.completion_tokens + answer.usage.prompt_tokens, answer.usage.total_tokens)

    def test_stream(self):
        chunks = list(self.client.chat.completions.create(model=MODEL, messages=self.messages, max_tokens=8, stream=True))
        self.assertTrue(all(chunk.choices for chunk in chunks))
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_tools_and_json(self):
        tool = {"type": "function", "function": {key: value for key, value in TOOL["function"].items() if key != "strict"}}
        answer = self.client.chat.completions.create(model=MODEL, messages=self.messages, max_tokens=120, tools=[tool], tool_choice="required",
                                                     parallel_tool_calls=False)
        self.assert_weather(answer.choices[0].message.tool_calls[0].function.arguments)
        answer = self.client.chat.completions.create(model=MODEL, messages=self.messages, max_tokens=200, response_format={"type": "json_object"})
        if answer.choices[0].finish_reason == "stop":
            json.loads(answer.choices[0].message.content)

    def test_complete(self):
        # The SDK has lost Jurassic's call; this is what its 2.15.2 sent.
        body = {"prompt": "Once upon", "numResults": 2, "maxTokens": 4, "topKReturn": 2, "countPenalty": {"scale": 0.2, "applyToStopwords": False}}
        answer = request(server.port, "POST", f"/studio/v1/{MODEL}/complete", KEY, body).json()
        self.assertEqual(len(answer["completions"]), 2)
        tokens = answer["prompt"]["tokens"]
        self.assertEqual("".join(token["generatedToken"]["token"] for token in tokens), "Once upon")
        self.assertEqual(tokens[-1]["textRange"]["end"], len("Once upon"))


class LangChain(Case):
    @classmethod
    def setUpClass(cls):
        import langchain_openai
        cls.module = langchain_openai
        cls.chat = langchain_openai.ChatOpenAI(model=MODEL, base_url=f"{BASE}/v1", api_key=KEY, max_tokens=120, max_retries=0, stream_usage=True)

    def test_chat_and_stream(self):
        answer = self.chat.invoke("Say something.")
        self.assertGreater(answer.usage_metadata["output_tokens"], 0)
        whole = None
        for chunk in self.chat.stream("Say something."):
            whole = chunk if whole is None else whole + chunk
        self.assertGreater(whole.usage_metadata["output_tokens"], 0)

    def test_tools_and_schema(self):
        call = self.chat.bind_tools([TOOL], tool_choice="get_weather").invoke("Weather?").tool_calls[0]
        self.assert_weather(call["args"])
        for method in ("json_schema", "function_calling"):
            pet = self.chat.with_structured_output(Pet, method=method).invoke("A pet.")
            self.assertIsInstance(pet, Pet)

    def test_completions_and_embeddings(self):
        answers = self.module.OpenAI(model=MODEL, base_url=f"{BASE}/v1", api_key=KEY, max_tokens=4, max_retries=0).generate(["Once", "There was"])
        self.assertEqual(len(answers.generations), 2)
        vectors = self.module.OpenAIEmbeddings(model=MODEL, base_url=f"{BASE}/v1", api_key=KEY, check_embedding_ctx_length=False).embed_documents(["a", "b"])
        self.assertEqual(len(vectors), 2)


class LiteLlm(Case):
    @classmethod
    def setUpClass(cls):
        import litellm
        litellm.telemetry = False
        litellm.num_retries = 0
        cls.litellm = litellm

    def routes(self):
        return (("openai", f"{BASE}/v1"), ("groq", f"{BASE}/openai/v1"), ("anthropic", BASE), ("text-completion-openai", f"{BASE}/v1"))

    def test_chat_and_stream_by_every_provider(self):
        for provider, base in self.routes():
            with self.subTest(provider):
                common = {"model": f"{provider}/{MODEL}", "api_base": base, "api_key": KEY, "messages": USER, "max_tokens": 8}
                self.assertGreater(self.litellm.completion(**common).usage.completion_tokens, 0)
                self.assertGreater(len(list(self.litellm.completion(**common, stream=True))), 1)

    def test_tools_and_schema(self):
        for provider, base in self.routes()[:3]:
            with self.subTest(provider):
                common = {"model": f"{provider}/{MODEL}", "api_base": base, "api_key": KEY, "messages": USER, "max_tokens": 120}
                answer = self.litellm.completion(**common, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
                self.assert_weather(answer.choices[0].message.tool_calls[0].function.arguments)
        common = {"model": f"openai/{MODEL}", "api_base": f"{BASE}/v1", "api_key": KEY, "messages": USER, "max_tokens": 80}
        Pet.model_validate_json(self.litellm.completion(**common, response_format=Pet).choices[0].message.content)

    def test_embeddings(self):
        self.assertEqual(len(self.litellm.embedding(model=f"openai/{MODEL}", api_base=f"{BASE}/v1", api_key=KEY, input=["a", "b"]).data), 2)


if __name__ == "__main__":
    unittest.main()
