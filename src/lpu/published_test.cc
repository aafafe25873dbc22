// The published results that this model is held to (docs/lpu.md, table "Held to"). Rows 2 and 3 were fitted, the rest is predicted. A row that misses its
// band is tested for what it does predict, and says so: the miss is the finding, and a change that moves it must be seen.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>

#include "compiler/shapes.h"
#include "lpu/fit.h"
#include "lpu/lpu_test_support.h"
#include "lpu/report.h"

namespace sluice::lpu {
namespace {

constexpr uint64_t k256K = 262144;

double seconds(const Chip& chip, uint64_t cycles) { return static_cast<double>(cycles) / chip.clock_hz; }

// `layers`: as many as that instead of the configured ones.
program::Program published(const std::string& name, uint64_t layers = 0) {
  std::ifstream file(std::string(SLUICE_SHARED_DIR) + "/data/configs/" + name + ".json");
  if (!file) return {};
  nlohmann::json fields = nlohmann::json::parse(file, nullptr, false);
  if (layers > 0) fields["num_hidden_layers"] = layers;
  const models::Config config(models::Format::kHuggingFace, std::move(fields), nullptr);
  Result<program::Program> program = compiler::program_of_shapes(config);
  EXPECT_TRUE(program.ok()) << (program.ok() ? "" : program.error().message);
  return program.ok() ? std::move(*program) : program::Program{};
}

#define SLUICE_NEED(program) \
  if ((program).ops.empty()) GTEST_SKIP() << "no data/configs: the reference data is not beside the project"

TEST(Row1, InstallsAllWeightsInFortyCyclesAndFillsASliceInTwenty) {
  const Chip v1 = chip_of("lpu-v1");
  EXPECT_EQ(409600 / v1.feed_bytes_per_cycle(), 40);  // published: "< 40"; the bandwidth alone gives 40
  EXPECT_EQ(v1.fill_cycles, 20);
  EXPECT_EQ(v1.planes_8bit * v1.tile_k_8bit * v1.tile_n, 409600);
}

TEST(Fit, IsWhatTheFitGives) {
  const Result<Latencies> again = fit(chip_of("lpu-v1"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->tile_overhead, kFitted.tile_overhead);
  EXPECT_EQ(again->chain, kFitted.chain);
}

TEST(Fit, ReadsNoOtherRow) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/src/lpu/fit.cc");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  ASSERT_NE(text.find("130e-6"), std::string::npos);
  for (const char* other : {"1225", "330e", "32576", "2.1e", "576", "300", "722", "published", "Row4", "Row 4", "Row5", "Row6", "Row7", "Row8", "Row9"}) {
    EXPECT_EQ(text.find(other), std::string::npos) << other;
  }
}

TEST(Row2, HalfPrecisionMatmulUtilisation) {
  const Row2 row = row2_utilisation(chip_of("lpu-v1"), kFitted);
  EXPECT_GE(row.lowest, 0.80);
  EXPECT_NEAR(row.mean, 0.95, 0.05);
}

TEST(Row3, BertBase) {
  const Result<double> time = row3_seconds(chip_of("lpu-v1"), kFitted);
  ASSERT_TRUE(time.ok());
  EXPECT_NEAR(*time, 130e-6, 0.15 * 130e-6);
}

double bert_large_us(int bits, uint64_t tokens) {
  const Chip v1 = chip_of("lpu-v1");
  const Workload work = encoder_workload({.layers = 24, .hidden = 1024, .inner = 4096, .heads = 16, .tokens = tokens}, bits);
  const Result<Schedule> s = make_schedule(work, v1, kFitted, {.chips = 4, .split_max = 1, .stages = 4});
  EXPECT_TRUE(s.ok());
  return s.ok() ? 1e6 * (seconds(v1, s->cycles) + v1.host_s) : 0;
}

// Published: 1225 us. The source we have names neither the types nor the length: 8 bits as in the fit, 384 tokens as SQuAD is run. A miss, 20 % short.
// With 16-bit matrices it would be longer; picked after the fact, that would be a fit.
TEST(Row4, BertLargeIsMissedByAFifth) {
  EXPECT_NEAR(bert_large_us(8, 384), 980, 10);
  EXPECT_LT(bert_large_us(8, 384), 0.85 * 1225);
}

TEST(Row4, ThroughputOfEncodersIsLinearInChips) {
  const Chip v1 = chip_of("lpu-v1");
  double one = 0;
  for (const uint64_t chips : {1, 4, 8, 16}) {
    const Workload work = encoder_workload({.layers = 6 * chips, .hidden = 1024, .inner = 4096, .heads = 16, .tokens = 384}, 8);
    const Result<Schedule> s = make_schedule(work, v1, kFitted, {.chips = chips, .split_max = 1, .stages = chips});
    ASSERT_TRUE(s.ok()) << s.error().message;
    if (chips == 1) one = static_cast<double>(s->interval);
    EXPECT_NEAR(static_cast<double>(s->interval), one, 0.05 * one) << chips;
  }
}

TEST(Row5, WideMatmulOnEightChips) {
  const Chip v1 = chip_of("lpu-v1");
  const uint64_t cycles = matmul_cycles(v1, kFitted, 16, 800, 32576, 8192 / 8, 1) + static_cast<uint64_t>(v1.fill_cycles) + kFitted.chain;
  EXPECT_NEAR(seconds(v1, cycles), 330e-6, 33e-6);
}

TEST(Row6, AllReduceOf256ChipsIsThreeHops) {
  const Chip v1 = chip_of("lpu-v1");
  EXPECT_NEAR(static_cast<double>(v1.hops(256)) * v1.hop_s, 2.1e-6, 0.05 * 2.1e-6);
}

// 350 ns a hop is right for one hop; further steps were published 400 and 450 ns apart, for which no cause is given: up to 17 % short. A miss.
TEST(Row6, StaircaseIsMissedBeyondTheFirstStep) {
  const Chip lp30 = chip_of("lp30");
  const std::pair<double, double> steps[] = {{8, 0.35}, {64, 0.75}, {128, 1.15}, {384, 1.60}, {640, 2.05}, {896, 2.50}, {1152, 2.95}};
  double worst = 0;
  for (const auto& [gigabytes, us] : steps) {
    const double predicted = 1e6 * lp30.hop_s * static_cast<double>(lp30.hops(static_cast<uint64_t>(gigabytes * 2)));
    worst = std::max(worst, 1 - predicted / us);
    EXPECT_LE(predicted, us * 1.001);
  }
  EXPECT_NEAR(1e6 * lp30.hop_s, 0.35, 0.0175);
  EXPECT_NEAR(worst, 0.17, 0.01);
}

TEST(Row8, KvParametersAndChipsOfJamba) {
  const Chip v1 = chip_of("lpu-v1");
  struct Row {
    const char* name;
    double params, kv_gib;
    uint64_t chips;
  };
  for (const Row& row : {Row{"jamba-reasoning-3b", 3029337472, 0.25, 15}, Row{"jamba-v0.1", 51570323328, 4, 243}, Row{"jamba-1.5-large", 398555145696, 9, 0}}) {
    const program::Program program = published(row.name);
    SLUICE_NEED(program);
    const Workload work = workload_of(program, {.bits = 8, .context = k256K, .users = 1});
    EXPECT_EQ(static_cast<double>(work.params_total), row.params) << row.name;
    EXPECT_EQ(static_cast<double>(work.kv_bytes()), row.kv_gib * (1ull << 30)) << row.name;
    if (row.chips == 0) continue;
    const Result<Schedule> s = make_schedule(work, v1, kFitted, {});
    ASSERT_TRUE(s.ok()) << s.error().message;
    EXPECT_EQ(s->chips(), row.chips) << row.name;
  }
}

TEST(Row7, Llama2OfSeventyBillion) {
  const Chip v1 = chip_of("lpu-v1");
  const program::Program program = published("llama-2-70b");
  SLUICE_NEED(program);
  const Workload work = workload_of(program, {.bits = 8, .context = 1536, .users = 1});
  EXPECT_EQ(std::ceil(static_cast<double>(work.params_total) / v1.sram_bytes), 300);
  const Result<Schedule> s = make_schedule(work, v1, kFitted, {.chips = 576});
  ASSERT_TRUE(s.ok()) << s.error().message;
  EXPECT_EQ(s->chips(), 576);
  const double rate = report_of(work, *s, v1).user_tokens_per_s;
  EXPECT_GE(rate, 300);
  EXPECT_LE(rate, 600);
}

// Every schedule passed the verifier when it was made.
TEST(Models, AreScheduledOnEveryChip) {
  for (const char* name : {"jamba-reasoning-3b", "jamba-v0.1", "mixtral-8x7b", "llama-3.1-70b", "gemma-3-1b", "mamba-2.8b"}) {
    const program::Program program = published(name);
    SLUICE_NEED(program);
    for (const char* chip_name : {"lpu-v1", "lp30", "wse-3", "corsair"}) {
      const Chip chip = chip_of(chip_name);
      const Result<Schedule> s = make_schedule(workload_of(program, {.context = 16384, .users = 4}), chip, kFitted, {});
      EXPECT_TRUE(s.ok()) << name << " on " << chip_name << ": " << s.error().message;
    }
  }
}

// Slots grow with layers, and nothing else does; a decode step of Jamba Mini takes well below ten seconds.
TEST(Cost, IsLinearInOps) {
  const Chip v1 = chip_of("lpu-v1");
  double slots[3] = {}, cpu_seconds[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    const program::Program program = published("jamba-v0.1", 32u << i);
    SLUICE_NEED(program);
    const Workload work = workload_of(program, {});
    const std::clock_t begin = std::clock();
    const Result<Schedule> s = make_schedule(work, v1, kFitted, {.stages = 4u << i});
    cpu_seconds[i] = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    ASSERT_TRUE(s.ok()) << s.error().message;
    slots[i] = static_cast<double>(s->slots.size());
    std::printf("%u layers: %zu ops, %.0f slots, scheduled and verified in %.4f s of CPU time\n", 32u << i, work.ops.size(), slots[i], cpu_seconds[i]);
  }
  EXPECT_NEAR(slots[1], 2 * slots[0], 0.02 * slots[1]);
  EXPECT_NEAR(slots[2], 4 * slots[0], 0.02 * slots[2]);
  EXPECT_LT(cpu_seconds[2], 4 * 4 * std::max(cpu_seconds[0], 1e-3));  // linear within the noise of milliseconds; a square would be 16 times and more
  const program::Program program = published("jamba-v0.1");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(make_schedule(workload_of(program, {}), v1, kFitted, {}).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

// All experts are resident, a token's slots have the length of the k that it takes, and the schedule has no place for which ones: the worst case is the only
// case. (That tokens take different experts on one schedule, and get the CPU's numbers: src/cli/lpu_values_test.cc.)
TEST(Experts, TakeOneStaticSlotATokenWhicheverTheRouterPicks) {
  const Chip v1 = chip_of("lpu-v1");
  const program::Program program = published("jamba-v0.1");
  SLUICE_NEED(program);
  const Workload work = workload_of(program, {});
  const Result<Schedule> s = make_schedule(work, v1, kFitted, {});
  ASSERT_TRUE(s.ok()) << s.error().message;
  size_t expert_ops = 0;
  for (const Slot& slot : s->slots) {
    const Work& op = work.ops[slot.op];
    if (op.name != "moe_matmul" || slot.unit != Unit::kMatrix) continue;
    ++expert_ops;
    EXPECT_EQ(op.count, 16u);
    EXPECT_EQ(op.uses, 2u);
    EXPECT_EQ(op.weight_bytes, 16 * op.n * op.k);
    const uint64_t chips = s->stages[slot.stage].chips;
    const bool by_sums = s->placed[slot.writes].partial;
    const uint64_t n = by_sums ? op.n : (op.n + chips - 1) / chips, k = by_sums ? (op.k + chips - 1) / chips : op.k;
    std::vector<Region> inputs;
    for (const uint32_t id : slot.reads) inputs.push_back(s->placed[id].at);
    const uint64_t cycles = matmul_cycles(v1, kFitted, 8, 1, k, n, 2);
    EXPECT_EQ(slot.busy, reading(SliceMap(v1), slot.stage, inputs, {s->resident[slot.op].weights}, cycles, true).busy);
  }
  EXPECT_EQ(expert_ops, 16u * 3);
}

}  // namespace
}  // namespace sluice::lpu
