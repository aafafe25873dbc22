"""Windows are the same for every rerun; packed rows; corruption, GLEU and the 5-gram's sums."""

import pathlib
import random
import tempfile
import unittest

import numpy as np

import corrupt
import data
import evaluate_tasks
import kneser_ney
import prepare
import tasks


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

    def test_rows_count_only_the_assistant(self):
        talk = [("user", "ab"), ("assistant", "cd")]
        rows = tasks.pack([talk] * 9, FakeProcessor(), 60)
        said = rows[0, 0][rows[0, 1] == 1].tolist()
        self.assertEqual(said[:3], [ord("c"), ord("d"), 4])
        self.assertEqual(set(rows[:, 0, 0]), {1})

    def test_corruption_differs_and_repeats(self):
        sentence = "The old man looked at the river, and thought of his boat."
        made = [corrupt.corrupt(sentence, random.Random(i)) for i in range(200)]
        self.assertNotIn(sentence, made)
        self.assertEqual(made, [corrupt.corrupt(sentence, random.Random(i)) for i in range(200)])

    def test_shorten(self):
        long = "The cat, which was very old, slept by the fire, and nobody came near it."
        self.assertEqual(corrupt.shorten(long), "The cat slept by the fire.")

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


if __name__ == "__main__":
    unittest.main()
