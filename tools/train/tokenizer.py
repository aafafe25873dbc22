"""Clean documents -> tokenizer.model and token arrays.

Trains a SentencePiece BPE (byte fallback, identity normaliser, no dummy prefix, split digits, newline
as a user-defined symbol, chat marks as control symbols) on a seeded sample, then encodes every
document as `<s> text </s>` into one uint16 array a source group: `stories.bin` (weight > 1),
`books.bin`, `news.bin`. Held-out books go to heldout-{i}.npy without <s> and </s>. Reads the folder
that prepare.py wrote. Next: tasks.py, train.py.
"""

import argparse
import json
import multiprocessing
import pathlib
import random

import numpy as np
import sentencepiece

CHAT_MARKS = ["<|im_start|>", "<|im_end|>"]
BOS, EOS, IM_START, IM_END = 1, 2, 3, 4
PRINTABLE = "".join(chr(c) for c in range(33, 127))


def train(documents, prefix: pathlib.Path, pieces: int, sample_bytes: int, seed: int):
    """Writes prefix.model from about sample_bytes of text, every source in its share."""
    rng = random.Random(seed)
    lines = []
    share = sample_bytes / sum(len(d["text"]) * d["weight"] for d in documents)
    for document in documents:
        for line in document["text"].split("\n"):
            if rng.random() < share * document["weight"]:
                lines.append(line)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(prefix),
        vocab_size=pieces,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        user_defined_symbols=["\n"],
        control_symbols=CHAT_MARKS,
        required_chars=PRINTABLE,
        character_coverage=0.9995,
        max_sentence_length=20000,
        num_threads=2,
        minloglevel=2,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
    )


def load(path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


_processor = None


def _start(path):
    global _processor
    _processor = load(path)


def _encode(text: str) -> np.ndarray:
    return np.array([BOS] + _processor.encode(text) + [EOS], dtype=np.uint16)


def group(document) -> str:
    if document["source"] == "wikinews":
        return "news"
    return "stories" if document["weight"] > 1 else "books"


def encode_all(documents, model: pathlib.Path, out: pathlib.Path) -> dict:
    """Token arrays by group, documents in a fixed order; returns token counts."""
    counts = {}
    files = {name: open(out / f"{name}.bin", "wb") for name in ("stories", "books", "news")}
    with multiprocessing.Pool(2, _start, (model,)) as pool:
        texts = (d["text"] for d in documents)
        for document, ids in zip(documents, pool.imap(_encode, texts, chunksize=16)):
            ids.tofile(files[group(document)])
            key = f"{group(document)}/{document['source']}"
            counts[key] = counts.get(key, 0) + len(ids)
    for file in files.values():
        file.close()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clean", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--pieces", type=int, default=6144)
    parser.add_argument("--sample-bytes", type=int, default=33_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.clean / "documents.jsonl", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    train(documents, args.out / "tokenizer", args.pieces, args.sample_bytes, args.seed)
    model = args.out / "tokenizer.model"
    processor = load(model)
    assert processor.piece_to_id(CHAT_MARKS[0]) == IM_START, "chat marks are not where train.py wants"
    counts = {"tokens": encode_all(documents, model, args.out), "heldout": []}
    for index in range(3):
        text = (args.clean / f"heldout-{index}.txt").read_text(encoding="utf-8")
        ids = np.array(processor.encode(text), dtype=np.uint16)
        np.save(args.out / f"heldout-{index}.npy", ids)
        size = len(text.encode())
        counts["heldout"].append({"bytes": size, "tokens": len(ids), "bytes_per_token": size / len(ids)})
    (args.out / "tokens.json").write_text(json.dumps(counts, indent=1))
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
