"""Scores of the second stage, greedy: mended and repeated sentences, answers (token F1), JSON records.

  evaluate_tasks.py --model FILE --tokens DIR --clean DIR [--count N]

Mending: the 500 sentences from the held-out books that tasks.py corrupted, beside leaving the
sentence as it is. Answers: questions of fairytaleqa's test split; the model reads the run of
sentences of the story that shares most words with the question (the answer is not looked at),
beside answering with the one most overlapping sentence of that run.
"""

import argparse
import collections
import json
import math
import pathlib
import random
import re

import torch

import decode
import evaluate
import tasks
import tokenizer as tokens


def ngrams(words: list[str], n: int) -> collections.Counter:
    return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def gleu(triples: list[tuple[str, str, str]]) -> float:
    """Corpus GLEU for corrections (Napoles et al. 2015): (source, reference, output) triples.

    Matches with the reference, less those n-grams that the output keeps from the source only.
    """
    hits, totals, out_size, ref_size = [0] * 4, [0] * 4, 0, 0
    for source, reference, output in triples:
        s, r, o = source.split(), reference.split(), output.split()
        out_size, ref_size = out_size + len(o), ref_size + len(r)
        for n in range(1, 5):
            from_s, from_r, from_o = ngrams(s, n), ngrams(r, n), ngrams(o, n)
            wrong = {k: v for k, v in from_s.items() if k not in from_r}
            good = sum(min(v, from_r[k]) for k, v in from_o.items())
            kept = sum(min(v, wrong.get(k, 0)) for k, v in from_o.items())
            hits[n - 1] += max(0, good - kept)
            totals[n - 1] += max(0, len(o) - n + 1)
    if not all(hits):
        return 0.0
    brevity = min(0.0, 1 - ref_size / max(out_size, 1))
    return math.exp(brevity + sum(math.log(h / t) for h, t in zip(hits, totals)) / 4)


def words(text: str) -> list[str]:
    found = re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
    return [w for w in found if w not in ("a", "an", "the")]


def token_f1(got: str, want: str) -> float:
    g, w = collections.Counter(words(got)), collections.Counter(words(want))
    same = sum((g & w).values())
    return 2 * same / (sum(g.values()) + sum(w.values())) if same else float(g == w)


def respond(params, shape, sp, asked: list[str], new_max: int) -> list[str]:
    """Greedy answers to user messages, in batches of similar length."""
    prompts = [decode.chat_ids(sp, [("user", text)]) for text in asked]
    out = [""] * len(asked)
    order = sorted(range(len(asked)), key=lambda i: len(prompts[i]))
    for at in range(0, len(order), 64):
        part = order[at : at + 64]
        for i, ids in zip(part, decode.generate(params, shape, [prompts[i] for i in part], new_max)):
            out[i] = sp.decode(ids)
    return out


def mend(params, shape, sp, folder, count) -> dict:
    items = [json.loads(x) for x in (folder / "mend-test.jsonl").read_text().splitlines()][:count]
    got = respond(params, shape, sp, [tasks.MEND[0].format(x["wrong"]) for x in items], 60)
    model_gleu = gleu([(x["wrong"], x["right"], y) for x, y in zip(items, got)])
    left_gleu = gleu([(x["wrong"], x["right"], x["wrong"]) for x in items])
    exact = sum(x["right"] == y for x, y in zip(items, got)) / len(items)
    shown = [{**x, "got": y} for x, y in list(zip(items, got))[:6]]
    return {
        "count": len(items),
        "exact": round(exact, 4),
        "exact_uncorrected": 0.0,
        "gleu": round(model_gleu, 4),
        "gleu_uncorrected": round(left_gleu, 4),
        "first": shown,
    }


def repeats(params, shape, sp, folder, count) -> dict:
    """The clean sentences of the same test set, said again: exact match."""
    items = [json.loads(x)["right"] for x in (folder / "mend-test.jsonl").read_text().splitlines()][:count]
    got = respond(params, shape, sp, [tasks.REPEAT[0].format(x) for x in items], 60)
    return {"count": len(items), "exact": round(sum(x == y for x, y in zip(items, got)) / len(items), 4)}


def answers(params, shape, sp, folder, count) -> dict:
    asked = [
        (story["text"], x["q"], x["a"])
        for story in map(json.loads, (folder / "fairytaleqa-test.jsonl").read_text().splitlines())
        for x in story["questions"]
    ]
    random.Random(1).shuffle(asked)
    asked = asked[:count]
    passages = [tasks.nearest_passage(tasks.unwrap(text), q, "", 110) for text, q, _ in asked]
    got = respond(params, shape, sp, [tasks.ANSWER[0].format(p, q) for p, (_, q, _) in zip(passages, asked)], 30)
    base = [tasks.nearest_passage(p, q, "", 1) for p, (_, q, _) in zip(passages, asked)]

    def score(texts):
        return round(sum(token_f1(t, a) for t, (_, _, a) in zip(texts, asked)) / len(asked), 4)

    shown = [{"q": q, "a": a, "got": y} for (_, q, a), y in list(zip(asked, got))[:6]]
    return {"count": len(asked), "f1": score(got), "f1_sentence": score(base), "first": shown}


def records(params, shape, sp, count) -> dict:
    """Fresh sentences of the kinds of tasks.record: shares of valid JSON, of the right keys, of all right."""
    rng = random.Random(1000)
    made = [tasks.record(rng) for _ in range(count)]
    valid = keys = exact = 0
    for (_, fields), text in zip(made, respond(params, shape, sp, [tasks.RECORD[0].format(s) for s, _ in made], 60)):
        try:
            got = json.loads(text)
        except ValueError:
            continue
        valid += 1
        keys += isinstance(got, dict) and list(got) == list(fields)
        exact += got == fields
    return {"count": count, **{k: round(v / count, 4) for k, v in (("valid", valid), ("keys", keys), ("exact", exact))}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--clean", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape, params = evaluate.load(args.model)
    sp = tokens.load(args.tokens / "tokenizer.model")
    report = {
        "mend": mend(params, shape, sp, args.tokens, args.count),
        "repeats": repeats(params, shape, sp, args.tokens, args.count),
        "answers": answers(params, shape, sp, args.clean, args.count),
        "records": records(params, shape, sp, args.count),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
