#!/usr/bin/env python3
"""The playground in Debian's Chromium: somebody types, reads the stream, edits, branches, regenerates, copies; nothing lands on the console; labels, contrast,
focus and phone width hold in the light and in the dark.

usage: playground.py BINARY [--pictures FOLDER] [unittest arguments]. The model inside the program answers. Without chromium and chromedriver: skipped (77)."""
import io
import json
import os
import shutil
import subprocess
import sys
import types
import unittest
import urllib.request
from contextlib import redirect_stdout

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "serve"))
from browser import ELEMENT, KEYS, Browser, missing  # noqa: E402
from running import Server, chat, until  # noqa: E402

BINARY = os.path.abspath(sys.argv.pop(1))
PICTURES = ""
if "--pictures" in sys.argv:
    at = sys.argv.index("--pictures")
    PICTURES = os.path.abspath(sys.argv.pop(at + 1))
    sys.argv.pop(at)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "accessible.js"), encoding="utf-8") as file:
    ACCESSIBLE = file.read()
READY = "return document.querySelector('#model').textContent.includes('context') && !!document.querySelector('#memory .gauge')"
ANSWERED = "return document.querySelectorAll('.turn.assistant .usage').length >= arguments[0] && document.querySelector('#stop').disabled"
FOCUS = """const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
const region = e.closest('header, aside, main');
return {what: e.tagName + '#' + e.id + ' ' + e.textContent.trim().slice(0, 20), region: region ? region.id || region.tagName : 'BODY',
  x: box.x, y: box.y, right: box.right, bottom: box.bottom, outline: parseFloat(style.outlineWidth), drawn: style.outlineStyle,
  shown: e.checkVisibility() && box.width > 0 && box.right > 0 && box.bottom > 0 && box.x < innerWidth && box.y < innerHeight}"""
# Counts how often the shown answer grew.
WATCH = """window.grown = new Set();
new MutationObserver(() => {
  const all = document.querySelectorAll('.turn.assistant .text');
  if (all.length) window.grown.add(all[all.length - 1].textContent.length);
}).observe(document.querySelector('#talk'), {childList: true, subtree: true, characterData: true});"""
# An answer that thinks, in pieces, as a model that reasons streams it.
THINKS = """const plain = window.fetch, pause = arguments[0] || 60;
const pieces = [{reasoning: 'First I look '}, {reasoning: 'at the lantern.'}, {content: 'It is '}, {content: '**lit**: `light()`.'}];
const usage = {prompt_tokens: 40, completion_tokens: 12, total_tokens: 52, completion_time: 0.5, prompt_tokens_details: {cached_tokens: 30}};
window.fetch = (path, options) => path !== '/v1/chat/completions' ? plain(path, options) : Promise.resolve(new Response(new ReadableStream({async start(out) {
  const send = (data) => { if (!options.signal.aborted) out.enqueue(new TextEncoder().encode('data: ' + data + '\\n\\n')); };
  options.signal.addEventListener('abort', () => out.error(options.signal.reason));
  for (const delta of pieces) { send(JSON.stringify({choices: [{index: 0, delta}]})); await new Promise((go) => setTimeout(go, pause)); }
  if (options.signal.aborted) return;
  send(JSON.stringify({choices: [], usage}));
  send('[DONE]');
  out.close();
}})));"""


class Playground(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(BINARY, "--ctx", "1024", "--users", "4", "--store", "64M")
        cls.browser = Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.stop()

    def setUp(self):
        self.browser.size(1280, 860)
        self.browser.scheme("light")
        self.browser.open(f"http://127.0.0.1:{self.server.port}/")
        self.assertTrue(self.browser.until(READY))

    def tearDown(self):
        self.assertEqual([line["message"] for line in self.browser.log()], [])

    def say(self, text, answers):
        self.browser.js("document.querySelector('#prompt').focus()")
        self.browser.press(text + KEYS["enter"])
        self.assertTrue(self.browser.until(ANSWERED, answers), self.browser.text("#error"))

    def turns(self):
        return self.browser.js("return [...document.querySelectorAll('.turn')].map("
                               "(t) => [t.classList.contains('user') ? 'user' : 'assistant', t.querySelector('.text').textContent])")

    def action(self, turn, name):
        """Presses a button under the message `turn`."""
        self.browser.js("const t = document.querySelectorAll('.turn')[arguments[0]];"
                        "[...t.querySelectorAll('button')].find((b) => (b.ariaLabel || b.textContent) === arguments[1]).click()", turn, name)

    def tree(self):
        return self.browser.js("return [...document.querySelectorAll('#tree .label')].map((l) => l.textContent)")

    def test_types_and_reads_the_stream(self):
        self.browser.js(WATCH)
        self.browser.js("document.querySelector('#max_tokens').value = 120; document.querySelector('#seed').value = 7")
        self.say("Tell me a short story about a fox and a lantern.", 1)
        turns = self.turns()
        self.assertEqual(turns[0], ["user", "Tell me a short story about a fox and a lantern."])
        self.assertGreater(len(turns[1][1]), 20)
        self.assertGreaterEqual(len(self.browser.js("return [...window.grown]")), 3, "the answer came at once")
        self.assertEqual(self.browser.js("return document.activeElement.id"), "prompt")
        self.assertRegex(self.browser.text("#rate"), r"^[\d.,]+ tokens/s$")
        self.assertRegex(self.browser.text("#limits"), r"Speed that memory allows\s+[\d,]+ of [\d,]+ tokens/s")
        self.assertRegex(self.browser.text(".usage"), r"\d+ reused\s+\d+ computed\s+\d+ written\s+[\d.]+ tokens/s, \d+ % of what memory allows")
        self.assertRegex(self.browser.text("#limits"), r"Context\s+\d+ of 1,024 tokens")
        # A second turn finds the first one kept.
        self.say("Go on.", 2)
        cached = self.browser.js("return nodes[4].usage.prompt_tokens_details.cached_tokens")
        self.assertGreater(cached, 20)
        self.assertIn(f"{cached} reused", self.browser.text(".turn:last-child .usage"))

    def test_shift_enter_makes_a_line_and_nothing_is_sent_empty(self):
        self.browser.js("document.querySelector('#prompt').focus()")
        self.browser.press("one")
        self.browser.chord(KEYS["shift"], KEYS["enter"])
        self.browser.press("two")
        self.assertEqual(self.browser.js("return document.querySelector('#prompt').value"), "one\ntwo")
        self.browser.js("document.querySelector('#prompt').value = '  '")
        self.browser.press(KEYS["enter"])
        self.assertEqual(self.turns(), [])

    def test_edits_branches_and_regenerates_and_nothing_is_lost(self):
        self.browser.js("document.querySelector('#max_tokens').value = 12")
        self.say("What is your name?", 1)
        first = self.turns()[1][1]
        self.action(1, "Regenerate")
        self.assertTrue(self.browser.until("return document.querySelector('.turn.assistant .actions .num')?.textContent === '2 of 2'"))
        self.action(1, "Previous version")
        self.assertEqual(self.turns()[1][1], first)
        self.assertEqual(self.browser.text(".turn.assistant .actions .num"), "1 of 2")
        # An edit goes beside the message; its answer beside the others.
        self.action(0, "Edit")
        self.assertEqual(self.browser.js("return document.activeElement.id + document.activeElement.value"), "editedWhat is your name?")
        self.browser.press(" And whose?" + KEYS["enter"])
        self.assertTrue(self.browser.until(ANSWERED, 1))
        self.assertEqual(self.turns()[0][1], "What is your name? And whose?")
        self.assertEqual(self.browser.text(".turn.user .actions .num"), "2 of 2")
        self.action(0, "Previous version")
        self.assertTrue(self.browser.until("return document.querySelector('.turn.user .text').textContent === 'What is your name?'"))
        # A branch from an answer in the middle: two questions behind one answer.
        self.action(1, "Previous version")
        self.say("First way.", 2)
        self.action(1, "Branch here")
        self.assertEqual(len(self.turns()), 2)
        self.say("Second way.", 2)
        self.assertEqual(self.browser.text(".turn:nth-child(3) .actions .num"), "2 of 2")
        tree = self.tree()
        self.assertEqual(len(tree), 9, tree)
        for text in ("What is your name?", "What is your name? And whose?", "First way.", "Second way."):
            self.assertIn(text, tree)
        # The tree is the way back to each.
        self.browser.js("[...document.querySelectorAll('#tree button')].find((b) => b.textContent === 'First way.').click()")
        self.assertEqual([text for role, text in self.turns() if role == "user"], ["What is your name?", "First way."])
        self.assertEqual(len(self.browser.all("#tree [aria-current]")), 1)
        self.browser.click("#fresh")
        self.assertEqual(self.turns(), [])
        self.assertEqual(len(self.tree()), 9)

    def test_thinking_is_folded_and_stays_as_the_reader_left_it(self):
        self.browser.js(THINKS, 150)
        self.browser.js("document.querySelector('#prompt').focus()")
        self.browser.press("Is it lit?" + KEYS["enter"])
        self.assertTrue(self.browser.until("return document.querySelector('.turn.assistant summary')?.textContent === 'Thinking...'"))
        self.assertFalse(self.browser.js("return document.querySelector('.turn.assistant details').open"))
        self.browser.click(".turn.assistant summary")
        self.assertTrue(self.browser.until("return document.querySelector('.turn.assistant .bubble > .text').textContent.startsWith('It is')"))
        self.assertTrue(self.browser.js("return document.querySelector('.turn.assistant details').open"))
        self.assertTrue(self.browser.until(ANSWERED, 1))
        self.assertEqual(self.browser.text(".turn.assistant summary"), "Thinking, 6 words")
        self.assertEqual(self.browser.js("return [...document.querySelectorAll('.assistant .text b, .assistant .text code')].map((e) => e.textContent)"),
                         ["lit", "light()"])
        widths = self.browser.js("return [...document.querySelectorAll('.usage .bar i')].map((e) => [e.className, Math.round(parseFloat(e.style.width))])")
        self.assertEqual(widths, [["c-reused", 58], ["c-computed", 19], ["c-written", 23]])

    def test_a_stream_can_be_stopped_and_what_came_stays(self):
        self.browser.js(THINKS, 2000)
        self.browser.js("document.querySelector('#prompt').focus()")
        self.browser.press("Wait." + KEYS["enter"])
        self.assertTrue(self.browser.until("return !!document.querySelector('.turn.assistant details')"))
        self.browser.press(KEYS["escape"])
        self.assertTrue(self.browser.until("return running === null && document.querySelector('#stop').disabled"))
        self.assertTrue(self.browser.js("return nodes[here].thinking.startsWith('First I look')"))
        self.assertEqual(self.browser.text("#error"), "")

    def test_the_sampler_reaches_the_request_and_the_code(self):
        self.say("Hello there.", 1)
        self.browser.js("const set = (id, v) => { const e = document.querySelector('#' + id); e.value = v; e.dispatchEvent(new Event('input')); };"
                        "set('temperature', 0); set('max_tokens', 9); set('seed', 5); set('top_k', 3); set('system', \"It's short.\")")
        self.assertEqual(self.browser.js("return document.querySelector('output[for=temperature]').textContent"), "0.00")
        self.browser.click("#copycurl")
        command = self.browser.text("#code")
        self.assertTrue(self.browser.until("return document.querySelector('#copied').textContent !== ''"))
        body = json.loads(command[command.index(" -d '") + 5:-1].replace("'\\''", "'"))
        self.assertEqual((body["temperature"], body["max_tokens"], body["seed"], body["top_k"]), (0, 9, 5, 3))
        self.assertEqual([m["content"] for m in body["messages"]], ["It's short.", "Hello there."])
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
            self.assertIn("choices", json.loads(done.stdout), done.stderr)
        # The Python text is run with a client that sends what OpenAI's would.
        self.browser.click("#copypython")
        program = self.browser.text("#code")

        class OpenAI:
            def __init__(self, base_url, api_key):
                self.chat = types.SimpleNamespace(completions=self)
                self.url = base_url + "/chat/completions"

            def create(self, extra_body, **fields):
                sent = urllib.request.Request(self.url, json.dumps({**fields, **extra_body}).encode(), {"Content-Type": "application/json"})
                with urllib.request.urlopen(sent, timeout=60) as answer:
                    message = json.load(answer)["choices"][0]["message"]
                return types.SimpleNamespace(choices=[types.SimpleNamespace(message=types.SimpleNamespace(**message))])
        module = types.ModuleType("openai")
        module.OpenAI = OpenAI
        sys.modules["openai"] = module
        self.addCleanup(sys.modules.pop, "openai")
        said = io.StringIO()
        with redirect_stdout(said):
            exec(compile(program, "copied", "exec"), {})
        expected = chat(self.server.port, text="Hello there.", messages=body["messages"], temperature=0, max_tokens=9, seed=5, top_k=3, top_p=0.95, min_p=0.05)
        self.assertEqual(said.getvalue().strip(), expected.json()["choices"][0]["message"]["content"].strip())

    def test_the_servers_refusal_is_shown_and_the_question_can_be_sent_again(self):
        self.browser.js("document.querySelector('#max_tokens').value = 0")
        self.browser.js("document.querySelector('#prompt').focus()")
        self.browser.press("Hello?" + KEYS["enter"])
        self.assertTrue(self.browser.until("return document.querySelector('#error').textContent.includes('max_tokens')"))
        self.assertEqual(self.turns(), [["user", "Hello?"]])
        self.browser.log()  # the browser itself notes a 400
        self.browser.js("document.querySelector('#max_tokens').value = 8")
        self.say("", 1)
        self.assertEqual(len(self.turns()), 2)
        self.assertEqual(self.browser.text("#error"), "")

    def check(self, where):
        found = self.browser.js(ACCESSIBLE)
        self.assertEqual(found["problems"], [], where)
        self.assertGreater(len(found["texts"]), 15, where)
        for text in found["texts"]:
            self.assertGreaterEqual(round(text["ratio"], 2), text["wanted"], f"{where}: contrast of {text}")
            self.assertGreaterEqual(text["px"], 12, f"{where}: {text}")
        for control in found["controls"]:
            self.assertGreaterEqual(round(control["border"], 2), 3, f"{where}: edge of {control}")
            self.assertGreaterEqual(min(control["width"], control["height"]), 24, f"{where}: size of {control}")
        for part in found["parts"]:
            self.assertGreaterEqual(round(part["ratio"], 2), 3, f"{where}: {part}")
        self.assertLessEqual(*self.browser.js("return [document.scrollingElement.scrollWidth, innerWidth]"), where)

    def test_contrast_sizes_and_structure_in_the_light_and_in_the_dark(self):
        self.browser.js(THINKS)
        self.say("Is it lit?", 1)
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            self.check(scheme)
            self.action(0, "Edit")
            self.check(scheme + ", editing")
            self.browser.press(KEYS["escape"])
        self.browser.scheme("light")
        self.browser.click("#theme")
        self.browser.click("#theme")
        self.assertEqual(self.browser.js("return document.querySelector('#theme').ariaLabel"), "Theme: dark")
        self.assertEqual(self.browser.js("return getComputedStyle(document.body).colorScheme"), "dark")
        self.browser.click("#theme")
        for element in self.browser.all("button, input, select, textarea, summary, [role=log], [role=region], [role=img]:not(#memory *), aside, section"):
            if self.browser.get(f"/element/{element}/displayed"):
                self.assertTrue(self.browser.label(element).strip(), self.browser.js("return arguments[0].outerHTML.slice(0, 120)",
                                                                                     {ELEMENT: element}))

    def test_the_keyboard_reaches_everything_in_the_order_of_the_page(self):
        self.say("Hello there.", 1)
        wanted = self.browser.js("return [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]"
                                 ".filter((e) => e.checkVisibility() && !e.disabled).length")
        self.browser.js("document.activeElement.blur(); document.querySelector('.skip').focus()")
        order = [self.browser.js(FOCUS)]
        for _ in range(wanted - 1):
            self.browser.press(KEYS["tab"])
            order.append(self.browser.js(FOCUS))
        regions = []
        for stop in order:
            self.assertTrue(stop["shown"], stop)
            self.assertTrue(stop["outline"] >= 2 and stop["drawn"] != "none", stop)
            if not regions or regions[-1] != stop["region"]:
                regions.append(stop["region"])
        self.assertEqual(regions, ["HEADER", "treeside", "MAIN", "side"])
        self.assertEqual(len({stop["what"] + str(stop["x"]) for stop in order}), wanted)
        # Tab goes on to the window: there is no trap.
        self.browser.press(KEYS["tab"])
        self.assertNotEqual(self.browser.js(FOCUS)["region"], "side")
        # The first stop leads past everything to the message.
        self.browser.js("document.querySelector('.skip').focus()")
        self.browser.press(KEYS["enter"])
        self.assertEqual(self.browser.js("return document.activeElement.id"), "prompt")

    def test_a_phone_shows_everything_without_scrolling_sideways(self):
        self.browser.js(THINKS)
        self.say("Is it lit, and what does averyveryverylongwordthatnobodywouldeverbreakinanylanguageorplacewhatsoever do?", 1)
        for width in (320, 390, 760, 1180):
            self.browser.size(width, 780, phone=width < 700)
            for scheme in ("light", "dark"):
                self.browser.scheme(scheme)
                self.check(f"{width}, {scheme}")
            self.assertTrue(self.browser.js("const b = document.querySelector('#send').getBoundingClientRect();"
                                            "return b.bottom <= innerHeight && b.right <= innerWidth"))
        self.browser.size(390, 844, phone=True)
        for opener, panel in (("#opentree", "#treeside"), ("#openside", "#side")):
            self.browser.click(opener)
            self.assertEqual(self.browser.js("return document.querySelector(arguments[0]).ariaExpanded", opener), "true")
            self.assertTrue(self.browser.js("return document.querySelector(arguments[0]).checkVisibility()", panel))
            self.check(f"390, {panel}")
            self.browser.press(KEYS["escape"])
            self.assertFalse(self.browser.js("return document.querySelector(arguments[0]).checkVisibility()", panel))
            self.assertEqual(self.browser.js("return '#' + document.activeElement.id"), opener)


class WithKeys(unittest.TestCase):
    def test_the_page_asks_for_the_key_and_shows_what_it_has_used(self):
        server = Server(BINARY, "--ctx", "1024", "--users", "2", "--store", "32M")
        self.addCleanup(server.stop)
        key = server.create("me", "--rpm", "30", "--tpm", "20000")
        self.assertTrue(until(lambda: chat(server.port).status == 401))
        browser = Browser()
        self.addCleanup(browser.close)
        browser.open(f"http://127.0.0.1:{server.port}/")
        self.assertTrue(browser.until("return document.querySelector('#model').textContent === 'this server asks for a key'"))
        noted = [line for line in browser.log() if line["source"] != "network"]
        self.assertEqual(noted, [])
        browser.press(key + KEYS["enter"])
        self.assertTrue(browser.until(READY))
        browser.js("document.querySelector('#max_tokens').value = 16; document.querySelector('#prompt').focus()")
        browser.press("Hello." + KEYS["enter"])
        self.assertTrue(browser.until(ANSWERED, 1), browser.text("#error"))
        self.assertRegex(browser.text("#limits"), r"(?s)Requests of this key\s+\d+ of 30.*Tokens of this key\s+[\d,]+ of 20,000")
        self.assertNotIn(key, browser.text("#code"))
        self.assertIn("$SLUICE_KEY", browser.text("#code"))
        self.assertEqual([line for line in browser.log() if "favicon" not in line["message"]], [])


class Pictures(unittest.TestCase):
    """For docs/: the page as it is, with the answers of the model inside."""

    @unittest.skipUnless(PICTURES, "no --pictures")
    def test_pictures(self):
        server = Server(BINARY, "--ctx", "1024", "--users", "4", "--store", "64M")
        self.addCleanup(server.stop)
        browser = Browser()
        self.addCleanup(browser.close)
        browser.size(1280, 860)
        browser.open(f"http://127.0.0.1:{server.port}/")
        self.assertTrue(browser.until("return !!document.querySelector('#memory .gauge')"))
        browser.js("for (const [id, v] of [['temperature', 0.6], ['max_tokens', 70], ['seed', 11]]) {"
                   " const e = document.querySelector('#' + id); e.value = v; e.dispatchEvent(new Event('input')); }")
        turns = 0
        for text in ("Tell me a short story about a fox and a lantern.", "What did the fox find?"):
            turns += 1
            browser.js("document.querySelector('#prompt').focus()")
            browser.press(text + KEYS["enter"])
            self.assertTrue(browser.until(ANSWERED, turns))
        browser.js("document.querySelector('#seed').value = 12;"
                   "[...document.querySelectorAll('.turn:nth-child(2) button')].find((b) => b.textContent === 'Regenerate').click()")
        self.assertTrue(browser.until("return document.querySelectorAll('.turn').length === 2 && document.querySelector('#stop').disabled"))
        browser.js("document.querySelector('#prompt').focus()")
        browser.press("And where did it go?" + KEYS["enter"])
        self.assertTrue(browser.until(ANSWERED, 2))
        self.assertTrue(until(lambda: browser.js("return !document.hidden")))
        browser.js("return memory()")
        for name, scheme, width, height, scale, phone in (("playground", "light", 1280, 860, 1, False), ("playground-dark", "dark", 1280, 860, 1, False),
                                                          ("playground-phone", "dark", 390, 844, 2, True)):
            browser.size(width, height, scale, phone)
            browser.scheme(scheme)
            browser.js("const s = document.querySelector('#scroll'); s.scrollTop = s.scrollHeight")
            browser.screenshot(f"{PICTURES}/{name}.png")
            self.assertLess(os.path.getsize(f"{PICTURES}/{name}.png"), 1 << 20)


if __name__ == "__main__":
    if missing():
        print(f"skipped: {' and '.join(missing())} missing; `./dev playground` installs what it needs")
        sys.exit(77)
    unittest.main()
