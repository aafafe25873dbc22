// The chips' numbers are the CPU's: small models decode on the schedule of 1 to 4 chips, as a pipeline, split inside layers, and both, and the logits of
// every token equal the engine's by memcmp. The router's choices differ from token to token; the schedule does not.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/golden_support.h"
#include "compiler/synth.h"
#include "lpu/fit.h"
#include "lpu/values.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kContext = 128;
constexpr uint64_t kExpertsSeen = 10;  // pairs of layer and expert: more than a token takes, so that tokens took different ones

struct Case {
  const char* folder;
  uint64_t tokens;
};

lpu::Chip chip_of(const char* name) {
  const Result<lpu::Chip> chip = lpu::read_chip(std::string(SLUICE_SOURCE_DIR) + "/lpu/chips/" + name + ".json");
  SLUICE_CHECK(chip.ok());
  return *chip;
}

std::filesystem::path golden(const char* folder) { return std::filesystem::path(SLUICE_SHARED_DIR) / "golden" / folder; }

class LpuValues : public testing::TestWithParam<Case> {};

void expect_the_cpus(const std::filesystem::path& path, uint64_t count) {
  Result<TestModel> cpu = TestModel::open(path, {});
  ASSERT_TRUE(cpu.ok()) << cpu.error().message;
  const Result<weights::Checkpoint> checkpoint = weights::Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok());
  const Result<compiler::Model> model = compiler::compile_in_memory(*checkpoint, "", {});
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto vocabulary = static_cast<int32_t>(model->program.facts.vocabulary);
  std::vector<int32_t> tokens;
  for (uint64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(i * 37 + i * i) % vocabulary);
  auto session = cpu->session(kContext);
  const std::vector<float> expected = read_all(*session, tokens, 0);
  const lpu::Workload work = lpu::workload_of(model->program, {.context = kContext, .exact = true});
  const lpu::Chip chip = chip_of("lpu-v1");
  const std::pair<uint64_t, uint64_t> cuts[] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {2, 2}, {3, 3}, {4, 4}, {4, 2}};  // chips, stages
  for (const auto& [chips, stages] : cuts) {
    SCOPED_TRACE(std::to_string(chips) + " chips in " + std::to_string(stages) + " stages");
    const Result<lpu::Schedule> schedule = lpu::make_schedule(work, chip, lpu::kFitted, {.chips = chips, .stages = stages});
    ASSERT_TRUE(schedule.ok()) << schedule.error().message;
    ASSERT_EQ(schedule->chips(), chips);
    ASSERT_EQ(schedule->stages.size() > 1, stages > 1);
    auto machine = lpu::ValueMachine::create(model->program, model->weights, work, chip, *schedule);
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto logits = (*machine)->step(tokens[i]);
      ASSERT_TRUE(logits.ok()) << logits.error().message;
      ASSERT_EQ(std::memcmp(logits->data(), expected.data() + i * logits->size(), logits->size_bytes()), 0) << "token " << i;
    }
    EXPECT_EQ((*machine)->counters().cycles, tokens.size() * schedule->cycles);
    EXPECT_EQ((*machine)->counters().bytes_sent > 0, chips > 1);
    EXPECT_GE((*machine)->counters().experts_used, model->program.facts.params_total == model->program.facts.params_active ? 0 : kExpertsSeen);
  }
}

TEST_P(LpuValues, AreTheCpus) {
  const std::filesystem::path path = golden(GetParam().folder);
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << ": the reference data is not beside the project";
  expect_the_cpus(path, GetParam().tokens);
}

// Weights of blocks: the chips hold the blocks, quantise activations as the CPU does, and multiply in integers.
class LpuBlockValues : public testing::TestWithParam<const char*> {};

TEST_P(LpuBlockValues, AreTheCpus) {
  const std::filesystem::path base = std::filesystem::temp_directory_path() / fmt::format("sluice-lpu-{}-{}", GetParam(), getpid());
  std::filesystem::create_directory(base);
  const nlohmann::json config = {{"model_type", "jamba"}, {"hidden_size", 256}, {"intermediate_size", 256}, {"num_hidden_layers", 4},
                                 {"num_attention_heads", 4}, {"num_key_value_heads", 4}, {"vocab_size", 320}, {"attn_layer_period", 2},
                                 {"attn_layer_offset", 1}, {"expert_layer_period", 2}, {"expert_layer_offset", 1}, {"num_experts", 8},
                                 {"num_experts_per_tok", 2}, {"mamba_d_state", 16}, {"mamba_d_conv", 4}, {"mamba_expand", 2}, {"mamba_dt_rank", 256},
                                 {"mamba_conv_bias", true}, {"mamba_proj_bias", false}, {"rms_norm_eps", 1e-6}, {"hidden_act", "silu"},
                                 {"tie_word_embeddings", false}, {"max_position_embeddings", 4096}};
  std::ofstream(base / "config.json") << config.dump();
  const Result<weights::Checkpoint> shape = weights::Checkpoint::open(base / "config.json");
  ASSERT_TRUE(shape.ok()) << shape.error().message;
  const Status written = compiler::synthesize(*shape, base / "model.gguf", {.recipe = GetParam(), .seed = 1, .progress = {}});
  ASSERT_TRUE(written.ok()) << written.error().message;
  expect_the_cpus(base / "model.gguf", 10);
  std::filesystem::remove_all(base);
}
INSTANTIATE_TEST_SUITE_P(Types, LpuBlockValues, testing::Values("q8_0", "q4_k_m", "q4_0", "q2_k"), [](const auto& type) { return std::string(type.param); });

// A consumer that starts before its operand is there reads nothing that was computed: the run ends and says where.
TEST(LpuValuesBroken, ReadsOfWhatIsNotThereEndTheRun) {
  const std::filesystem::path path = golden("jamba-dense");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << ": the reference data is not beside the project";
  const Result<compiler::Model> model = compiler::compile_in_memory(*weights::Checkpoint::open(path), "", {});
  ASSERT_TRUE(model.ok());
  const lpu::Workload work = lpu::workload_of(model->program, {.context = kContext, .exact = true});
  const Result<lpu::Schedule> good = lpu::make_schedule(work, chip_of("lpu-v1"), lpu::kFitted, {.chips = 2, .stages = 1});
  ASSERT_TRUE(good.ok());
  lpu::Schedule broken = *good;
  for (lpu::Slot& slot : broken.slots) {
    if (slot.unit != lpu::Unit::kMatrix || slot.reads.empty() || slot.start < broken.cycles / 2) continue;
    slot.start = 0;
    break;
  }
  auto machine = lpu::ValueMachine::create(model->program, model->weights, work, chip_of("lpu-v1"), broken);
  ASSERT_TRUE(machine.ok());
  const auto logits = (*machine)->step(3);
  ASSERT_FALSE(logits.ok());
  EXPECT_NE(logits.error().message.find("was not written or is gone"), std::string::npos) << logits.error().message;
}

INSTANTIATE_TEST_SUITE_P(Models, LpuValues,
                         testing::Values(Case{"jamba-dense", 40}, Case{"jamba-moe", 40}, Case{"jamba-3b-shape", 24}, Case{"llama", 24},
                                         Case{"mistral-window", 70}, Case{"mixtral", 16}, Case{"qwen3", 16}, Case{"gemma3", 16}, Case{"mamba", 16}),
                         [](const auto& model) {
                           std::string text = model.param.folder;
                           for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return text;
                         });

}  // namespace
}  // namespace sluice::cli
