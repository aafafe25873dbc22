// GGUF files as they should be and as attackers make them. Row ids (M1, M2, ...) are those of the table of known attacks in docs/security.md.
#include "weights/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "base/limits.h"
#include "weights/checkpoint.h"
#include "weights/gguf_metadata.h"
#include "weights/test_memory.h"
#include "weights/writer.h"

namespace sluice::weights {
namespace {

using Bytes = std::vector<std::byte>;

// A file written field by field, with the places of everything that an attacker would change.
struct RawFile {
  std::string bytes;
  std::vector<size_t> lengths;  // of u64 string lengths
  std::vector<size_t> counts;   // of u64 counts: tensors, keys, array elements, dimensions
  size_t data_offset = 0;

  template <class T>
  RawFile& number(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes.append(raw, sizeof(T));
    return *this;
  }
  RawFile& count(uint64_t value) {
    counts.push_back(bytes.size());
    return number(value);
  }
  RawFile& text(std::string_view value) {
    lengths.push_back(bytes.size());
    number<uint64_t>(value.size());
    bytes += value;
    return *this;
  }
  RawFile& key(std::string_view name, GgufType type) { return text(name).number(static_cast<uint32_t>(type)); }
  RawFile& tensor(std::string_view name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
    text(name).number(static_cast<uint32_t>(ne.size()));
    for (const uint64_t size : ne) count(size);
    return number(type).number(offset);
  }
  RawFile& data(uint64_t alignment, size_t size) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    data_offset = bytes.size();
    for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i);
    return *this;
  }
  void patch(size_t at, uint64_t value) { std::memcpy(bytes.data() + at, &value, sizeof(value)); }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(bytes.data(), bytes.size())); }
};

// Every kind of value, three tensors: 128 + 18 + 4 bytes of data.
RawFile small_file() {
  RawFile f;
  f.bytes = "GGUF";
  f.number<uint32_t>(3).count(3).count(9);
  f.key("general.architecture", GgufType::kString).text("llama");
  f.key("general.alignment", GgufType::kU32).number<uint32_t>(32);
  f.key("llama.block_count", GgufType::kU64).number<uint64_t>(1);
  f.key("llama.epsilon", GgufType::kF32).number(1e-5f);
  f.key("flag", GgufType::kBool).number<uint8_t>(1);
  f.key("tokenizer.ggml.tokens", GgufType::kArray).number(static_cast<uint32_t>(GgufType::kString)).count(3).text("a").text("bc").text("");
  f.key("tokenizer.ggml.scores", GgufType::kArray).number(static_cast<uint32_t>(GgufType::kF32)).count(3).number(1.f).number(2.f).number(3.f);
  f.key("tokenizer.ggml.token_type", GgufType::kArray).number(static_cast<uint32_t>(GgufType::kI32)).count(3).number(1).number(1).number(6);
  f.key("llama.heads", GgufType::kArray).number(static_cast<uint32_t>(GgufType::kU16)).count(2).number<uint16_t>(4).number<uint16_t>(8);
  f.tensor("m", {8, 4}, 0, 0).tensor("q", {32}, 2, 128).tensor("s", {}, 0, 160);
  return f.data(32, 164);
}

uint64_t total_bytes(std::span<const TensorView> tensors) {
  uint64_t total = 0;
  for (const TensorView& view : tensors) total += view.bytes.size();
  return total;
}

// The property of M3: what loads is inside the file, disjoint, and no larger than it. All bytes are read, so a bad view is a crash.
void check_loaded(std::span<const std::byte> file, const Checkpoint& checkpoint) {
  EXPECT_LE(total_bytes(checkpoint.tensors()), file.size());
  std::vector<std::span<const std::byte>> spans;
  uint64_t sum = 0;
  for (const TensorView& view : checkpoint.tensors()) {
    uint64_t elements = 1;
    for (const uint64_t size : view.shape) elements *= size;
    EXPECT_EQ(row_bytes(view.dtype, elements), view.bytes.size());
    ASSERT_GE(view.bytes.data(), file.data());
    ASSERT_LE(view.bytes.data() + view.bytes.size(), file.data() + file.size());
    for (const std::byte b : view.bytes) sum += static_cast<uint64_t>(b);
    spans.push_back(view.bytes);
  }
  std::sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) { return a.data() < b.data(); });
  for (size_t i = 1; i < spans.size(); ++i) EXPECT_LE(spans[i - 1].data() + spans[i - 1].size(), spans[i].data());
  EXPECT_NE(sum, UINT64_MAX);
}

// Opens it in every way there is; true if it loaded. Must neither crash nor break the property.
bool load(std::span<const std::byte> file) {
  const auto checkpoint = Checkpoint::from_memory(file, "test");
  if (!checkpoint.ok()) {
    EXPECT_FALSE(checkpoint.error().message.empty());
    return false;
  }
  check_loaded(file, *checkpoint);
  (void)checkpoint->config().dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);  // UTF-8 or an exception
  const auto tokenizer = checkpoint->gguf_tokenizer();
  EXPECT_TRUE(!tokenizer.ok() || tokenizer->scores.empty() || tokenizer->scores.size() == tokenizer->tokens.size());
  (void)checkpoint->content_hash();
  return true;
}

std::string refusal(std::span<const std::byte> file) {
  const auto gguf = Gguf::parse(file);
  return gguf.ok() ? "(loaded)" : gguf.error().message;
}

TEST(Gguf, AWellFormedFileIsReadAsWritten) {
  const RawFile file = small_file();
  const auto checkpoint = Checkpoint::from_memory(file.span(), "small");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->config().dump(),
            R"({"flag":true,"general.alignment":32,"general.architecture":"llama","llama.block_count":1,)"
            R"("llama.epsilon":9.999999747378752e-06,"llama.heads":[4,8]})");
  const TensorView* m = checkpoint->find("m");
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->shape, (std::vector<uint64_t>{4, 8}));  // ne is reversed: [out, in]
  EXPECT_EQ(m->bytes.data(), file.span().data() + file.data_offset);
  EXPECT_EQ(checkpoint->find("q")->dtype, DType::kQ4_0);
  EXPECT_EQ(checkpoint->find("s")->shape, std::vector<uint64_t>{});
  EXPECT_EQ(checkpoint->gguf()->find("llama.heads")->as_u64(1), 8u);
  EXPECT_EQ(checkpoint->gguf()->find("nothing"), nullptr);
  const auto tokenizer = checkpoint->gguf_tokenizer();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->tokens, (std::vector<std::string_view>{"a", "bc", ""}));
  EXPECT_EQ(tokenizer->scores, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(tokenizer->types, (std::vector<int32_t>{1, 1, 6}));
}

TEST(Gguf, TheWriterAndTheReaderAgree) {
  const Bytes data(34 * 3, std::byte{5});
  GgufWriter writer;
  writer.put("general.architecture", "test");
  writer.set_alignment(64);
  writer.put("t.flag", true);
  writer.put("t.i", -5);
  writer.put("t.u", uint64_t{1} << 63);
  writer.put("t.list", std::span<const int32_t>(std::vector<int32_t>{1, 2, 3}));
  writer.put("t.words", std::span<const std::string>(std::vector<std::string>{"x", "yz"}));
  writer.add({"a", DType::kQ8_0, {3, 32}, produce_bytes(data)});
  writer.add({"b", DType::kF32, {}, produce_bytes(std::span(data).first(4))});
  const auto file = writer.build();
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->size() % 64, 0u);
  const auto read = Checkpoint::from_memory(*file, "written");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->config().dump(), R"({"general.alignment":64,"general.architecture":"test","t.flag":true,"t.i":-5,)"
                                   R"("t.list":[1,2,3],"t.u":9223372036854775808,"t.words":["x","yz"]})");
  EXPECT_EQ(read->find("a")->shape, (std::vector<uint64_t>{3, 32}));
  EXPECT_EQ(read->find("a")->bytes.size(), data.size());

  GgufWriter short_writer;
  short_writer.add({"a", DType::kF32, {2}, produce_bytes(std::span(data).first(4))});
  EXPECT_FALSE(short_writer.build().ok());
}

TEST(Gguf, OtherVersionsAndByteOrdersAreNamed) {
  const auto with_version = [](uint32_t version) {
    RawFile f = small_file();
    std::memcpy(f.bytes.data() + 4, &version, 4);
    return refusal(f.span());
  };
  EXPECT_EQ(with_version(2), "(loaded)");
  EXPECT_EQ(with_version(1), "GGUF version 1 is not supported (2 and 3 are)");
  EXPECT_EQ(with_version(4), "GGUF version 4 is not supported (2 and 3 are)");
  EXPECT_EQ(with_version(0x03000000), "this is a big-endian GGUF file, which is not supported");
  EXPECT_EQ(refusal(std::as_bytes(std::span("GGML and more bytes", 19))), "the file does not begin with \"GGUF\"");
}

TEST(GgufHostile, M1StringLengthsAtEveryPosition) {
  const RawFile good = small_file();
  for (const size_t at : good.lengths) {
    for (const uint64_t length : {UINT64_MAX, UINT64_MAX - 7, uint64_t{1} << 63, uint64_t{1} << 32, uint64_t{1} << 31,
                                  static_cast<uint64_t>(good.bytes.size() - at - 8 + 1)}) {
      RawFile file = good;
      file.patch(at, length);
      EXPECT_FALSE(load(file.span())) << "length " << length << " at byte " << at;
    }
  }
}

TEST(GgufHostile, M2EveryCountAtItsEdges) {
  const RawFile good = small_file();
  for (const size_t at : good.counts) {
    for (const uint64_t max : {limits::kTensorsMax, limits::kMetadataKeysMax, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 61, uint64_t{1} << 62,
                               uint64_t{1} << 63, UINT64_MAX}) {
      for (const uint64_t value : {max - 1, max, max + 1}) {
        if (value == 0) continue;
        RawFile file = good;
        file.patch(at, value);
        EXPECT_FALSE(load(file.span())) << "count " << value << " at byte " << at;
      }
    }
    for (const uint64_t value : {0u, 1u, 2u, 4u}) {
      RawFile file = good;
      file.patch(at, value);
      load(file.span());
    }
  }
}

TEST(GgufHostile, M2DimensionCounts) {
  for (const uint32_t n_dims : {5u, 255u, 1u << 31, 0xFFFFFFFFu}) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(1).count(0).text("t").number(n_dims).number<uint64_t>(1).number<uint32_t>(0).number<uint64_t>(0).data(32, 64);
    EXPECT_NE(refusal(f.span()).find("dimensions, the limit is 4"), std::string::npos);
  }
}

TEST(GgufHostile, M3WhatLoadsIsNeverLargerThanItsFile) {
  std::mt19937_64 random(20240703);
  const uint64_t sizes[] = {0, 1, 2, 32, 64, 256, 1u << 16, 1ull << 31, 1ull << 32, (1ull << 62) + 1, 1ull << 63, UINT64_MAX};
  const auto pick = [&](auto&& list) { return list[random() % std::size(list)]; };
  uint32_t loaded = 0;
  for (int round = 0; round < 20000; ++round) {
    RawFile f;
    f.bytes = "GGUF";
    const uint64_t n_tensors = random() % 4;
    const bool tame = random() % 2 == 0;
    f.number<uint32_t>(3).count(n_tensors).count(1);
    f.key("general.alignment", GgufType::kU32).number<uint32_t>(tame ? 32 : static_cast<uint32_t>(pick(sizes)));
    uint64_t offset = 0;
    for (uint64_t t = 0; t < n_tensors; ++t) {
      std::vector<uint64_t> ne(random() % 5);
      for (uint64_t& size : ne) size = tame ? 1 + random() % 4 : pick(sizes);
      const uint32_t types[] = {0, 1, 2, 8, 12, 27, 30, 39, static_cast<uint32_t>(random() % 45)};
      const uint32_t type = tame ? 0 : pick(types);
      f.tensor("t" + std::to_string(t), ne, type, tame || random() % 2 == 0 ? offset : pick(sizes) & ~uint64_t{31});
      offset += 32 * (1 + random() % 40);
    }
    f.data(32, random() % 4096);
    loaded += load(f.span()) ? 1 : 0;
  }
  EXPECT_GT(loaded, 1000u) << "a property that nothing reaches says nothing";
}

TEST(GgufHostile, M3SizesThatWrap) {
  struct Case {
    std::vector<uint64_t> ne;
    uint32_t type;
  };
  const std::vector<Case> cases = {
      {{1ull << 32, 1ull << 32}, 0},                // 2^64 elements
      {{1ull << 62}, 0},                            // 2^64 bytes
      {{(1ull << 62) + 1}, 0},                      // wraps to 4 bytes
      {{1ull << 31, 1ull << 31, 4}, 24},            // wraps to 0
      {{32, 1ull << 63}, 2},
      {{256, 1ull << 56, 2}, 12},
      {{UINT64_MAX}, 0},
      {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, 24},
  };
  for (const Case& c : cases) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(1).count(0).tensor("t", c.ne, c.type, 0).data(32, 256);
    EXPECT_NE(refusal(f.span()), "(loaded)");
  }
}

TEST(GgufHostile, M4AlignmentsAndTheirType) {
  const auto with_alignment = [](uint32_t alignment) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(1).count(1).key("general.alignment", GgufType::kU32).number(alignment).tensor("t", {4}, 0, 0).data(32, 4096);
    return refusal(f.span());
  };
  for (const uint32_t bad : {0u, 1u, 3u, 4u, 24u, 33u, 1u << 21, 1u << 31, 0xFFFFFFFFu}) {
    EXPECT_NE(with_alignment(bad).find("it must be a power of two"), std::string::npos) << bad;
  }
  EXPECT_EQ(with_alignment(8), "(loaded)");
  EXPECT_EQ(with_alignment(64), "(loaded)");
  EXPECT_NE(with_alignment(1u << 20), "(loaded)") << "the data would begin after the end of the file";
}

// Wrong types for every key that the reader itself knows; fields of model families are checked where they are read.
TEST(GgufHostile, M4KnownKeysOfEveryWrongType) {
  const std::vector<std::string> texts = {"general.alignment",         "split.no",
                                          "split.count",               "tokenizer.ggml.model",
                                          "tokenizer.ggml.pre",        "tokenizer.chat_template",
                                          "tokenizer.ggml.tokens",     "tokenizer.ggml.scores",
                                          "tokenizer.ggml.token_type", "tokenizer.ggml.merges",
                                          "tokenizer.ggml.precompiled_charsmap"};
  for (const std::string& key : texts) {
    for (uint32_t type = 0; type <= 13; ++type) {
      for (uint32_t element = 0; element <= (type == 9 ? 13u : 0u); ++element) {
        RawFile f;
        f.bytes = "GGUF";
        f.number<uint32_t>(3).count(0).count(key == "tokenizer.ggml.tokens" ? 1 : 2);
        if (key != "tokenizer.ggml.tokens") {
          f.key("tokenizer.ggml.tokens", GgufType::kArray).number<uint32_t>(8).count(1).text("a");
        }
        f.text(key).number(type);
        if (type == 9) f.number(element).count(1);
        f.number<uint64_t>(1).number<uint8_t>(0);
        load(f.span());  // any answer but a crash
      }
    }
  }
}

TEST(GgufHostile, M4TokenizerArraysOfOtherLengthsAreRefused) {
  for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
    for (const size_t count : {0u, 1u, 3u}) {
      GgufWriter writer;
      writer.put("tokenizer.ggml.tokens", std::span<const std::string>(std::vector<std::string>{"a", "b"}));
      const bool scores = std::string_view(key).ends_with("scores");
      if (scores) writer.put(key, std::span<const float>(std::vector<float>(count)));
      if (!scores) writer.put(key, std::span<const int32_t>(std::vector<int32_t>(count)));
      const auto file = writer.build();
      ASSERT_TRUE(file.ok());
      const auto checkpoint = Checkpoint::from_memory(*file, "v");
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
      const auto tokenizer = checkpoint->gguf_tokenizer();
      ASSERT_FALSE(tokenizer.ok());
      EXPECT_EQ(tokenizer.error().message, "v: " + std::string(key) + " has " + std::to_string(count) + " elements for 2 tokens");
    }
  }
}

TEST(GgufHostile, M4ValuesThatNoFileMayHold) {
  const auto with_value = [](auto&& write) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(0).count(1);
    write(f);
    f.number<uint64_t>(0).number<uint64_t>(0).number<uint64_t>(0);
    return refusal(f.span());
  };
  EXPECT_NE(with_value([](RawFile& f) { f.text("k").number<uint32_t>(13); }).find("the largest is 12"), std::string::npos);
  EXPECT_NE(with_value([](RawFile& f) { f.key("k", GgufType::kBool).number<uint8_t>(2); }).find("a bool of value 2"), std::string::npos);
  EXPECT_NE(with_value([](RawFile& f) { f.key("k", GgufType::kArray).number<uint32_t>(9).count(1); }).find("array of arrays"), std::string::npos);
  EXPECT_NE(with_value([](RawFile& f) { f.key("", GgufType::kU8); }).find("is empty"), std::string::npos);
  EXPECT_NE(with_value([](RawFile& f) { f.key("\xFF", GgufType::kU8); }).find("not UTF-8"), std::string::npos);
}

TEST(GgufHostile, NamesThatOccurTwiceAreRefused) {
  RawFile keys;
  keys.bytes = "GGUF";
  keys.number<uint32_t>(3).count(0).count(2).key("k", GgufType::kU8).number<uint8_t>(1).key("k", GgufType::kU8).number<uint8_t>(2);
  EXPECT_EQ(refusal(keys.span()), "metadata key \"k\" occurs twice");
  RawFile tensors;
  tensors.bytes = "GGUF";
  tensors.number<uint32_t>(3).count(2).count(0).tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).data(32, 64);
  EXPECT_EQ(refusal(tensors.span()), "tensor \"t\" occurs twice");
}

TEST(GgufHostile, M5EveryTruncationAndEveryFlippedHeaderBit) {
  const RawFile good = small_file();
  GuardedBytes guard(good.bytes.size());
  for (size_t size = 0; size < good.bytes.size(); ++size) {
    EXPECT_FALSE(load(guard.hold(good.span().first(size)))) << "cut at " << size;
  }
  EXPECT_TRUE(load(guard.hold(good.span())));
  for (size_t bit = 0; bit < good.data_offset * 8; ++bit) {
    const auto held = guard.hold(good.span());
    held[bit / 8] ^= std::byte{1} << (bit % 8);
    load(held);
  }
}

TEST(GgufHostile, M7TensorsOutsideOverlappingAndUnsorted) {
  const auto with_offsets = [](std::vector<uint64_t> offsets, size_t data_bytes) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(offsets.size()).count(0);
    for (size_t i = 0; i < offsets.size(); ++i) f.tensor(std::string(1, static_cast<char>('a' + i)), {16}, 0, offsets[i]);
    return refusal(f.data(32, data_bytes).span());
  };
  EXPECT_EQ(with_offsets({0, 64}, 128), "(loaded)");
  EXPECT_EQ(with_offsets({64, 0}, 128), "(loaded)") << "order is not a matter of safety";
  EXPECT_EQ(with_offsets({0, 64}, 127), "tensor \"b\" needs 64 bytes at 64, the data section has 127");
  EXPECT_EQ(with_offsets({0, 128}, 128), "tensor \"b\" needs 64 bytes at 128, the data section has 128");
  EXPECT_EQ(with_offsets({0, UINT64_MAX - 31}, 128).substr(0, 20), "tensor \"b\" needs 64 ");
  EXPECT_EQ(with_offsets({0, 32}, 128), "tensors \"a\" and \"b\" overlap");
  EXPECT_EQ(with_offsets({32, 0}, 128), "tensors \"b\" and \"a\" overlap");
  EXPECT_EQ(with_offsets({0, 0}, 128).substr(0, 8), "tensors ");
  EXPECT_EQ(with_offsets({0, 65}, 256), "tensor \"b\" begins at 65, not a multiple of the alignment 32");
}

TEST(GgufHostile, TypesWithoutAKernelAreNamed) {
  const auto with_type = [](uint32_t type) {
    RawFile f;
    f.bytes = "GGUF";
    f.number<uint32_t>(3).count(1).count(0).tensor("t", {256}, type, 0).data(32, 4096);
    return refusal(f.span());
  };
  EXPECT_EQ(with_type(16), "tensor \"t\" has type iq2_xxs (16), which is not supported");
  EXPECT_EQ(with_type(4), "tensor \"t\" has type 4, which no GGUF file may use");
  EXPECT_EQ(with_type(0xFFFFFFFFu), "tensor \"t\" has type 4294967295, which no GGUF file may use");
}

// ---- M8: memory. The tables of 2^18 tensors and 2^16 keys and the copy budget are the constant.
constexpr uint64_t kLoadConstantBytes = 160u << 20;

bool expect_memory_bound(std::span<const std::byte> file) {
  heap_peak_reset();
  const bool loaded = load(file);
  EXPECT_LE(heap_peak_bytes(), file.size() + kLoadConstantBytes) << (loaded ? "loaded" : "refused");
  return loaded;
}

TEST(GgufHostile, M8FilesOfAFewBytes) {
  for (const std::string_view text : {"", "G", "GGUF", "GGUF\3\0\0\0"}) EXPECT_FALSE(load(std::as_bytes(std::span(text.data(), text.size()))));
  heap_peak_reset();
  RawFile f;
  f.bytes = "GGUF";
  f.number<uint32_t>(3).count(limits::kTensorsMax).count(limits::kMetadataKeysMax);
  EXPECT_FALSE(load(f.span()));
  EXPECT_LT(heap_peak_bytes(), 10'000u) << "nothing may be allocated for counts that cannot fit";
}

TEST(GgufHostile, M8AsManyTensorsAsMayBe) {
  RawFile f;
  f.bytes = "GGUF";
  f.number<uint32_t>(3).count(limits::kTensorsMax).count(0);
  for (uint64_t i = 0; i < limits::kTensorsMax; ++i) f.tensor(std::to_string(i), {1}, 24, i * 32);
  f.data(32, limits::kTensorsMax * 32);
  EXPECT_TRUE(expect_memory_bound(f.span()));
}

TEST(GgufHostile, M8AsManyKeysAsMayBe) {
  RawFile f;
  f.bytes = "GGUF";
  f.number<uint32_t>(3).count(0).count(limits::kMetadataKeysMax);
  for (uint64_t i = 0; i < limits::kMetadataKeysMax; ++i) f.key(std::to_string(i), GgufType::kU8).number<uint8_t>(0);
  EXPECT_TRUE(expect_memory_bound(f.span()));
}

TEST(GgufHostile, M8ArraysAndTextsAreNotCopied) {
  for (const GgufType element : {GgufType::kU8, GgufType::kString}) {
    for (const char* key : {"x", "tokenizer.ggml.x"}) {
      RawFile f;
      f.bytes = "GGUF";
      f.number<uint32_t>(3).count(0).count(1).key(key, GgufType::kArray).number(static_cast<uint32_t>(element)).count(1u << 20);
      f.bytes.resize(f.bytes.size() + (element == GgufType::kU8 ? 1u << 20 : 8u << 20));
      heap_peak_reset();
      EXPECT_TRUE(load(f.span()));
      EXPECT_LT(heap_peak_bytes(), 100'000u);
    }
  }
  RawFile text;
  text.bytes = "GGUF";
  text.number<uint32_t>(3).count(0).count(1).key("x", GgufType::kString).text(std::string(32u << 20, 'x'));
  heap_peak_reset();
  EXPECT_TRUE(load(text.span()));
  EXPECT_LT(heap_peak_bytes(), 100'000u);
}

TEST(GgufHostile, M8ManyMiddlingArraysMeetTheBudget) {
  RawFile f;
  f.bytes = "GGUF";
  f.number<uint32_t>(3).count(0).count(1000);
  for (int i = 0; i < 1000; ++i) {
    f.key("k" + std::to_string(i), GgufType::kArray).number(static_cast<uint32_t>(GgufType::kU8)).count(limits::kMetadataArrayMax);
    f.bytes.resize(f.bytes.size() + limits::kMetadataArrayMax);
  }
  EXPECT_FALSE(expect_memory_bound(f.span()));
  const auto checkpoint = Checkpoint::from_memory(f.span(), "x");
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_NE(checkpoint.error().message.find("outside the tokenizer"), std::string::npos);
}

TEST(Gguf, AMillionBytesOfVocabularyAreQuick) {
  GgufWriter writer;
  std::vector<std::string> tokens(256'000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = "token" + std::to_string(i);
  writer.put("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
  const auto file = writer.build();
  ASSERT_TRUE(file.ok());
  const auto checkpoint = Checkpoint::from_memory(*file, "vocab");
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ(checkpoint->gguf_tokenizer()->tokens.back(), "token255999");
}

}  // namespace
}  // namespace sluice::weights
