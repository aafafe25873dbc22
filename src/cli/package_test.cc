// The compiled package: what is written is what runs, and a package that is cut, flipped or of another version is refused with a sentence.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/golden_support.h"
#include "program/package.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

class Package : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path golden = fs::path(SLUICE_SHARED_DIR) / "golden/jamba-moe";
    if (!fs::exists(golden)) GTEST_SKIP() << "no " << golden << ": the reference data is not beside the project";
    folder_ = fs::temp_directory_path() / ("sluice-package-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    Result<weights::Checkpoint> checkpoint = weights::Checkpoint::open(golden);
    ASSERT_TRUE(checkpoint.ok());
    path_ = folder_ / "model.sluice";
    const Status status = compiler::compile_to_file(*checkpoint, "tokenizer bytes", path_, {});
    ASSERT_TRUE(status.ok()) << status.error().message;
    Result<compiler::Model> model = compiler::compile_in_memory(*checkpoint, "tokenizer bytes", {});
    ASSERT_TRUE(model.ok());
    in_memory_ = std::move(*model);
    std::ifstream file(path_, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  void TearDown() override { fs::remove_all(folder_); }
  Result<compiler::Model> open_bytes(const std::string& bytes) {
    const fs::path path = folder_ / "broken.sluice";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return compiler::open_package(path);
  }
  fs::path folder_, path_;
  compiler::Model in_memory_;
  std::string bytes_;
};

TEST_F(Package, HoldsTheBytesThatCompilingInMemoryGives) {
  const Result<compiler::Model> model = compiler::open_package(path_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->tokenizer, "tokenizer bytes");
  EXPECT_EQ(model->fingerprint, in_memory_.fingerprint);
  ASSERT_GE(model->weights.size(), in_memory_.weights.size());
  EXPECT_EQ(std::memcmp(model->weights.data(), in_memory_.weights.data(), in_memory_.weights.size()), 0);
}

TEST_F(Package, AnotherVersionIsNamed) {
  std::string bytes = bytes_;
  bytes[8] = static_cast<char>(program::kPackageVersion + 1);
  EXPECT_NE(open_bytes(bytes).error().message.find("version"), std::string::npos);
}

TEST_F(Package, CutAnywhereItIsRefused) {
  const size_t weights = bytes_.size() - in_memory_.weights.size();
  for (size_t size = 0; size < bytes_.size(); size += size < weights ? 97 : 40001) EXPECT_FALSE(open_bytes(bytes_.substr(0, size)).ok()) << size;
}

TEST_F(Package, AFlippedByteBeforeTheWeightsIsRefused) {
  Result<compiler::Model> model = compiler::open_package(path_);
  const size_t text = program::kPackageHeaderBytes + 20000;
  for (size_t at = 0; at < text && at < bytes_.size(); at += 61) {
    if (at >= 12 && at < 16) continue;  // unused
    if (at >= 16 && at < 24) continue;  // the fingerprint: its owner compares it
    if (at >= 80 && at < program::kPackageHeaderBytes) continue;  // reserved
    std::string bytes = bytes_;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x20);
    EXPECT_FALSE(open_bytes(bytes).ok()) << at;
  }
}

// A package can carry any program: whatever it says, binding it either fails with a sentence or stays inside its memory.
TEST_F(Package, AForgedProgramIsVerifiedAgainstTheBytesThatAreThere) {
  Result<compiler::Model> model = compiler::open_package(path_);
  ASSERT_TRUE(model.ok());
  size_t refused = 0, changed = 0;
  for (program::Value& value : model->program.values) {
    if (value.kind != program::ValueKind::kWeight) continue;
    const program::Value saved = value;
    for (uint64_t program::Value::*field : {&program::Value::n, &program::Value::k, &program::Value::count, &program::Value::offset}) {
      value = saved;
      value.*field = value.*field * 3 + 64;
      program::Program forged = model->program;
      ++changed;
      if (!program::verify(forged).ok()) {
        ++refused;
        continue;
      }
      const program::PlanSizes sizes = compiler::plan(forged, {4, 1, kernels::KvType::kF16});
      refused += !runtime::Runtime::create(std::move(forged), sizes, model->weights, model->owner, {}).ok();
    }
    value = saved;
  }
  // An offset moved inside the data is not detectable; anything that would read outside is.
  EXPECT_GT(refused, changed / 2);
}

}  // namespace
}  // namespace sluice::cli
