// Rotary embedding: the table against long double, the rotation against doubles, and every instruction set against the reference, bit for bit.
#include "kernels/rope/rope.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

TEST(RopeTable, IsCorrectToTheFloatUpToPosition16M) {
  Random random(1);
  std::vector<double> frequencies(64);
  for (size_t i = 0; i < 64; ++i) frequencies[i] = std::pow(10000.0, -static_cast<double>(i) / 64);
  std::vector<int32_t> positions{0, 1, 2, 63, 4095, 131071, (1 << 24) - 1};
  for (int i = 0; i < 200; ++i) positions.push_back(static_cast<int32_t>(random.in(0, (1 << 24) - 1)));
  Floats table(positions.size() * 128);
  rope_table_for(Isa::kBaseline)({positions.data(), frequencies.data(), 64, 1.0f, table.data(), 128, 0, positions.size()});
  for (size_t row = 0; row < positions.size(); ++row) {
    for (size_t i = 0; i < 64; ++i) {
      const long double angle = static_cast<long double>(static_cast<double>(positions[row]) * frequencies[i]);
      ASSERT_NEAR(static_cast<double>(table[row * 128 + i]), static_cast<double>(std::cos(angle)), 6.1e-8) << positions[row] << " pair " << i;
      ASSERT_NEAR(static_cast<double>(table[row * 128 + 64 + i]), static_cast<double>(std::sin(angle)), 6.1e-8) << positions[row] << " pair " << i;
    }
  }
}

struct Case {
  size_t rows, heads, head_dim, pairs;
  bool interleaved;
};

RopeArgs args_for(const Case& c, Floats* x, const Floats& table) {
  return {x->data(), x->size() / c.rows, table.data(), table.size() / c.rows, c.pairs, c.heads, c.head_dim, c.interleaved, 0, c.rows};
}

TEST(Rope, RotatesPairsAndLeavesTheRest) {
  Random random(2);
  for (const bool interleaved : {false, true}) {
    const Case c{1, 2, 24, 10, interleaved};
    Floats x(48), table(32);
    x.fill([&] { return random.normal(); });
    table.fill([&] { return random.normal(); });
    const Floats before(x);
    rope_for(Isa::kBaseline)(args_for(c, &x, table));
    for (size_t head = 0; head < 2; ++head) {
      for (size_t i = 0; i < 10; ++i) {
        const size_t at0 = head * 24 + (interleaved ? 2 * i : i);
        const size_t at1 = head * 24 + (interleaved ? 2 * i + 1 : i + 10);
        EXPECT_NEAR(x[at0], before[at0] * table[i] - before[at1] * table[10 + i], 1e-5f);
        EXPECT_NEAR(x[at1], before[at1] * table[i] + before[at0] * table[10 + i], 1e-5f);
      }
      for (size_t i = 20; i < 24; ++i) EXPECT_EQ(x[head * 24 + i], before[head * 24 + i]);
    }
  }
}

TEST(Rope, EveryIsaGivesTheReferencesBits) {
  Random random(3);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 200; ++round) {
      const size_t pairs = random.in(1, 70);
      const Case c{random.in(1, 3), random.in(1, 4), 2 * pairs + random.in(0, 20), pairs, random.in(0, 1) != 0};
      Floats expected(c.rows * ((c.heads * c.head_dim + 15) / 16 * 16)), table(c.rows * ((2 * pairs + 15) / 16 * 16));
      expected.fill([&] { return random.awkward(); });
      table.fill([&] { return random.normal(); });
      Floats actual(expected);
      rope_for(Isa::kBaseline)(args_for(c, &expected, table));
      rope_for(isa)(args_for(c, &actual, table));
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa) << " pairs " << pairs << " interleaved " << c.interleaved;
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
