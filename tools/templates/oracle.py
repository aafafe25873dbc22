#!/usr/bin/env python3
"""Renders templates with jinja2, set up as Hugging Face sets it up: the oracle of the differential tests in src/text/.

usage: oracle.py CASES.json. CASES is a list of {"source": ..., "context": {...}}; prints a list of {"text": ...} or {"error": ...}.
Exits 77 if jinja2 is not installed."""
import datetime
import json
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
except ImportError:
    print("oracle: python3-jinja2 is not installed", file=sys.stderr)
    sys.exit(77)

NOW = datetime.datetime(2026, 11, 22, 5, 6, 7, 89)


class Generation(jinja2.ext.Extension):
    """{% generation %}: marks the assistant's part for training; rendering, its body is a call block."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("run"), [], [], body).set_lineno(line)

    def run(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    env = environment()
    compiled = {}
    answers = []
    for case in cases:
        source = case["source"]
        try:
            if source not in compiled:
                compiled[source] = env.from_string(source)
            answers.append({"text": compiled[source].render(case["context"])})
        except Exception as error:  # whatever it is, the template does not render
            answers.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
