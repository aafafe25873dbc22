// Causal convolution: against doubles, in any chunking, and every instruction set against the reference, bit for bit.
#include "kernels/conv1d/conv1d.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

struct Problem {
  Problem(Random* random, size_t rows_in, size_t taps_in, size_t channels_in, bool awkward)
      : rows(rows_in), taps(taps_in), channels(channels_in), x(rows * channels), weight(taps * channels), bias(channels), state((taps - 1) * channels) {
    x.fill([&] { return awkward ? random->awkward() : random->normal(); });
    weight.fill([&] { return random->normal(); });
    bias.fill([&] { return random->normal(); });
    state.fill([&] { return random->normal(); });
  }
  Conv1dArgs args(Floats* out, const StateSegment* segments, size_t count, bool silu) const {
    return {x.data(), channels, weight.data(), bias.data(), out->data(), channels, taps, channels, silu, segments, count, 0, channels};
  }
  size_t rows, taps, channels;
  Floats x, weight, bias, state;
};

TEST(Conv1d, MatchesDoubles) {
  Random random(1);
  const Problem p(&random, 9, 4, 16, false);
  Floats out(p.rows * p.channels), state(p.state);
  const StateSegment segment{0, p.rows, state.data()};
  conv1d_for(Isa::kBaseline)(p.args(&out, &segment, 1, true));
  const auto input = [&](size_t row, size_t back, size_t c) {  // the raw input `back` rows before `row`
    return static_cast<double>(row >= back ? p.x[(row - back) * p.channels + c] : p.state[(p.taps - 1 + row - back) * p.channels + c]);
  };
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t c = 0; c < p.channels; ++c) {
      double y = static_cast<double>(p.bias[c]);
      for (size_t j = 0; j < p.taps; ++j) y += static_cast<double>(p.weight[j * p.channels + c]) * input(row, p.taps - 1 - j, c);
      EXPECT_NEAR(static_cast<double>(out[row * p.channels + c]), y / (1 + std::exp(-y)), 2e-6);
    }
  }
  for (size_t j = 0; j + 1 < p.taps; ++j) EXPECT_EQ(state[j * p.channels], p.x[(p.rows - (p.taps - 1) + j) * p.channels]);
}

TEST(Conv1d, EveryIsaGivesTheReferencesBitsInAnyChunking) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 60; ++round) {
      const Problem p(&random, random.in(1, 40), random.in(2, 8), 16 * random.in(1, 5), round % 4 == 0);
      const bool silu = random.in(0, 1) != 0;
      Floats expected(p.rows * p.channels), expected_state(p.state);
      const StateSegment whole{0, p.rows, expected_state.data()};
      conv1d_for(Isa::kBaseline)(p.args(&expected, &whole, 1, silu));

      Floats actual(p.rows * p.channels), actual_state(p.state);
      const size_t cut = random.in(0, p.rows);
      const StateSegment parts[] = {{0, cut, actual_state.data()}, {cut, p.rows, actual_state.data()}};
      Conv1dArgs args = p.args(&actual, parts, 2, silu);
      const size_t middle = 16 * random.in(0, p.channels / 16);  // two threads' shares
      args.channel_end = middle;
      conv1d_for(isa)(args);
      args.channel_begin = middle;
      args.channel_end = p.channels;
      conv1d_for(isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa);
      ASSERT_TRUE(same_bits(expected_state, actual_state)) << name(isa);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
