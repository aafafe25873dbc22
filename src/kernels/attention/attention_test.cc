// Paged attention: against doubles for every stored type, masks, sinks, cuts of the work, and every instruction set against the reference, bit for bit.
#include "kernels/attention/attention.h"

#include <memory>

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kQ8, KvType::kQ4};

struct Options {
  KvType type = KvType::kF32;
  uint32_t heads = 1, group = 1, dim_k = 16, dim_v = 16;
  size_t depth = 1;   // positions stored
  size_t rows = 1;    // the last `rows` of them ask
  float softcap = 0;
  int32_t window = 0;
  bool sinks = false;
  bool awkward = false;
};

// One sequence whose pages are scattered in memory, with another layer before ours.
struct Problem {
  Problem(Random* random, const Options& options)
      : o(options), shape{o.type, o.heads, o.dim_k, o.dim_v}, k(o.depth * o.heads * o.dim_k), v(o.depth * o.heads * o.dim_v),
        q(o.rows * o.heads * o.group * o.dim_k), sink_values(o.heads * o.group), page_floats((kLayerOffset + kv_page_bytes(shape)) / 4) {
    const auto value = [&] { return o.awkward ? random->awkward() : random->normal(); };
    k.fill(value);
    v.fill(value);
    q.fill(value);
    sink_values.fill([&] { return random->normal(2.0f); });
    const size_t count = (o.depth + kPageTokens - 1) / kPageTokens;
    storage = std::make_unique<Floats>(count * page_floats, std::numeric_limits<float>::quiet_NaN());  // nothing unwritten may count
    for (size_t i = 0; i < count; ++i) pages.push_back(reinterpret_cast<uint8_t*>(storage->data() + (count - 1 - i) * page_floats));
    std::vector<KvRow> all(o.depth);
    for (size_t i = 0; i < o.depth; ++i) all[i] = {pages.data(), static_cast<int32_t>(i)};
    rows.assign(all.end() - static_cast<ptrdiff_t>(o.rows), all.end());
    kv_write_for(o.type, Isa::kBaseline)({shape, k.data(), o.heads * o.dim_k, v.data(), o.heads * o.dim_v, all.data(), kLayerOffset, 0, o.depth});
  }

  uint32_t q_heads() const { return o.heads * o.group; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(o.dim_k)); }

  // The items of all threads, cut at random where random is given.
  Floats run(Isa isa, uint32_t head_parts, Random* random) const {
    Floats out(o.rows * q_heads() * o.dim_v);
    Floats scratch(attention_scratch_floats(shape, q_heads()));
    AttentionArgs args{shape, q.data(), q_heads() * o.dim_k, out.data(), q_heads() * o.dim_v, q_heads(), scale(), o.softcap, o.window,
                       o.sinks ? sink_values.data() : nullptr, rows.data(), o.rows, head_parts, kLayerOffset, scratch.data(), 0, 0};
    const size_t items = o.rows * o.heads * head_parts;
    while (args.item_begin < items) {
      args.item_end = random != nullptr ? random->in(args.item_begin + 1, items) : items;
      attention_for(o.type, isa)(args);
      args.item_begin = args.item_end;
    }
    return out;
  }

  double truth(size_t row, uint32_t head, size_t d) const {
    const size_t position = static_cast<size_t>(rows[row].position);
    const size_t seen = o.window > 0 ? static_cast<size_t>(o.window) : position + 1;
    const uint32_t kv_head = head / o.group;
    const double s_cap = static_cast<double>(o.softcap);
    double sum = o.sinks ? std::exp(static_cast<double>(sink_values[head])) : 0;
    double value = 0;
    for (size_t j = position + 1 > seen ? position + 1 - seen : 0; j <= position; ++j) {
      double s = 0;
      for (size_t i = 0; i < o.dim_k; ++i) {
        s += static_cast<double>(q[(row * q_heads() + head) * o.dim_k + i]) * static_cast<double>(k[(j * o.heads + kv_head) * o.dim_k + i]);
      }
      s *= static_cast<double>(scale());
      if (o.softcap > 0) s = s_cap * std::tanh(s / s_cap);
      sum += std::exp(s);
      value += std::exp(s) * static_cast<double>(v[(j * o.heads + kv_head) * o.dim_v + d]);
    }
    return value / sum;
  }

  static constexpr size_t kLayerOffset = 128;
  Options o;
  KvShape shape;
  Floats k, v, q, sink_values;
  size_t page_floats;
  std::unique_ptr<Floats> storage;
  std::vector<uint8_t*> pages;
  std::vector<KvRow> rows;
};

void expect_near_truth(const Options& options, double tolerance) {
  Random random(1);
  const Problem p(&random, options);
  const Floats out = p.run(Isa::kBaseline, 1, nullptr);
  for (size_t row = 0; row < options.rows; ++row) {
    for (uint32_t head = 0; head < p.q_heads(); ++head) {
      for (size_t d = 0; d < options.dim_v; ++d) {
        ASSERT_NEAR(static_cast<double>(out[(row * p.q_heads() + head) * options.dim_v + d]), p.truth(row, head, d), tolerance) << row << " " << head;
      }
    }
  }
}

TEST(Attention, MatchesDoubles) {
  constexpr double kTolerances[] = {2e-6, 2e-3, 3e-2, 4e-1};  // by type; the last three are the rounding of what is stored
  for (const KvType type : kTypes) {
    const double tolerance = kTolerances[static_cast<size_t>(type)];
    expect_near_truth({type, 2, 3, 24, 40, 150, 5}, tolerance);
    expect_near_truth({type, 1, 1, 8, 8, 1, 1}, tolerance);
    expect_near_truth({type, 1, 2, 16, 16, 200, 3, 0, 70}, tolerance);
    expect_near_truth({type, 1, 2, 16, 16, 64, 64, 0, 4, true}, tolerance);
    expect_near_truth({type, 1, 2, 32, 32, 100, 2, 5.0f, 0, true}, tolerance);
  }
}

TEST(Attention, AWindowSeesOnlyItsPositions) {
  Random random(3);
  Options options;
  options.depth = 100;
  options.window = 1;
  const Problem p(&random, options);
  const Floats out = p.run(Isa::kBaseline, 1, nullptr);
  for (size_t d = 0; d < options.dim_v; ++d) EXPECT_EQ(out[d], p.v[99 * options.dim_v + d]);  // p = 1, l = 1
}

TEST(Attention, PageBytesAreWhatThePlanCounts) {
  // Jamba 3B: one KV head of 128, f16: 512 bytes a position and layer.
  EXPECT_EQ(kv_page_bytes({KvType::kF16, 1, 128, 128}), 64u * 512u);
  EXPECT_EQ(kv_page_bytes({KvType::kF32, 1, 128, 128}), 64u * 1024u);
  EXPECT_EQ(kv_page_bytes({KvType::kQ8, 1, 128, 128}), 64u * (256u + 32u));
  EXPECT_EQ(kv_page_bytes({KvType::kQ4, 1, 128, 128}), 64u * (128u + 32u));
}

TEST(Attention, EveryIsaAndEveryCutOfTheWorkGiveTheReferencesBits) {
  Random random(4);
  for (int round = 0; round < 120; ++round) {
    Options options;
    options.type = kTypes[round % 4];
    options.heads = static_cast<uint32_t>(random.in(1, 3));
    options.group = static_cast<uint32_t>(random.in(1, round % 3 == 0 ? 21 : 5));
    options.dim_k = static_cast<uint32_t>(random.in(1, 70));
    options.dim_v = static_cast<uint32_t>(random.in(1, 70));
    options.depth = random.in(1, 300);
    options.rows = random.in(1, std::min<size_t>(options.depth, 9));
    if (round % 5 == 1) options.softcap = 3.0f;
    if (round % 5 == 2) options.window = static_cast<int32_t>(random.in(1, 200));
    options.sinks = round % 7 == 3;
    options.awkward = round % 11 == 5;
    const Problem p(&random, options);
    const Floats expected = p.run(Isa::kBaseline, 1, nullptr);
    ASSERT_TRUE(same_bits(expected, p.run(Isa::kBaseline, options.group, &random)));
    for (const Isa isa : wide_isas()) {
      const uint32_t parts = static_cast<uint32_t>(random.in(1, options.group));
      ASSERT_TRUE(same_bits(expected, p.run(isa, 1, nullptr))) << name(isa) << " type " << static_cast<int>(options.type) << " round " << round;
      ASSERT_TRUE(same_bits(expected, p.run(isa, parts, &random))) << name(isa) << " type " << static_cast<int>(options.type) << " round " << round;
    }
  }
}

TEST(Attention, NeighboursInAStepChangeNothing) {
  // Rows of three sequences, and one of them twice with its rows in falling order: none may share a tile wrongly.
  Random random(5);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 10; ++round) {
      Options options;
      options.type = kTypes[round % 4];
      options.group = static_cast<uint32_t>(random.in(1, 7));
      options.dim_k = options.dim_v = 32;
      std::vector<Problem> sequences;
      for (int i = 0; i < 3; ++i) {
        options.depth = random.in(6, 260);
        options.rows = random.in(1, 6);
        sequences.emplace_back(&random, options);
      }
      const size_t width = options.group * options.dim_k;
      std::vector<KvRow> rows;
      std::vector<float> q, expected;
      const auto take = [&](const Problem& p, const Floats& alone, size_t row) {
        rows.push_back(p.rows[row]);
        q.insert(q.end(), p.q.data() + row * width, p.q.data() + (row + 1) * width);
        expected.insert(expected.end(), alone.data() + row * width, alone.data() + (row + 1) * width);
      };
      for (const Problem& p : sequences) {
        const Floats alone = p.run(Isa::kBaseline, 1, nullptr);
        for (size_t row = 0; row < p.o.rows; ++row) take(p, alone, row);
        for (size_t row = p.o.rows; row-- > 0;) take(p, alone, row);
      }
      Floats out(rows.size() * width);
      Floats scratch(attention_scratch_floats(sequences[0].shape, options.group));
      attention_for(options.type, isa)({sequences[0].shape, q.data(), width, out.data(), width, options.group, sequences[0].scale(), 0, 0, nullptr,
                                        rows.data(), rows.size(), 1, Problem::kLayerOffset, scratch.data(), 0, rows.size()});
      ASSERT_EQ(first_difference(expected.data(), out.data(), out.size()), out.size()) << name(isa) << " round " << round;
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
