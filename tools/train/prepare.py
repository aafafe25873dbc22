"""Raw text -> clean documents, one JSON object a line, and a manifest.

Reads the *.zst (or already unpacked) files of `--text`, writes `--out`/documents.jsonl
({"source", "title", "weight", "text"}), heldout-0..2.txt (whole books), fairytaleqa-test.jsonl and
manifest.json (hashes, counts). Next: tokenizer.py.

Rules (shared/reference/training.md, section 2): lines joined into paragraphs, one newline between
paragraphs, typographic quotes and dashes to ASCII, `_` dropped, paragraphs over 80 characters kept
once, three whole books held out, and every paragraph that shares word shingles with a held-out book
or with a story of the fairytaleqa test split dropped (exact hashes miss re-edited twins).
"""

import argparse
import hashlib
import json
import multiprocessing
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).parent
HELDOUT = ["The Hound of the Baskervilles", "Vagabondia", "The Story of the Treasure Seekers"]
STORYTELLERS = ["Grimm", "Andrew Lang", "Andersen", "Nesbit", "Beatrix Potter"]
SHINGLE_WORDS = 8
ASCII = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "„": '"',
        "’": "'",
        "‘": "'",
        "‛": "'",
        "—": "--",
        "–": "-",
        "―": "--",
        "\u00a0": " ",
        "…": "...",
        "\ufeff": "",
        "_": "",
        "\t": " ",
        "\r": "",
        "·": ".",
        "\u2028": "\n",
    }
)
ENGLISH = re.compile(r"\b(the|and|of|to|he|was|in|that)\b")
BOILERPLATE = re.compile(
    r"produced by|proofread|gutenberg|transcriber|e-text|etext|scanned by|html version|\[illustration", re.IGNORECASE
)


def read_text(folder: pathlib.Path, name: str) -> str:
    """The UTF-8 text of folder/name or of folder/name.zst."""
    plain = folder / name
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    packed = folder / (name + ".zst")
    return subprocess.run(["zstd", "-dqc", packed], check=True, stdout=subprocess.PIPE).stdout.decode()


def paragraphs(text: str) -> list[str]:
    """Blank-line separated blocks; wrapped lines joined, verse (all lines short) kept as lines."""
    found = []
    for block in re.split(r"\n\s*\n", text.translate(ASCII)):
        lines = [re.sub(r" {2,}", " ", line).strip() for line in block.split("\n")]
        lines = [line for line in lines if line]
        if not lines:
            continue
        verse = len(lines) > 2 and max(map(len, lines)) < 52
        found.append(("\n" if verse else " ").join(lines))
    return found


def is_prose(paragraph: str) -> bool:
    """False for rules of stars, tables, page numbers and the like."""
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    share = 0.7 if len(paragraph) > 60 else 0.35
    return letters >= share * len(paragraph) and not BOILERPLATE.search(paragraph)


def clean_book(book: str) -> dict:
    """One Gutenberg book -> {"title", "author", "paragraphs"}; no paragraphs if it is not English."""
    head = re.sub(r"\s+", " ", book[:3000])
    kept = [p for p in paragraphs(book) if is_prose(p)]
    words = sum(p.count(" ") + 1 for p in kept[:2000]) or 1
    hits = sum(len(ENGLISH.findall(p)) for p in kept[:2000])
    if hits < 0.10 * words:
        kept = []
    title = next((p for p in kept[:5] if len(p) < 80), "")[:80]
    return {"title": title, "head": head, "paragraphs": kept}


def shingles(text: str, stride: int) -> list[int]:
    words = re.findall(r"[a-z']+", text.lower())
    last = len(words) - SHINGLE_WORDS
    return [hash(tuple(words[i : i + SHINGLE_WORDS])) for i in range(0, last + 1, stride)]


def split_titled(text: str) -> list[tuple[str, str]]:
    """'# title' sections of a Markdown-like file -> [(title, body)]."""
    parts = re.split(r"(?m)^# (.*)$", text)
    return [(parts[i].strip(), parts[i + 1]) for i in range(1, len(parts) - 1, 2)]


def gutenberg(folder, pool, banned):
    """Books as documents; returns (documents, heldout texts, counts)."""
    books = [b for b in read_text(folder, "gutenberg-847-books.txt").split("\0") if b.strip()]
    cleaned = pool.map(clean_book, books, chunksize=8)
    heldout, training = {}, []
    for book in cleaned:
        lines = [p.strip(" .").lower() for p in book["paragraphs"][:4]]
        name = next((i for i, t in enumerate(HELDOUT) if t.lower() in lines), None)
        if name is not None and name not in heldout:
            heldout[name] = "\n".join(book["paragraphs"]) + "\n"
        elif book["paragraphs"]:
            training.append(book)
    for text in heldout.values():
        banned.update(shingles(text, 1))
    seen, documents, counts = set(), [], {"books": len(training), "duplicate": 0, "shingle": 0}
    for book in training:
        kept = []
        for p in book["paragraphs"]:
            if len(p) > 80:
                key = hash(p)
                if key in seen:
                    counts["duplicate"] += len(p)
                    continue
                seen.add(key)
                hits = [s in banned for s in shingles(p, 3)]
                if sum(hits) >= 2 or (hits and sum(hits) >= 0.3 * len(hits)):
                    counts["shingle"] += len(p)
                    continue
            kept.append(p)
        text = "\n".join(kept)
        if len(text) > 2000:
            story = any(name.lower() in book["head"].lower() for name in STORYTELLERS)
            documents.append(
                {"source": "gutenberg", "title": book["title"], "weight": 2.5 if story else 1.0, "text": text}
            )
    return documents, heldout, counts


def wikinews(folder):
    """Articles without the paragraphs that lost their links ('in the , said')."""
    hole = re.compile(r"\b(the|of|in|by|and|a|to|at|from|with|for) [,.;)]|\( ?\)|^ ?,|, ,|\"\"")
    documents = []
    for title, body in split_titled(read_text(folder, "wikinews-en-2022.txt").replace("\0", "")):
        kept = [p.strip() for p in body.translate(ASCII).split("\n")]
        kept = [p for p in kept if len(p) > 60 and is_prose(p) and not hole.search(p)]
        if sum(map(len, kept)) > 300:
            text = title.translate(ASCII) + "\n" + "\n".join(kept)
            documents.append({"source": "wikinews", "title": title, "weight": 0.4, "text": text})
    return documents


def fairytales(folder, banned):
    """Training stories and, apart, the questions of the test split with their stories."""
    test_names = set((HERE / "fairytaleqa_test.txt").read_text().split())
    stories = split_titled(read_text(folder, "fairytaleqa-stories.txt"))
    questions = [json.loads(x) for x in read_text(folder, "fairytaleqa-qa.jsonl").splitlines()]
    documents, test = [], []
    for name, body in stories:
        text = "\n".join(p for p in (q.strip() for q in body.translate(ASCII).split("\n")) if p)
        if name in test_names:
            banned.update(shingles(text, 1))
            asked = [{"q": x["q"], "a": x["a"]} for x in questions if x["story"] == name]
            test.append({"story": name, "text": text, "questions": asked})
        else:
            documents.append({"source": "fairytaleqa", "title": name, "weight": 2.5, "text": text})
    return documents, test


def pratham(folder):
    documents = []
    for title, body in split_titled(read_text(folder, "pratham-books-en.md")):
        lines = [x.strip() for x in body.translate(ASCII).split("\n")]
        lines = [x for x in lines if x and not x.startswith(("##", "* "))]
        if len(lines) > 3:
            text = title.translate(ASCII) + "\n" + "\n".join(lines)
            documents.append({"source": "pratham", "title": title, "weight": 2.5, "text": text})
    return documents


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=pathlib.Path, default=HERE / "../../../shared/data/text")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    banned = set()
    stories, test = fairytales(args.text, banned)
    with multiprocessing.Pool(2) as pool:
        books, heldout, counts = gutenberg(args.text, pool, banned)
    assert sorted(heldout) == [0, 1, 2], f"held-out books found: {sorted(heldout)}"
    documents = books + stories + pratham(args.text) + wikinews(args.text)
    with open(args.out / "documents.jsonl", "w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
    for index, text in heldout.items():
        (args.out / f"heldout-{index}.txt").write_text(text, encoding="utf-8")
    with open(args.out / "fairytaleqa-test.jsonl", "w", encoding="utf-8") as file:
        for story in test:
            file.write(json.dumps(story, ensure_ascii=False) + "\n")
    sizes = {}
    for document in documents:
        entry = sizes.setdefault(document["source"], {"documents": 0, "characters": 0})
        entry["documents"] += 1
        entry["characters"] += len(document["text"])
    manifest = {
        "sources": sizes,
        "gutenberg": counts,
        "heldout": {HELDOUT[i]: len(t.encode()) for i, t in sorted(heldout.items())},
        "sha256": {p.name: sha256(p) for p in sorted(args.text.iterdir()) if p.is_file()},
    }
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False))
    print(json.dumps({k: manifest[k] for k in ("sources", "gutenberg", "heldout")}, indent=1))


if __name__ == "__main__":
    main()
