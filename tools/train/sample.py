"""Samples for the card, not picked: fixed prompts, temperature 0.8, one seed."""

import argparse
import pathlib

import torch

import decode
import evaluate
import tokenizer as tokens

OPENINGS = ["Once upon a time there was", '"I do not know," said the', "The old man looked at the"]
CHATS = [
    "Tell me a story about a fox and a river.",
    "Who are you?",
    "Correct this sentence: She were goin to the markett yesterday.",
    "Write this as JSON: Anna is 9 years old and lives in Oslo.",
    "Shorten this sentence: The cat, which was very old and tired, slept by the fire, and nobody woke it.",
    "I would like a large latte with oat milk, please.",
    "The fox ran to the river because he was thirsty. There he met a frog.\nQuestion: Why did the fox run to the river?",
    "Continue:\nThe door opened slowly, and a little girl came in with a lamp in her hand.",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape, params = evaluate.load(args.model)
    sp = tokens.load(args.tokenizer)
    prompts = [[tokens.BOS, *sp.encode(text)] for text in OPENINGS]
    prompts += [decode.chat_ids(sp, [("user", text)]) for text in CHATS]
    for text, ids in zip(OPENINGS + CHATS, decode.generate(params, shape, prompts, 100, args.temperature, seed=1)):
        print(f"> {text}\n{sp.decode(ids)}\n")


if __name__ == "__main__":
    main()
