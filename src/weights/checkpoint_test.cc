// Checkpoints as users have them: every golden folder and its GGUF twin; split and sharded ones; folders with things that must stay closed.
#include "weights/checkpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "platform/memory.h"
#include "weights/writer.h"

namespace sluice::weights {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> golden_folders() {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(SLUICE_SHARED_DIR) / "golden", error)) {
    if (fs::exists(entry.path() / "model.safetensors")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

uint64_t bytes_by_shape(const TensorView& view) {
  uint64_t elements = 1;
  for (const uint64_t size : view.shape) elements *= size;
  return row_bytes(view.dtype, elements);
}

void check_tensors(const Checkpoint& checkpoint) {
  EXPECT_FALSE(checkpoint.tensors().empty());
  for (const TensorView& view : checkpoint.tensors()) {
    EXPECT_EQ(view.bytes.size(), bytes_by_shape(view)) << view.name;
    EXPECT_EQ(checkpoint.find(view.name), &view);
  }
  EXPECT_EQ(checkpoint.find("no such tensor"), nullptr);
}

TEST(Golden, EveryFolderOpens) {
  const auto folders = golden_folders();
  if (folders.empty()) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  for (const fs::path& folder : folders) {
    const auto checkpoint = Checkpoint::open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->format(), Format::kHuggingFace);
    EXPECT_TRUE(checkpoint->config().contains("model_type"));
    check_tensors(*checkpoint);
    const auto config = Checkpoint::open(folder / "config.json");
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_FALSE(config->has_tensors());
    EXPECT_EQ(config->config(), checkpoint->config());
  }
}

TEST(Golden, EveryGgufOpens) {
  const auto folders = golden_folders();
  if (folders.empty()) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  for (const fs::path& folder : folders) {
    if (!fs::exists(folder / "model.gguf")) continue;
    const auto checkpoint = Checkpoint::open(folder / "model.gguf");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->format(), Format::kGguf);
    EXPECT_TRUE(checkpoint->config().at("general.architecture").is_string());
    EXPECT_FALSE(checkpoint->config().contains("tokenizer.ggml.tokens"));
    check_tensors(*checkpoint);
    const auto tokenizer = checkpoint->gguf_tokenizer();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ(tokenizer->tokens.size(), checkpoint->find("token_embd.weight")->shape.at(0));
  }
}

TEST(Golden, VocabulariesWithoutTensorsOpen) {
  uint32_t opened = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(SLUICE_SHARED_DIR) / "data" / "tokenizers", error)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto checkpoint = Checkpoint::open(entry.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_FALSE(checkpoint->has_tensors());
    const auto tokenizer = checkpoint->gguf_tokenizer();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ(tokenizer->types.size(), tokenizer->tokens.size());
    ++opened;
  }
  if (opened == 0) GTEST_SKIP() << "no tokenizers in " << SLUICE_SHARED_DIR;
}

TEST(Golden, TheTwinsHoldTheSameBytes) {
  const fs::path folder = fs::path(SLUICE_SHARED_DIR) / "golden" / "mamba";
  if (!fs::exists(folder)) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  const auto hf = Checkpoint::open(folder);
  const auto gguf = Checkpoint::open(folder / "model.gguf");
  ASSERT_TRUE(hf.ok() && gguf.ok());
  const TensorView* a = hf->find("backbone.embeddings.weight");
  const TensorView* b = gguf->find("token_embd.weight");
  ASSERT_TRUE(a != nullptr && b != nullptr);
  EXPECT_EQ(a->shape, b->shape);
  EXPECT_TRUE(std::equal(a->bytes.begin(), a->bytes.end(), b->bytes.begin(), b->bytes.end()));
}

TEST(Golden, BareInfinityOfAConfigIsAFloat) {
  const fs::path path = fs::path(SLUICE_SHARED_DIR) / "golden" / "mamba2" / "config.json";
  if (!fs::exists(path)) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto& limit = checkpoint->config().at("time_step_limit");
  EXPECT_EQ(limit.at(1).get<double>(), std::numeric_limits<double>::infinity());
}

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-checkpoint-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name, std::ios::binary) << text; }
  void write_tensors(const std::string& name, const std::vector<std::string>& tensors) const {
    SafetensorsWriter writer;
    for (const std::string& tensor : tensors) writer.add({tensor, DType::kF32, {2, 2}, produce_bytes(data_)});
    ASSERT_TRUE(writer.write(folder_ / name, nullptr).ok());
  }
  void write_part(const std::string& name, uint32_t number, uint32_t count, const std::vector<std::string>& tensors) const {
    GgufWriter writer;
    if (number == 0) writer.put("general.architecture", "test");
    writer.put("split.no", number);
    writer.put("split.count", count);
    writer.put("split.tensors.count", 3);
    for (const std::string& tensor : tensors) writer.add({tensor, DType::kF32, {2, 2}, produce_bytes(data_)});
    ASSERT_TRUE(writer.write(folder_ / name, nullptr).ok());
  }
  std::string refusal(const fs::path& path) const {
    const auto checkpoint = Checkpoint::open(path);
    if (checkpoint.ok()) return "(loaded)";
    std::string message = checkpoint.error().message;
    const size_t at = message.find(folder_.string());
    if (at != std::string::npos) message.replace(at, folder_.string().size(), "DIR");
    return message;
  }

  fs::path folder_;
  std::vector<std::byte> data_ = std::vector<std::byte>(16, std::byte{1});
};

TEST_F(FolderTest, ASingleFileFolder) {
  write("config.json", R"({"model_type":"x"})");
  write_tensors("model.safetensors", {"a", "b"});
  write("tokenizer.json", "{}");
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->files().tokenizer, folder_ / "tokenizer.json");
  EXPECT_TRUE(checkpoint->files().tokenizer_model.empty());
  EXPECT_EQ(checkpoint->gguf(), nullptr);
  EXPECT_FALSE(checkpoint->gguf_tokenizer().ok());
}

TEST_F(FolderTest, AShardedFolder) {
  write("config.json", "{}");
  write_tensors("m-1.safetensors", {"a", "c"});
  write_tensors("m-2.safetensors", {"b"});
  const auto index = [&](const std::string& map) { write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}"); };
  index(R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-1.safetensors")");
  const auto checkpoint = Checkpoint::open(folder_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_NE(checkpoint->find("b"), nullptr);
  index(R"("a":"m-1.safetensors","b":"m-2.safetensors")");
  EXPECT_EQ(refusal(folder_), "DIR/m-1.safetensors: the index does not name this file for tensor \"c\"");
  index(R"("a":"m-1.safetensors","b":"m-1.safetensors","c":"m-1.safetensors")");
  EXPECT_EQ(refusal(folder_), "DIR/m-1.safetensors: tensor \"b\" of the index is missing");
  index(R"("a":"m-1.safetensors","b":"m-3.safetensors","c":"m-1.safetensors")");
  EXPECT_EQ(refusal(folder_), "cannot open DIR/m-3.safetensors: No such file or directory");
  index(R"("a":"../m-1.safetensors")");
  EXPECT_NE(refusal(folder_).find("only plain names"), std::string::npos);
}

TEST_F(FolderTest, WhatIsMissingIsNamed) {
  EXPECT_EQ(refusal(folder_), "cannot open DIR/config.json: No such file or directory");
  write("config.json", "[]");
  EXPECT_EQ(refusal(folder_), "DIR/config.json: it does not hold a JSON object");
  write("config.json", "{}");
  EXPECT_EQ(refusal(folder_), "DIR: it holds neither model.safetensors nor model.safetensors.index.json");
  write("pytorch_model.bin", "");
  EXPECT_NE(refusal(folder_).find("convert them to safetensors"), std::string::npos);
  EXPECT_NE(refusal(folder_ / "x.safetensors").find("give the folder"), std::string::npos);
  EXPECT_EQ(refusal(folder_ / "no.gguf"), "cannot open DIR/no.gguf: No such file or directory");
  write("empty.gguf", "");
  EXPECT_EQ(refusal(folder_ / "empty.gguf"), "DIR/empty.gguf: magic at byte 0 needs 4 bytes, the file has 0 left");
}

TEST_F(FolderTest, ASplitGguf) {
  write_part("m-00001-of-00002.gguf", 0, 2, {"a"});
  write_part("m-00002-of-00002.gguf", 1, 2, {"b", "c"});
  const auto checkpoint = Checkpoint::open(folder_ / "m-00001-of-00002.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_NE(checkpoint->find("c"), nullptr);
  EXPECT_EQ(refusal(folder_ / "m-00002-of-00002.gguf"), "DIR/m-00002-of-00002.gguf: this is part 2 of 2, open the first one");
  write_part("m-00002-of-00002.gguf", 1, 2, {"b"});
  EXPECT_EQ(refusal(folder_ / "m-00001-of-00002.gguf"), "DIR/m-00001-of-00002.gguf: the parts hold 2 tensors, split.tensors.count says 3");
  write_part("m-00002-of-00002.gguf", 1, 2, {"a", "b"});
  EXPECT_EQ(refusal(folder_ / "m-00001-of-00002.gguf"), "DIR/m-00001-of-00002.gguf: tensor \"a\" is in two files");
  write_part("m-00002-of-00002.gguf", 0, 2, {"b", "c"});
  EXPECT_NE(refusal(folder_ / "m-00001-of-00002.gguf").find("it says it is part 1 of 2"), std::string::npos);
  write_part("other.gguf", 0, 2, {"a"});
  EXPECT_NE(refusal(folder_ / "other.gguf").find("its name must end with -00001-of-00002.gguf"), std::string::npos);
  for (const uint32_t count : {0u, 5000u, 0xFFFFFFFFu}) {
    write_part("other.gguf", 0, count, {"a"});
    EXPECT_NE(refusal(folder_ / "other.gguf").find("split.count is"), std::string::npos) << count;
  }
}

// M11, M13: seen from outside, by the kernel's own list of what was opened.
TEST_F(FolderTest, M11NothingThatCanRunIsEverOpened) {
  write("config.json", R"({"model_type":"x","auto_map":{"AutoModelForCausalLM":"modeling_x.Model","AutoConfig":"other/repo--configuration_x.Config"}})");
  write_tensors("model.safetensors", {"a"});
  for (const char* name : {"pytorch_model.bin", "model.pt", "consolidated.00.pth", "modeling_x.py", "configuration_x.py", "pytorch_model.bin.index.json",
                           "model.pkl", "extra.safetensors", "training_args.bin", "adapter_model.bin"}) {
    write(name, "not to be read");
  }
  fs::create_directory(folder_ / "other");
  write("tokenizer.json", "{}");
  const int watch = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(watch, 0);
  ASSERT_GE(::inotify_add_watch(watch, folder_.c_str(), IN_OPEN), 0);
  EXPECT_TRUE(Checkpoint::open(folder_).ok());
  std::set<std::string> opened;
  alignas(inotify_event) char buffer[16384];
  const ssize_t got = ::read(watch, buffer, sizeof(buffer));
  for (ssize_t i = 0; i < got;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + i);
    if (event->len > 0) opened.insert(event->name);
    i += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
  }
  ::close(watch);
  EXPECT_EQ(opened, (std::set<std::string>{"config.json", "model.safetensors"}));
}

TEST_F(FolderTest, M13DevicesAndPipesInAFolderAreRefused) {
  write("config.json", "{}");
  fs::create_symlink("/dev/zero", folder_ / "model.safetensors");
  EXPECT_NE(refusal(folder_), "(loaded)");
  EXPECT_NE(refusal("/dev/zero"), "(loaded)");
  ASSERT_EQ(::mkfifo((folder_ / "pipe.gguf").c_str(), 0600), 0);
  EXPECT_EQ(refusal(folder_ / "pipe.gguf"), "cannot open DIR/pipe.gguf: it is a pipe, and only regular files are read");
  fs::remove(folder_ / "config.json");
  fs::create_symlink("/dev/random", folder_ / "config.json");
  EXPECT_NE(refusal(folder_).find("a character device"), std::string::npos);
}

TEST_F(FolderTest, LinksIntoACacheOfBlobsAreFollowed) {
  fs::create_directory(folder_ / "blobs");
  fs::create_directory(folder_ / "snapshot");
  write("blobs/1", "{}");
  write_tensors("blobs/2", {"a"});
  fs::create_symlink("../blobs/1", folder_ / "snapshot" / "config.json");
  fs::create_symlink("../blobs/2", folder_ / "snapshot" / "model.safetensors");
  EXPECT_EQ(refusal(folder_ / "snapshot"), "(loaded)");
}

TEST_F(FolderTest, TheFingerprintChangesWithTheModelAndTheHashWithItsContent) {
  write("config.json", R"({"a":1})");
  write_tensors("model.safetensors", {"a", "b"});
  const auto marks = [&] {
    const auto checkpoint = Checkpoint::open(folder_);
    EXPECT_TRUE(checkpoint.ok());
    return std::pair(checkpoint->fingerprint(), checkpoint->content_hash());
  };
  const auto first = marks();
  EXPECT_EQ(marks(), first);
  write("tokenizer.json", "{}");
  const auto with_tokenizer = marks();
  EXPECT_NE(with_tokenizer.first, first.first);
  EXPECT_EQ(with_tokenizer.second, first.second);
  data_[3] = std::byte{9};
  write_tensors("model.safetensors", {"a", "b"});
  const auto other_bytes = marks();
  EXPECT_NE(other_bytes.first, with_tokenizer.first);
  EXPECT_NE(other_bytes.second, with_tokenizer.second);
  write("config.json", R"({"a":2})");
  EXPECT_NE(marks().first, other_bytes.first);
  EXPECT_NE(marks().second, other_bytes.second);
}

TEST_F(FolderTest, ReleasedTensorsLeaveTheResidentSizeAndComeBack) {
  constexpr uint64_t kBytes = 64u << 20;
  const std::vector<std::byte> data(kBytes, std::byte{7});
  GgufWriter writer;
  writer.put("general.architecture", "test");
  writer.add({"a", DType::kI8, {kBytes}, produce_bytes(data)});
  ASSERT_TRUE(writer.write(folder_ / "m.gguf", nullptr).ok());
  const auto checkpoint = Checkpoint::open(folder_ / "m.gguf");
  ASSERT_TRUE(checkpoint.ok());
  const TensorView& view = checkpoint->tensors()[0];
  const auto touch = [&] {
    uint64_t sum = 0;
    for (size_t i = 0; i < kBytes; i += 4096) sum += static_cast<uint64_t>(view.bytes[i]);
    return sum;
  };
  const uint64_t before = platform::process_memory().resident_bytes;
  EXPECT_EQ(touch(), 7 * kBytes / 4096);
  EXPECT_GE(platform::process_memory().resident_bytes, before + kBytes / 2);
  checkpoint->release(view);
  EXPECT_LT(platform::process_memory().resident_bytes, before + kBytes / 2);
  EXPECT_EQ(touch(), 7 * kBytes / 4096);
}

// One changed byte in the middle of a large file, with size and time put back.
TEST_F(FolderTest, AFileOfTheSameSizeAndTimeIsMostlyFoundOut) {
  std::vector<std::byte> data(1u << 20);
  GgufWriter writer;
  writer.put("general.architecture", "test");
  writer.add({"a", DType::kI8, {data.size()}, produce_bytes(data)});
  const fs::path path = folder_ / "m.gguf";
  ASSERT_TRUE(writer.write(path, nullptr).ok());
  const auto time = fs::last_write_time(path);
  const uint64_t before = Checkpoint::open(path)->fingerprint();
  std::fill(data.begin(), data.end(), std::byte{1});
  ASSERT_TRUE(writer.write(path, nullptr).ok());
  fs::last_write_time(path, time);
  EXPECT_NE(Checkpoint::open(path)->fingerprint(), before);
}

}  // namespace
}  // namespace sluice::weights
