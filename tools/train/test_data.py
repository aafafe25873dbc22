"""Windows are the same for every rerun; packed rows; corruption, GLEU and the 5-gram's sums."""

import pathlib
import random
import tempfile
import unittest

import numpy as np

import corrupt
import data
import evaluate_tasks
import fluency
import kneser_ney
import prepare
import tasks
import teacher


class FakeProcessor:
    """One token a character."""

    def encode(self, text):
        return [ord(c) for c in text]


class Data(unittest.TestCase):
    def test_windows_repeat_and_resume(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for name in ("books", "stories"):
                np.arange(5000, dtype=np.uint16).tofile(path / f"{name}.bin")
            mix = {"books": 0.7, "stories": 0.3, "news": 0.0}
            first, second = (data.Windows(path, mix, 64, seed=1) for _ in "ab")
            a = [first.draw(step, 4) for step in range(6)]
            for step in range(3):
                second.draw(step, 4)
            third = data.Windows(path, mix, 64, seed=1)
            third.counters.update(second.counters)
            for step in range(3, 6):
                self.assertTrue(a[step][0].equal(third.draw(step, 4)[0]))
            self.assertTrue((a[0][1] == a[0][0] + 1).all())

    def test_a_pass_visits_every_window_once(self):
        with tempfile.TemporaryDirectory() as folder:
            np.arange(641, dtype=np.uint16).tofile(pathlib.Path(folder) / "books.bin")
            windows = data.Windows(pathlib.Path(folder), {"books": 1.0}, 64, seed=1)
            starts = windows.draw(0, 9)[0][:, 0]
            self.assertEqual(len(set((starts // 64).tolist())), 9)

    def test_copies_say_one_run_again_and_count_from_the_second_time(self):
        with tempfile.TemporaryDirectory() as folder:
            np.arange(2000, dtype=np.uint16).tofile(pathlib.Path(folder) / "books.bin")
            windows = data.Windows(pathlib.Path(folder), {"copies": 1.0}, 512, seed=1)
            for row, mask in map(windows._copies, range(20)):
                size = int((mask == 0).sum())
                self.assertTrue(8 <= size <= 160)
                self.assertTrue((row[size:] == row[:-size]).all() and mask[size:].all())

    def test_breaks_are_plain_text_once_what_is_said_again_is_taken_out(self):
        with tempfile.TemporaryDirectory() as folder:
            np.arange(2000, dtype=np.uint16).tofile(pathlib.Path(folder) / "books.bin")
            windows = data.Windows(pathlib.Path(folder), {"breaks": 1.0}, 512, seed=1)
            for row, mask in map(windows._breaks, range(20)):
                self.assertTrue((np.diff(row[mask == 1].astype(int)) == 1).all())
                self.assertTrue(set(row[mask == 0]) <= set(row[mask == 1]))
                self.assertTrue(0.4 < mask.mean() < 0.95)

    def test_what_would_be_said_again(self):
        row = np.array([5, 6, 7, 8, 5, 6, 7, 9, 6, 7, 9])
        self.assertEqual(data.said_before(row).tolist(), [-1, -1, -1, -1, -1, -1, 8, -1, -1, -1, 6])

    def test_rows_count_only_the_assistant(self):
        talk = [("user", "ab"), ("assistant", "cd")]
        rows = tasks.pack([(talk, False)] * 9, FakeProcessor(), 60)
        said = rows[0, 0][rows[0, 1] == 1].tolist()
        self.assertEqual(said[:3], [ord("c"), ord("d"), 4])
        self.assertEqual(set(rows[:, 0, 0]), {1})

    def test_rows_of_plain_talks_count_the_user_too_but_never_the_system(self):
        talk = [("system", "xy"), ("user", "ab"), ("assistant", "cd")]
        rows = tasks.pack([(talk, True)] * 9, FakeProcessor(), 60)
        said = rows[0, 0][rows[0, 1] == 1].tolist()
        self.assertEqual(said[:6], [ord("a"), ord("b"), 4, ord("c"), ord("d"), 4])
        self.assertNotIn(ord("x"), said)

    def test_repeated_sentences_stand_in_what_the_user_says(self):
        clean = [f"The {a} looked at the {b} for a while." for a in ("fox", "cat", "hen", "dog") for b in ("sun", "sea")]
        talks = list(tasks.repeated(clean * 9, random.Random(1)))
        self.assertEqual(len(talks), 9 * len(clean))
        self.assertTrue(all(said in asked for (_, asked), (_, said) in talks))

    def test_corruption_differs_and_repeats(self):
        sentence = "The old man looked at the river, and thought of his boat."
        made = [corrupt.corrupt(sentence, random.Random(i)) for i in range(200)]
        self.assertNotIn(sentence, made)
        self.assertEqual(made, [corrupt.corrupt(sentence, random.Random(i)) for i in range(200)])

    def test_shorten(self):
        long = "The cat, which was very old, slept by the fire, and nobody came near it."
        self.assertEqual(corrupt.shorten(long), "The cat slept by the fire.")

    def test_repeated_4grams(self):
        self.assertEqual(fluency.repeated(["one two three four five six"]), 0.0)
        self.assertEqual(fluency.repeated(["a b c d a b c d", "a b c d"]), 1 / 6)

    def test_openings_start_paragraphs_and_repeat(self):
        class Pieces:
            def piece_to_id(self, piece):
                return 7

            def decode(self, ids):
                return " ".join(map(str, ids))

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for i in range(3):
                np.save(path / f"heldout-{i}.npy", np.arange(2000 + i, dtype=np.uint16) % 50)
            found = [list(fluency.openings(path, Pieces(), 9, seed=1)) for _ in "ab"]
        self.assertEqual(found[0], found[1])
        for opening, human in found[0]:
            self.assertTrue(opening.startswith("8 9 10 "))
            self.assertEqual((opening + " " + human).count(" "), fluency.OPENING + fluency.LENGTH - 1)

    def test_gleu(self):
        wrong, right = "She were at home all the day .", "She was at home all the day ."
        self.assertEqual(evaluate_tasks.gleu([(wrong, right, right)]), 1.0)
        self.assertLess(evaluate_tasks.gleu([(wrong, right, wrong)]), 0.8)

    def test_paragraphs(self):
        text = "One line that is\nwrapped.\n\n\u201cYes,\u201d said he\u2014softly.\n"
        self.assertEqual(prepare.paragraphs(text), ["One line that is wrapped.", '"Yes," said he--softly.'])

    def test_kneser_ney_sums_to_one(self):
        ids, vocab = np.random.default_rng(0).zipf(1.2, 20000) % 2000, 2000
        levels = kneser_ney.train(ids.astype(np.int64), vocab, 3)
        for context in ([1, 2], [8, 8], [0, 5]):
            keys = np.array([(context[0] * vocab + context[1]) * vocab + w for w in range(vocab)])
            p = np.full(vocab, 1 / vocab)
            for n, level in enumerate(levels, 1):
                part = keys % vocab**n
                p = level.mix(part, part // vocab, p)
            self.assertAlmostEqual(p.sum(), 1.0, places=9)

    def test_teacher_draws_from_the_n_gram(self):
        vocab = 2000
        ids = np.random.default_rng(0).zipf(1.2, 20000) % vocab
        levels = kneser_ney.train(ids.astype(np.int64), vocab, 3)
        rows = np.tile(np.array([3, 1, 2, 5]), (3000, 1))
        drawn = teacher.Sampler(levels, vocab).draw(rows, 4, np.random.default_rng(1))
        for at, context in enumerate(([3], [3, 1], [1, 2])):
            p = np.full(vocab, 1 / vocab)
            for n, level in list(enumerate(levels, 1))[: len(context) + 1]:
                keys = np.arange(vocab)
                for i, token in enumerate(context[len(context) - n + 1 :]):
                    keys += token * vocab ** (n - 1 - i)
                p = level.mix(keys, keys // vocab, p)
            share = np.bincount(drawn[:, at].ravel(), minlength=vocab) / drawn[:, at].size
            self.assertLess(np.abs(share - p).max(), 0.02)

    def test_soft_rows_go_with_their_windows(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            np.arange(5000, dtype=np.uint16).tofile(path / "books.bin")
            plain = data.Windows(path, {"books": 1.0}, 64, seed=1)
            firsts = [plain.start("books", i) for i in range(3)]
            np.save(path / "soft-books.npy", np.array(firsts, np.uint16)[:, None, None] + np.zeros((3, 64, 2), np.uint16))
            tokens, targets, soft, _ = data.Windows(path, {"books": 1.0}, 64, seed=1, soft=True).draw(0, 4)
            self.assertEqual(tokens[:, 0].tolist()[:3], soft[:3, 0, 0].tolist())
            self.assertTrue((soft[3] == targets[3][:, None]).all())


if __name__ == "__main__":
    unittest.main()
