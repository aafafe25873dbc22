// Selective scan: against doubles, in any chunking, and every instruction set against the reference, bit for bit.
#include "kernels/ssm_scan/ssm_scan.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

struct Problem {
  Problem(Random* random, size_t rows_in, size_t states_in, size_t channels_in, bool awkward)
      : rows(rows_in), states(states_in), channels(channels_in), x(rows * channels), dt(rows * channels), b(rows * states), c(rows * states),
        z(rows * channels), a(channels * states), d(channels), state(channels * states) {
    const auto value = [&] { return awkward ? random->awkward() : random->normal(); };
    for (Floats* f : {&x, &b, &c, &z}) f->fill(value);
    dt.fill([&] { return awkward ? random->awkward(5.0f) : random->normal(3.0f); });
    a.fill([&] { return -std::exp(random->normal(2.0f)); });
    d.fill([&] { return random->normal(); });
    state.fill([&] { return random->normal(); });
  }
  SsmScanArgs args(Floats* out, const StateSegment* segments, size_t count, bool gated) const {
    return {x.data(), channels, dt.data(), channels, b.data(), states, c.data(), states, gated ? z.data() : nullptr, channels, a.data(), d.data(),
            out->data(), channels, states, segments, count, 0, channels};
  }
  size_t rows, states, channels;
  Floats x, dt, b, c, z, a, d, state;
};

TEST(SsmScan, MatchesDoubles) {
  Random random(1);
  const Problem p(&random, 30, 16, 32, false);
  Floats out(p.rows * p.channels), state(p.state);
  const StateSegment segment{0, p.rows, state.data()};
  ssm_scan_for(Isa::kBaseline)(p.args(&out, &segment, 1, true));
  for (size_t channel = 0; channel < p.channels; ++channel) {
    const size_t at = channel / 16 * p.states * 16 + channel % 16;
    std::vector<double> h(p.states);
    for (size_t n = 0; n < p.states; ++n) h[n] = static_cast<double>(p.state[at + 16 * n]);
    for (size_t row = 0; row < p.rows; ++row) {
      const size_t i = row * p.channels + channel;
      const double x = static_cast<double>(p.x[i]);
      const double dt = std::log1p(std::exp(static_cast<double>(p.dt[i])));
      double y = 0;
      double size = 0;
      for (size_t n = 0; n < p.states; ++n) {
        h[n] = std::exp(dt * static_cast<double>(p.a[at + 16 * n])) * h[n] + dt * x * static_cast<double>(p.b[row * p.states + n]);
        y += h[n] * static_cast<double>(p.c[row * p.states + n]);
        size += std::fabs(h[n] * static_cast<double>(p.c[row * p.states + n]));
      }
      const double z = static_cast<double>(p.z[i]);
      const double gate = z / (1 + std::exp(-z));
      const double skip = static_cast<double>(p.d[channel]) * x;
      EXPECT_NEAR(static_cast<double>(out[i]), (y + skip) * gate, 2e-6 * (size + std::fabs(skip)) * std::fabs(gate) + 1e-9);
    }
  }
}

TEST(SsmScan, EveryIsaGivesTheReferencesBitsInAnyChunking) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 60; ++round) {
      const size_t states = random.in(0, 1) != 0 ? 16 : random.in(1, 40);
      const Problem p(&random, random.in(1, 40), states, 16 * random.in(1, 4), round % 4 == 0);
      const bool gated = random.in(0, 3) != 0;
      Floats expected(p.rows * p.channels), expected_state(p.state);
      const StateSegment whole{0, p.rows, expected_state.data()};
      ssm_scan_for(Isa::kBaseline)(p.args(&expected, &whole, 1, gated));

      Floats actual(round % 2 != 0 ? p.x : p.z), actual_state(p.state);
      const size_t cut = random.in(0, p.rows);
      const StateSegment parts[] = {{0, cut, actual_state.data()}, {cut, p.rows, actual_state.data()}};
      SsmScanArgs args = p.args(&actual, parts, 2, gated);
      if (round % 2 != 0) args.x = actual.data();  // in place
      if (round % 2 == 0 && gated) args.z = actual.data();
      const size_t middle = 16 * random.in(0, p.channels / 16);  // two threads' shares
      args.channel_end = middle;
      ssm_scan_for(isa)(args);
      args.channel_begin = middle;
      args.channel_end = p.channels;
      ssm_scan_for(isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa) << " states " << states;
      ASSERT_TRUE(same_bits(expected_state, actual_state)) << name(isa) << " states " << states;
    }
  }
}

TEST(SsmScan, EveryIsaAgreesAllOverTheFloatsOfDt) {
  // Every 65521st bit pattern as dt: softplus from its subnormal to its linear end, decays from 1 to below 2^-126.
  constexpr size_t kRows = (1ull << 32) / 65521 / 16;
  Random random(3);
  Problem p(&random, kRows, 4, 16, false);
  for (size_t i = 0; i < kRows * 16; ++i) p.dt[i] = std::bit_cast<float>(static_cast<uint32_t>(i * 65521));
  const auto run = [&](Isa isa) {
    Floats out(kRows * 16);
    for (size_t row = 0; row < kRows; ++row) {  // each from the same state: an infinity or a NaN would stay in it
      Floats state(p.state);
      const StateSegment segment{row, row + 1, state.data()};
      ssm_scan_for(isa)(p.args(&out, &segment, 1, true));
    }
    return out;
  };
  const Floats expected = run(Isa::kBaseline);
  for (const Isa isa : wide_isas()) EXPECT_TRUE(same_bits(expected, run(isa))) << name(isa);
}

}  // namespace
}  // namespace sluice::kernels
