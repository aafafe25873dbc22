"""Second-stage data: chat turns made by program from the same texts -> tasks.npy and test sets.

Kinds: a story from a few words, going on with a passage, answering from a passage (fairytaleqa
without its test split), mending, shortening, repeating and finding a sentence, ordering dialogues
(Taskmaster), a JSON record from a sentence, a few words about itself. Every conversation is
`<s>` + turns of `<|im_start|>role\\n...<|im_end|>\\n`; the loss counts what the assistant says, and the
passages of books that a user shows (they are plain text like any other; a mistake is never counted).
Packed into rows of window + 1 tokens that start with `<s>`; see data.py.
"""

import argparse
import itertools
import json
import pathlib
import random
import re

import numpy as np

import corrupt
import prepare
import tokenizer as tokens

SHARES = {  # of the conversations; the short ones need many before copying works
    "story": 0.09,
    "continue": 0.04,
    "answer": 0.12,
    "mend": 0.42,
    "repeat": 0.12,
    "shorten": 0.05,
    "order": 0.03,
    "record": 0.11,
    "self": 0.02,
}
PLAIN = ("continue", "answer")  # kinds whose user's words are clean text and count in the loss
OPENING = re.compile(
    r"^(Once|There (was|were|lived)|One (day|morning|evening|night)|Long ago|In (a|the|old|former)"
    r"|Many years|A (poor|rich|certain|man|king|woman|long)|It was|Far away)"
)
NOUN = re.compile(
    r"\b(?:a|an|the|his|her|my|their|that) (?:[a-z]+ )?([a-z]{3,10})(?=[,.;!?]| (?:of|in|was|and|to|with"
    r"|who|had|on|that|came|said|is|at|for|from|were|by|into)\b)"
)
NOT_NOUNS = set(
    "old first last other one own same next such good great little two long very most whole more side way "
    "thing time rest end kind sort day few three back head hand hands eyes".split()
)
STORY = [
    "Tell me a story about {}.",
    "Write a story with the words {}.",
    "Write a short story about {}.",
    "Tell me a short story with {}.",
    "A story about {}, please.",
    "Make up a story: {}.",
]
CONTINUE = ["Go on with this story:\n{}", "Continue:\n{}", "What happens next?\n{}", "Continue this passage.\n{}"]
ANSWER = [
    "{}\nQuestion: {}",
    "Read this and answer the question.\n{}\nQuestion: {}",
    "{}\n{}",
    "Answer from the text.\n{}\nQuestion: {}",
]
MEND = [
    "Correct this sentence: {}",
    "Mend this sentence: {}",
    "Fix the mistakes: {}",
    "Correct the spelling and grammar: {}",
]
SHORTEN = ["Shorten this sentence: {}", "Make this shorter: {}", "Say this in fewer words: {}"]
REPEAT = ["Repeat this: {}", "Say this again: {}", "Copy this: {}"]
FIND = ["{}\nFind the sentence that begins: {}", "{}\nHow does the sentence go on: {}"]
RECORD = ["Write this as JSON: {}", "Make a JSON record of this sentence: {}", "JSON, please: {}"]
SYSTEM = [
    "You are a helpful assistant.",
    "You are a storyteller.",
    "You are a small model inside Sluice.",
    "Answer briefly.",
]
NAMES = (
    "Anna Ben Clara Daniel Emma Felix Grace Henry Ida Jack Kate Leo Mary Ned Olga Peter Rose Sam Tom Una "
    "Victor Wendy Alice Arthur Dora Oswald Noel Jean Lucy Martin Nina Oscar Paula Ravi Meena Asha"
).split()
PLACES = "London Paris Rome Delhi Oslo Boston Dublin Cairo Vienna Lisbon Madrid Prague Bergen York Dover".split()
ITEMS = "latte mocha cappuccino espresso tea cold-brew steamer americano".split()
THINGS = "apples books cats dogs music horses ships stories flowers bread trains birds cake chess maps".split()
JOBS = "baker sailor teacher farmer doctor tailor miller painter fisherman gardener cook clerk".split()
ITSELF = [
    ("Who are you?", "I am the small Jamba that lives inside Sluice. I can tell short stories and mend sentences."),
    (
        "What can you do?",
        "I can tell a story from a few words, go on with a passage, answer a question from a text, "
        "mend or shorten a sentence, take an order and write a JSON record.",
    ),
    ("Hello!", "Hello! Give me a few words and I will tell you a story."),
    ("Hi", "Hello! What shall I tell you a story about?"),
    ("Good morning.", "Good morning! Shall I tell you a story?"),
    ("How are you?", "Very well, thank you. Shall I tell you a story?"),
    ("What is your name?", "I am the small Jamba inside Sluice."),
    ("Thank you.", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye.", "Goodbye!"),
    ("Are you a person?", "No, I am a very small language model."),
    ("What is two and two?", "Two and two are four. I am better at stories than at sums."),
]


def unwrap(text: str) -> str:
    """Joins lines that were wrapped in the middle of a sentence (some stories are)."""
    return re.sub(r"(?<=[a-z,;A-Z-])\n(?=[a-z])", " ", text)


def passages(text: str, rng: random.Random, words_min: int, words_max: int, count: int, opening: bool):
    """Up to count runs of whole paragraphs with words_min..words_max words; opening: story starts."""
    lines = [p for p in unwrap(text).split("\n") if p]
    starts = [i for i, p in enumerate(lines) if not opening or OPENING.match(p)]
    rng.shuffle(starts)
    for start in starts[:count]:
        size, end, want = 0, start, rng.randint(words_min, words_max)
        while end < len(lines) and size < want:
            size += lines[end].count(" ") + 1
            end += 1
        verse = size < 7 * (end - start)
        if words_min <= size <= 1.3 * words_max and not verse:
            yield "\n".join(lines[start:end])


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def stories(documents, rng):
    """User: a few words. Assistant: a passage from a story's start that has them."""
    for document in documents:
        short = document["source"] in ("pratham", "fairytaleqa")
        for text in passages(document["text"], rng, 50, 170, 8 if short else 60, opening=True):
            nouns = sorted({w for w in NOUN.findall(text) if w not in NOT_NOUNS})
            if len(nouns) < 3:
                continue
            for _ in range(3 if short else 2):
                words = rng.sample(nouns, rng.choice([1, 2, 3, 3]))
                named = [("an " if w[0] in "aeiou" else "a ") + w for w in words] if rng.random() < 0.4 else words
                yield [("user", rng.choice(STORY).format(listed(named))), ("assistant", text)]


def continuations(documents, rng):
    for document in documents:
        for text in passages(document["text"], rng, 90, 220, 40, opening=False):
            lines = text.split("\n")
            if len(lines) > 1:
                cut = rng.randint(1, len(lines) - 1)
                if len(" ".join(lines[:cut]).split()) < 130:
                    yield [
                        ("user", rng.choice(CONTINUE).format("\n".join(lines[:cut]))),
                        ("assistant", "\n".join(lines[cut:])),
                    ]


def nearest_passage(text: str, question: str, answer: str, words_max: int) -> str:
    """The run of paragraphs (or, of long ones, sentences) that shares most words with both."""
    wanted = set(re.findall(r"[a-z']{3,}", (question + " " + answer).lower()))
    parts = [p for p in re.split(r"\n|(?<=[.!?]) (?=[A-Z\"])", text) if p]
    hits = [len(wanted & set(re.findall(r"[a-z']{3,}", p.lower()))) for p in parts]
    sizes = [p.count(" ") + 1 for p in parts]
    best, choice, end, words, score = -1, (0, 1), 0, 0, 0
    for start in range(len(parts)):
        while end < len(parts) and words + sizes[end] <= words_max:
            words, score, end = words + sizes[end], score + hits[end], end + 1
        if score > best:
            best, choice = score, (start, max(end, start + 1))
        if end > start:
            words, score = words - sizes[start], score - hits[start]
        else:
            end = start + 1
    return " ".join(parts[choice[0] : choice[1]])


def sentence_case(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in '.!?"' else text + "."


def answers(folder, rng):
    """Questions of the training and validation splits with a passage that holds the answer."""
    banned = set((prepare.HERE / "fairytaleqa_test.txt").read_text().split())
    texts = dict(prepare.split_titled(prepare.read_text(folder, "fairytaleqa-stories.txt")))
    for line in prepare.read_text(folder, "fairytaleqa-qa.jsonl").splitlines():
        item = json.loads(line)
        if item["story"] in banned or item["story"] not in texts:
            continue
        text = unwrap(texts[item["story"]].translate(prepare.ASCII))
        passage = nearest_passage(text, item["q"], item["a"], rng.randint(25, 140))
        question, answer = item["q"].translate(prepare.ASCII), item["a"].translate(prepare.ASCII)
        yield [("user", rng.choice(ANSWER).format(passage, question)), ("assistant", sentence_case(answer))]


def mended(clean, rng):
    for sentence in clean:
        wrong = corrupt.corrupt(sentence, rng) if rng.random() < 0.93 else sentence
        yield [("user", rng.choice(MEND).format(wrong)), ("assistant", sentence)]


def shortened(clean, rng):
    for sentence in clean:
        short = corrupt.shorten(sentence)
        if short:
            yield [("user", rng.choice(SHORTEN).format(sentence)), ("assistant", short)]


def repeated(clean, rng):
    """A sentence, or its words in any order, said again; or the sentence of a passage that begins so.

    What mending, records and answers stand on: in a shuffled order only the user's words help.
    """
    clean = list(clean)
    for i, sentence in enumerate(clean):
        kind = rng.random()
        if kind < 0.35 and i >= 4:
            passage = clean[i - 4 : i]
            found = rng.choice(passage)
            opening = " ".join(found.split()[: rng.randint(2, 3)])
            yield [("user", rng.choice(FIND).format(" ".join(passage), opening)), ("assistant", found)]
            continue
        words = sentence.split()
        if kind < 0.7:
            rng.shuffle(words)
        said = " ".join(words)
        yield [("user", rng.choice(REPEAT).format(said)), ("assistant", said)]


def orders(folder):
    """Taskmaster's dialogues as they are; only those that the assistant ends."""
    for talk in prepare.read_text(folder, "taskmaster4.txt").translate(prepare.ASCII).split("\n\n"):
        turns = [line.split(": ", 1) for line in talk.strip().split("\n") if ": " in line]
        turns = [(role, text.strip()) for role, text in turns if role in ("user", "assistant")]
        if len(turns) >= 2 and turns[0][0] == "user" and turns[-1][0] == "assistant":
            yield turns


def record(rng) -> tuple[str, dict]:
    """(sentence, its fields)."""
    name, place, age, thing = rng.choice(NAMES), rng.choice(PLACES), rng.randint(4, 80), rng.choice(THINGS)
    job, item, count = rng.choice(JOBS), rng.choice(ITEMS), rng.randint(1, 6)
    size, price = rng.choice(["small", "medium", "large"]), rng.randint(2, 30)
    day = rng.choice("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
    return rng.choice(
        [
            (f"{name} is {age} years old and lives in {place}.", {"name": name, "age": age, "city": place}),
            (f"{name}, {age}, likes {thing}.", {"name": name, "age": age, "likes": thing}),
            (
                f"{name} is a {job} from {place} who likes {thing}.",
                {"name": name, "job": job, "city": place, "likes": thing},
            ),
            (f"{count} {size} {item} for {name}, please.", {"item": item, "size": size, "count": count, "name": name}),
            (f"{name} wants a {size} {item} on {day}.", {"name": name, "item": item, "size": size, "day": day}),
            (
                f"{name} bought {count} {thing} in {place} for {price} pounds.",
                {"name": name, "count": count, "item": thing, "city": place, "price": price},
            ),
            (
                f"On {day} {name} goes to {place} to see the {job}.",
                {"day": day, "name": name, "city": place, "person": job},
            ),
        ]
    )


def records(rng, count):
    for _ in range(count):
        sentence, fields = record(rng)
        yield [("user", rng.choice(RECORD).format(sentence)), ("assistant", json.dumps(fields))]


def encode(talk, sp, plain: bool) -> tuple[list[int], list[int]]:
    """Token ids of a conversation and 1 where the loss counts: the assistant, and a plain user."""
    ids, mask = [tokens.BOS], [0]
    for role, text in talk:
        head = [tokens.IM_START, *sp.encode(role + "\n")]
        body = [*sp.encode(text), tokens.IM_END]
        tail = sp.encode("\n")
        said = int(role == "assistant" or (plain and role == "user"))
        ids += head + body + tail
        mask += [0] * len(head) + [said] * len(body) + [0] * len(tail)
    return ids, mask


def pack(talks, sp, window: int) -> np.ndarray:
    """talks: (turns, plain) -> (rows, 2, window + 1) uint16: tokens, mask.

    A conversation cut by a row's end starts the next.
    """
    rows, ids, mask = [], [], []
    for talk, plain in talks:
        more, said = encode(talk, sp, plain)
        if len(more) > window:
            continue
        if len(ids) + len(more) > window + 1:
            room = window + 1 - len(ids)
            rows.append((ids + more[:room], mask + said[:room]))
            ids, mask = [], []
        ids, mask = ids + more, mask + said
    return np.array(rows, np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=pathlib.Path, default=prepare.HERE / "../../../shared/data/text")
    parser.add_argument("--clean", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--conversations", type=int, default=140000)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with open(args.clean / "documents.jsonl", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    tales = [d for d in documents if d["weight"] > 1]
    clean = []
    for document in rng.sample(documents[:800], 240):
        clean += corrupt.sentences(document["text"])
    rng.shuffle(clean)
    wanted = {kind: int(share * args.conversations) for kind, share in SHARES.items()}
    cut = wanted["mend"]
    made = {
        "story": stories(tales, rng),
        "continue": continuations(tales, rng),
        "answer": itertools.chain.from_iterable(answers(args.text, rng) for _ in range(2)),
        "mend": mended(clean[:cut], rng),
        "repeat": repeated(clean[cut:], rng),
        "shorten": shortened(reversed(clean), rng),
        "order": orders(args.text),
        "record": records(rng, wanted["record"]),
        "self": ([("user", q), ("assistant", a)] for q, a in ITSELF * 1000),
    }
    talks, counts = [], {}
    for kind, source in made.items():
        found = [talk for _, talk in zip(range(4 * wanted[kind]), source)]
        rng.shuffle(found)
        found = (found * (1 + 2 * (kind == "order")))[: wanted[kind]]
        counts[kind] = len(found)
        talks += [(talk, kind in PLAIN) for talk in found]
    rng.shuffle(talks)
    talks = [([("system", rng.choice(SYSTEM)), *t] if rng.random() < 0.12 else t, plain) for t, plain in talks]
    sp = tokens.load(args.tokens / "tokenizer.model")
    rows = pack(talks, sp, args.window)
    np.save(args.tokens / "tasks.npy", rows)
    (args.tokens / "tasks-sample.json").write_text(json.dumps([t for t, _ in talks[:60]], indent=1))
    heldout = "\n".join((args.clean / f"heldout-{i}.txt").read_text() for i in range(3))
    test = corrupt.sentences(heldout.replace("\n", " "))
    random.Random(args.seed + 1).shuffle(test)
    with open(args.tokens / "mend-test.jsonl", "w") as file:
        for sentence in test[:500]:
            file.write(json.dumps({"wrong": corrupt.corrupt(sentence, rng), "right": sentence}) + "\n")
    print(
        json.dumps(
            {"conversations": counts, "rows": len(rows), "tokens": rows[:, 0].size, "counted": int(rows[:, 1].sum())},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
