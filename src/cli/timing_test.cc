// What `sluice bench` is made of, apart from time itself: the peer's command line and output, the costs of ops, the profile's table and chart.
#include <gmock/gmock.h>

#include "cli/timing_cost.h"
#include "cli/timing_figures.h"
#include "cli/timing_peer.h"
#include "cli/timing_profile.h"
#include "kernels/matmul/matmul.h"
#include "program/builder.h"

namespace sluice::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Limits kLimits{{1e12, 1e12}, {1e11, 1e11}, {4e10, 4e10}};

// A head of 1024 outputs in Q4_K over hidden 256, behind a norm.
program::Program small_program() {
  using namespace program;
  Builder b({.family = "t", .layers = 1, .vocabulary = 1024, .hidden = 256});
  const ValueId table = b.matrix("table", 1024, 256);
  const ValueId x = b.rmsnorm(b.embed(table, 1.0), kNoValue, 1e-5);
  Program program = b.finish(b.matmul(b.select_rows(x), table));
  for (Value& value : program.values) {
    if (value.kind != ValueKind::kWeight) continue;
    value.dtype = DType::kQ4_K;
    value.bytes = kernels::packed_bytes(DType::kQ4_K, value.n, value.k);
  }
  return program;
}

TEST(Timing, SpreadIsMedianAndEnds) {
  const Spread odd = spread_of({3, 1, 2}), even = spread_of({4, 1, 3, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.low, 1);
  EXPECT_EQ(even.high, 4);
}

TEST(Timing, PeerArguments) {
  const Peer peer{"llama-bench", {"-rtr", "1"}, "m.gguf", 2};
  EXPECT_THAT(peer_arguments(peer, {.prompt = 512, .generate = 0, .depth = 0, .sequences = 1}),
              ElementsAre("llama-bench", "-rtr", "1", "-m", "m.gguf", "-t", "2", "-p", "512", "-n", "0", "-r", "1", "-o", "json"));
  EXPECT_THAT(peer_arguments(peer, {.prompt = 0, .generate = 32, .depth = 8192, .sequences = 1}), testing::Contains("-d"));
  EXPECT_THAT(peer_arguments(peer, {.prompt = 0, .generate = 32, .depth = 0, .sequences = 8}),
              ElementsAre("llama-bench", "-rtr", "1", "-m", "m.gguf", "-t", "2", "-npp", "1", "-ntg", "32", "-npl", "8", "-c", "512",
                          "--output-format", "jsonl"));
}

TEST(Timing, PeerOutput) {
  const char* list = "warning: busy\n[\n {\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": 50.5},\n {\"n_prompt\": 0, \"n_gen\": 32, \"avg_ts\": 17.25}\n]\n";
  const auto prompt = parse_peer_output(list, {.prompt = 512, .generate = 0, .depth = 0, .sequences = 1});
  const auto generated = parse_peer_output(list, {.prompt = 0, .generate = 32, .depth = 0, .sequences = 1});
  ASSERT_TRUE(prompt.ok() && generated.ok());
  EXPECT_EQ(*prompt, 50.5);
  EXPECT_EQ(*generated, 17.25);
  const auto together = parse_peer_output("load\n{\"pl\": 8, \"speed_tg\": 28.5}\n{\"pl\": 9}\n", {.prompt = 0, .generate = 32, .depth = 0, .sequences = 8});
  ASSERT_TRUE(together.ok());
  EXPECT_EQ(*together, 28.5);
  for (const char* broken : {"", "no", "[", "[1, 2", "[{}]", "[7]", "[{\"n_prompt\": 512, \"n_gen\": 0}]",
                             "[{\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": \"fast\"}]"}) {
    EXPECT_FALSE(parse_peer_output(broken, {.prompt = 512, .generate = 0, .depth = 0, .sequences = 1}).ok()) << broken;
  }
  EXPECT_FALSE(parse_peer_output("{\"pl\": 8}", {.prompt = 0, .generate = 1, .depth = 0, .sequences = 8}).ok());
}

TEST(Timing, PeerThatCannotRunIsAnError) {
  const PeerCase what{.prompt = 1, .generate = 0, .depth = 0, .sequences = 1};
  EXPECT_THAT(run_peer_once({"/nonexistent/llama-bench", {}, "m", 1}, what).error().message, HasSubstr("cannot be started"));
  EXPECT_THAT(run_peer_once({"false", {}, "m", 1}, what).error().message, HasSubstr("exit status 1"));
  EXPECT_THAT(run_peer_once({"true", {}, "m", 1}, what).error().message, HasSubstr("no JSON"));
}

TEST(Timing, CostsOfAStep) {
  const program::Program program = small_program();
  const Cost cost = cost_of(program, {.rows = 512, .sequences = 1, .depth = 0});
  EXPECT_EQ(cost.int8_operations, 2.0 * 1024 * 256);  // one row has logits
  EXPECT_EQ(cost.bytes, static_cast<double>(kernels::packed_bytes(DType::kQ4_K, 1024, 256)));
  EXPECT_EQ(cost_of(program, {.rows = 8, .sequences = 8, .depth = 0}).int8_operations, 8 * 2.0 * 1024 * 256);
  EXPECT_EQ(cost_of(program, {.rows = 8, .sequences = 8, .depth = 0, .logits = false}).bytes, 0);
  EXPECT_DOUBLE_EQ(shortest_seconds(program, {.rows = 1, .sequences = 1, .depth = 0}, kLimits, true), cost.bytes / 4e10);
}

TEST(Timing, ProfileTable) {
  const program::Program program = small_program();
  runtime::Profile profile(program.ops.size(), 2);
  const size_t head = program.ops.size() - 1;
  const StepShape shape{.rows = 1, .sequences = 1, .depth = 0};
  const double shortest = shortest_seconds(program, shape, kLimits, true);
  profile.at(head, 0).cpu_ns = profile.at(head, 1).cpu_ns = static_cast<uint64_t>(4e9 * shortest + 0.5);  // two steps, each twice as long as the limit
  profile.at(0, 0).wait_ns = 600;
  ProfileTable table = profile_table(program, profile, 2, shape, kLimits);
  ASSERT_FALSE(table.lines.empty());
  EXPECT_EQ(table.lines[0].what, "matmul q4_k");
  EXPECT_NEAR(table.lines[0].share, 0.5, 0.01);
  EXPECT_DOUBLE_EQ(table.wait_seconds, 150e-9);
  table.step = "decode <0>";
  table.step_seconds = 2 * table.kernel_seconds();
  EXPECT_DOUBLE_EQ(table.outside_share(), 0.5);
  const std::string svg = profile_svg("a & b", {table});
  EXPECT_THAT(svg, HasSubstr("a &amp; b"));
  EXPECT_THAT(svg, HasSubstr("decode &lt;0&gt;"));
  EXPECT_THAT(svg, HasSubstr("50 % of limit, 100.0 % of time"));
}

}  // namespace
}  // namespace sluice::cli
