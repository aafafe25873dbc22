"""Export: GGUF written and read back, both name maps, and the forward pass after the round trip."""

import pathlib
import tempfile
import unittest

import numpy as np
import sentencepiece
import torch

import decode
import export
import gguf_file
import model
import train

TINY = dict(
    vocab=320,
    d=64,
    layers=3,
    heads=2,
    kv_heads=1,
    d_ff=64,
    experts=4,
    attn_period=2,
    attn_offset=1,
    d_inner=128,
    dt_rank=32,
)


def tiny_params(shape: model.Shape) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return {n: model.initial(n, x, shape, rng) for n, x in model.parameter_shapes(shape).items()}


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the cat sat on the mat", "a dog ran to the sea"] * 50),
            model_prefix=str(cls.path / "t"),
            vocab_size=320,
            model_type="bpe",
            byte_fallback=True,
            hard_vocab_limit=False,
            control_symbols=["<|im_start|>", "<|im_end|>"],
            user_defined_symbols=["\n"],
            minloglevel=2,
        )
        cls.vocab = sentencepiece.SentencePieceProcessor(model_file=str(cls.path / "t.model")).get_piece_size()
        cls.shape = model.Shape(**TINY | {"vocab": cls.vocab + -cls.vocab % 32})
        cls.params = tiny_params(cls.shape)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_q8_0_is_within_half_a_step(self):
        x = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
        x[2] = 0
        back = gguf_file.dequantise_q8_0(gguf_file.quantise_q8_0(x), x.shape)
        step = np.repeat(np.abs(x).reshape(5, 2, 32).max(-1) / 127, 32, axis=1)
        self.assertTrue((np.abs(back - x) <= 0.5 * step + 127 * step / 2048).all())

    def test_f32_gguf_round_trip_is_exact(self):
        path = self.path / "m.gguf"
        export.write_gguf(path, self.shape, self.params, self.path / "t.model", q8=False)
        keys, tensors = gguf_file.read(path)
        self.assertEqual(keys["jamba.attention.head_count_kv"], [0, 1, 0])
        self.assertEqual(keys["tokenizer.ggml.token_type"][:6], [2, 3, 3, 3, 3, 4])
        back = export.from_gguf(tensors, self.shape)
        for name, tensor in self.params.items():
            if name.endswith("A_log"):
                torch.testing.assert_close(back[name], tensor)
            else:
                self.assertTrue(torch.equal(back[name], tensor), name)

    def test_weights_for_another_tokenizer_go_by_piece(self):
        path = self.path / "w.gguf"
        export.write_gguf(path, self.shape, self.params, self.path / "t.model", q8=False)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the sea and a cat", "the dog sat on the sofa"] * 50),
            model_prefix=str(self.path / "u"),
            vocab_size=310,
            model_type="bpe",
            byte_fallback=True,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        old, new = (sentencepiece.SentencePieceProcessor(model_file=str(self.path / f"{n}.model")) for n in "tu")
        weights = train.gguf_weights(path, self.path / "u.model")
        rows, was = weights["model.embed_tokens.weight"], self.params["model.embed_tokens.weight"]
        pieces = [[sp.id_to_piece(i) for i in range(sp.get_piece_size())] for sp in (old, new)]
        fresh = [p for p in pieces[1] if p not in pieces[0]]
        self.assertTrue(fresh)
        for i, piece in enumerate(pieces[1]):
            if piece in pieces[0]:
                self.assertTrue(torch.equal(rows[i], was[pieces[0].index(piece)]), piece)
        self.assertEqual(len(rows), len(pieces[1]))
        self.assertTrue(torch.equal(weights["model.layers.0.mamba.D"], self.params["model.layers.0.mamba.D"]))

    def test_q8_0_logits_stay_close(self):
        path = self.path / "q.gguf"
        export.write_gguf(path, self.shape, self.params, self.path / "t.model", q8=True)
        back = export.from_gguf(gguf_file.read(path)[1], self.shape)
        ids = torch.randint(0, self.vocab, (1, 20), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            exact, rounded = (model.logits(p, ids, self.shape) for p in (self.params, back))
        self.assertLess(((exact - rounded).norm() / exact.norm()).item(), 0.05)
        self.assertGreater((exact - rounded).abs().max().item(), 0.0)

    def test_decoder_agrees_with_the_forward_pass(self):
        ids = torch.randint(0, self.vocab, (2, 9), generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            whole = model.logits(self.params, ids, self.shape)
        decoder = decode.Decoder(self.params, self.shape, 2)
        steps = torch.stack([decoder.step(ids[:, i]) for i in range(9)], 1)
        self.assertLess((whole - steps).abs().max().item(), 1e-5)

    def test_hf_names(self):
        names = export.to_hf(self.params)
        self.assertEqual(names["model.layers.0.mamba.in_proj.weight"].shape, (256, 64))
        self.assertEqual(names["model.layers.0.mamba.conv1d.weight"].shape, (128, 1, 4))
        self.assertEqual(names["model.layers.1.feed_forward.experts.3.up_proj.weight"].shape, (64, 64))
        self.assertIn("model.layers.1.self_attn.q_proj.weight", names)
        self.assertIn("model.layers.2.feed_forward.gate_proj.weight", names)
        self.assertFalse([n for n in names if "gate_up" in n or n.endswith("experts.down")])


if __name__ == "__main__":
    unittest.main()
