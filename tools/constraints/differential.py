#!/usr/bin/env python3
"""Differential fuzzer: random small schemas and instances, our constraint compiler against jsonschema.

usage: differential.py TEXT_BENCH_BINARY [--schemas N] [--instances M] [--seed S]
TEXT_BENCH_BINARY is build/release/text_bench. Needs jsonschema from PyPI. An instance that jsonschema refuses must not be accepted; one that it accepts,
written canonically (members in the order of the schema), must be. Exits 1 on the first kind, or if more than 1 in 200 of the second kind is refused."""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import jsonschema

# No line break at the end of a string: Python's $ matches before it. No 2.0: canonical integers have no point.
WORDS = ["", "a", "b", "ab", "ba", "abc", "0", "10", "é", "日本", "a b", "\"", "\\", "\nb", "2024-02-29"]
NUMBERS = [0, 1, -1, 2, 3, 5, 10, -7, 0.5, -0.5, 1.25, 100]
PATTERNS = ["^a", "b$", "^[ab]*$", "^.{1,2}$", "[0-9]", "^(a|bc)+$"]
KEYS = ["a", "b", "ab", "c", "10"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def schema(self, depth):
        if self.chance(4):
            return self.pick(True, {}, False) if depth < 3 else True
        out = {}
        kind = self.pick("string", "number", "integer", "boolean", "null", "array", "object", "object", "array", None)
        if depth <= 0 and kind in ("array", "object"):
            kind = "string"
        if kind is None:
            return self.mixed(depth)
        if self.chance(85):
            out["type"] = kind if self.chance(85) else [kind, self.pick("null", "string", "integer")]
            if isinstance(out["type"], list) and out["type"][0] == out["type"][1]:
                out["type"] = kind
        getattr(self, "of_" + kind)(out, depth)
        if depth > 0 and self.chance(12):
            out[self.pick("allOf", "anyOf", "oneOf")] = [self.scalar() for _ in range(self.random.randint(1, 3))]
        if self.chance(6):
            out["not"] = self.scalar()
        return out

    def mixed(self, depth):
        choice = self.random.randint(0, 3)
        if choice == 0:
            return {"enum": [self.value(1) for _ in range(self.random.randint(1, 4))]}
        if choice == 1:
            return {"const": self.value(1)}
        if choice == 2 and depth > 0:
            return {"anyOf": [self.schema(depth - 1) for _ in range(self.random.randint(1, 3))]}
        condition = {"if": self.scalar(), "then": self.scalar()}
        if self.chance(50):
            condition["else"] = self.scalar()
        return condition

    def scalar(self):
        kind = self.pick("string", "number", "integer", "boolean", "null")
        out = {"type": kind}
        getattr(self, "of_" + kind)(out, 0)
        return out

    def of_string(self, out, _):
        if self.chance(25):
            out["minLength"] = self.random.randint(0, 2)
        if self.chance(25):
            out["maxLength"] = self.random.randint(0, 3)
        if self.chance(25):
            out["pattern"] = self.pick(*PATTERNS)

    def of_number(self, out, _):
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if self.chance(18):
                out[keyword] = self.pick(*NUMBERS)
        if self.chance(12):
            out["multipleOf"] = self.pick(1, 2, 3, 0.5, 0.25)

    of_integer = of_number

    def of_boolean(self, out, _):
        pass

    of_null = of_boolean

    def of_array(self, out, depth):
        if self.chance(70):
            out["items"] = self.schema(depth - 1)
        if self.chance(25):
            out["prefixItems"] = [self.schema(depth - 1) for _ in range(self.random.randint(1, 2))]
        if self.chance(25):
            out["minItems"] = self.random.randint(0, 2)
        if self.chance(25):
            out["maxItems"] = self.random.randint(0, 3)

    def of_object(self, out, depth):
        names = self.random.sample(KEYS, self.random.randint(0, 3))
        if names:
            out["properties"] = {name: self.schema(depth - 1) for name in names}
        if self.chance(50):
            out["required"] = self.random.sample(KEYS, self.random.randint(0, 2))
        if self.chance(45):
            out["additionalProperties"] = self.pick(False, False, True, self.scalar())
        if self.chance(15):
            out["patternProperties"] = {self.pick("^a", "[0-9]"): self.scalar()}
        if self.chance(10):
            out["maxProperties"] = self.random.randint(0, 3)
        if self.chance(8):
            out["dependentRequired"] = {self.pick(*KEYS): [self.pick(*KEYS)]}
        if self.chance(8):
            out["propertyNames"] = {"maxLength": 1}

    def value(self, depth):
        kind = self.random.randint(0, 7 if depth > 0 else 5)
        if kind <= 1:
            return self.pick(*WORDS)
        if kind <= 3:
            return self.pick(*NUMBERS)
        if kind == 4:
            return self.pick(True, False)
        if kind == 5:
            return None
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return {name: self.value(depth - 1) for name in self.random.sample(KEYS, self.random.randint(0, 3))}

    def towards(self, schema, depth):
        """A value that the schema may well admit, members in canonical order."""
        if not isinstance(schema, dict) or self.chance(7) or depth < 0:
            return self.value(1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.pick(*schema["enum"])
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema and "type" not in schema:
                return self.towards(self.pick(*schema[keyword]), depth - 1)
        kind = schema.get("type", self.pick("string", "number", "object", "array"))
        kind = self.pick(*kind) if isinstance(kind, list) else kind
        if kind == "string":
            return self.pick(*WORDS)
        if kind == "integer":
            return self.pick(*[n for n in NUMBERS if isinstance(n, int)])
        if kind == "number":
            return self.pick(*NUMBERS)
        if kind == "boolean":
            return self.pick(True, False)
        if kind == "null":
            return None
        if kind == "array":
            prefix = schema.get("prefixItems", [])
            count = self.random.randint(schema.get("minItems", 0), max(schema.get("minItems", 0), schema.get("maxItems", 3)))
            return [self.towards(prefix[i] if i < len(prefix) else schema.get("items", True), depth - 1) for i in range(count)]
        properties, required = schema.get("properties", {}), schema.get("required", [])
        order = list(properties) + [name for name in required if name not in properties]
        out = {name: self.towards(properties.get(name, True), depth - 1) for name in order if name in required or self.chance(60)}
        for name in KEYS:
            if name not in order and self.chance(15):
                out[name] = self.value(0)
        return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--schemas", type=int, default=3000)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    maker = Maker(options.seed)
    schemas = [maker.schema(3) for _ in range(options.schemas)]
    instances = [[maker.towards(s, 4) for _ in range(options.instances)] for s in schemas]

    def text(value):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        jobs = os.path.join(folder, "jobs.json")
        pathlib.Path(jobs).write_text(json.dumps([{"schema": json.dumps(s), "instances": [text(i) for i in group]}
                                                  for s, group in zip(schemas, instances)]))
        subprocess.run([options.binary, "--benchmark_filter=constraint/instances"], env={**os.environ, "SLUICE_CONSTRAINT_JOBS": jobs}, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        results = json.loads(pathlib.Path(jobs + ".out").read_text())
    refused = sum(bool(r["error"]) for r in results)
    valid = valid_refused = invalid = wrong = 0
    for schema, group, result in zip(schemas, instances, results):
        validator = jsonschema.Draft202012Validator(schema)
        for instance, accepted in zip(group, result["accepted"]):
            good = validator.is_valid(instance)
            valid += good
            invalid += not good
            valid_refused += good and not accepted
            if not good and accepted:
                wrong += 1
                print(f"ACCEPTED: {text(instance)}  by  {json.dumps(schema, ensure_ascii=False)}")
            elif good and not accepted and valid_refused <= 12:
                print(f"refused though valid: {text(instance)}  by  {json.dumps(schema, ensure_ascii=False)}")
    print(f"{len(schemas)} schemas ({refused} refused by keyword or because nothing satisfies them); {invalid} invalid instances, {wrong} accepted; "
          f"{valid} valid instances, {valid_refused} refused")
    return 1 if wrong or valid_refused * 200 > valid or not valid or not invalid else 0


if __name__ == "__main__":
    sys.exit(main())
