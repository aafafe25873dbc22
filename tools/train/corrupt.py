"""Puts spelling and grammar errors into clean sentences, and shortens sentences, by rule and seed."""

import random
import re

CONFUSED = [
    ("their", "there"),
    ("too", "to"),
    ("its", "it's"),
    ("your", "you're"),
    ("then", "than"),
    ("was", "were"),
    ("is", "are"),
    ("has", "have"),
    ("does", "do"),
    ("went", "goed"),
    ("came", "comed"),
    ("saw", "seen"),
    ("took", "taked"),
    ("ran", "runned"),
    ("knew", "knowed"),
    ("thought", "thinked"),
    ("an", "a"),
    ("were", "was"),
    ("are", "is"),
    ("have", "has"),
    ("she", "her"),
    ("he", "him"),
    ("they", "them"),
    ("could", "can"),
    ("gave", "gived"),
]
SWAPS = {}
for right, wrong in CONFUSED:
    SWAPS.setdefault(right, []).append(wrong)
SOUNDS = [
    ("ie", "ei"),
    ("ei", "ie"),
    ("ll", "l"),
    ("tt", "t"),
    ("ss", "s"),
    ("ee", "ea"),
    ("ea", "ee"),
    ("ght", "gt"),
    ("ou", "uo"),
    ("ai", "ia"),
    ("ph", "f"),
    ("ck", "k"),
    ("qu", "kw"),
    ("ch", "hc"),
]


def misspell(word: str, rng: random.Random) -> str:
    """One spelling error; the first letter stays."""
    fits = [(a, b) for a, b in SOUNDS if a in word[1:]]
    kind = rng.randrange(5 if fits else 4)
    i = rng.randrange(1, len(word) - 1)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    if kind == 3:
        return word[:i] + rng.choice("aeiourtlns") + word[i + 1 :]
    a, b = rng.choice(fits)
    return word[0] + word[1:].replace(a, b, 1)


def corrupt(sentence: str, rng: random.Random) -> str:
    """One to three errors; always different from the sentence."""
    words = sentence.split(" ")
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        kind = rng.random()
        long = [i for i, w in enumerate(words) if w.isalpha() and w.islower() and len(w) > 3]
        swaps = [i for i, w in enumerate(words) if w in SWAPS]
        articles = [i for i, w in enumerate(words) if w in ("a", "an", "the", "of", "to")]
        if kind < 0.5 and long:
            i = rng.choice(long)
            words[i] = misspell(words[i], rng)
        elif kind < 0.75 and swaps:
            i = rng.choice(swaps)
            words[i] = rng.choice(SWAPS[words[i]])
        elif kind < 0.85 and articles and len(words) > 4:
            del words[rng.choice(articles)]
        elif kind < 0.93:
            words[0] = words[0][0].lower() + words[0][1:]
        elif len(words) > 4:
            i = rng.randrange(1, len(words) - 1)
            words.insert(i, words[i])
    out = " ".join(words)
    return out if out != sentence else corrupt(sentence, rng)


def sentences(text: str) -> list[str]:
    """Plain sentences of 5 to 22 words, without quotation marks."""
    found = re.split(r"(?<=[.!?])\s+", text)
    return [
        s
        for s in found
        if 5 <= s.count(" ") + 1 <= 22
        and re.fullmatch(r"[A-Z][A-Za-z ,;'-]+[.!?]", s)
        and not re.search(r"\b(Mr|Mrs|Dr|St|I{2,})\.$", s)
    ]


def shorten(sentence: str) -> str | None:
    """The main clause, when a rule can cut the rest: asides between commas, tails after a joint."""
    s = re.sub(r", (?:who|which|where|whose)\b[^,;]+,", "", sentence)
    s = re.sub(r"^(?:[A-Z][a-z]+ )?(?:When|While|As|After|Before|Though|If|Since)\b[^,]+, ", "", s)
    s = re.sub(r"(?:,|;) (?:and|but|for|so|while|because|though|which|who|where|when|as|yet)\b.*$", ".", s)
    s = re.sub(r"; .*$", ".", s)
    s = s[0].upper() + s[1:]
    short, long = s.count(" ") + 1, sentence.count(" ") + 1
    return s if 3 < short <= 0.7 * long and s.count(",") <= 1 else None
