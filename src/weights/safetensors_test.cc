// safetensors as it should be and as attackers make it (row M10 of docs/security.md).
#include "weights/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <ctime>
#include <random>
#include <string>

#include "base/limits.h"
#include "weights/test_memory.h"
#include "weights/writer.h"

namespace sluice::weights {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

std::string file_of(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  file.resize(file.size() + data_bytes, 'd');
  return file;
}

std::string refusal(std::string_view header, size_t data_bytes) {
  const std::string file = file_of(header, data_bytes);
  const auto parsed = parse_safetensors(bytes_of(file));
  return parsed.ok() ? "(loaded)" : parsed.error().message;
}

// True if it loaded, and then the views tile the data exactly.
bool load(std::span<const std::byte> file) {
  const auto parsed = parse_safetensors(file);
  if (!parsed.ok()) {
    EXPECT_FALSE(parsed.error().message.empty());
    return false;
  }
  const std::byte* at = file.data() + parsed->data_offset;
  uint64_t sum = 0;
  for (const TensorView& view : parsed->tensors) {
    uint64_t elements = 1;
    for (const uint64_t size : view.shape) elements *= size;
    EXPECT_EQ(row_bytes(view.dtype, elements), view.bytes.size());
    EXPECT_EQ(view.bytes.data(), at);
    at += view.bytes.size();
    for (const std::byte b : view.bytes) sum += static_cast<uint64_t>(b);
  }
  EXPECT_EQ(at, file.data() + file.size());
  EXPECT_NE(sum, UINT64_MAX);
  return true;
}

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )";

TEST(Safetensors, AWellFormedFileIsReadAsWritten) {
  const std::string file = file_of(kGood, 16);
  const auto parsed = parse_safetensors(bytes_of(file));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ASSERT_EQ(parsed->tensors.size(), 2u);
  EXPECT_EQ(parsed->tensors[0].name, "a");
  EXPECT_TRUE(parsed->tensors[0].shape.empty()) << "real checkpoints hold scalars";
  EXPECT_EQ(parsed->tensors[1].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(parsed->tensors[1].dtype, DType::kF16);
  EXPECT_EQ(parsed->metadata.at("format"), "pt");
}

TEST(Safetensors, TheWriterAndTheReaderAgree) {
  const std::vector<std::byte> data(24, std::byte{3});
  SafetensorsWriter writer;
  writer.put("made by", "a \"test\"\n");
  writer.add({"x", DType::kI32, {2, 3}, produce_bytes(data)});
  writer.add({"e", DType::kF32, {0, 5}, produce_bytes({})});
  writer.add({"\xC3\xA9", DType::kU8, {1}, produce_bytes(std::span(data).first(1))});
  const auto file = writer.build();
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto parsed = parse_safetensors(*file);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->data_offset % 8, 0u);
  EXPECT_EQ(parsed->metadata.at("made by"), "a \"test\"\n");
  ASSERT_EQ(parsed->tensors.size(), 3u);
  EXPECT_EQ(parsed->tensors[0].bytes.size(), 24u);
  EXPECT_EQ(parsed->tensors[1].shape, (std::vector<uint64_t>{0, 5}));
  EXPECT_EQ(parsed->tensors[2].name, "\xC3\xA9");
}

TEST(SafetensorsHostile, M10HeaderLengths) {
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, kGood.size() + 17, limits::kSafetensorsHeaderBytesMax, limits::kSafetensorsHeaderBytesMax + 1,
                                uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63, UINT64_MAX - 7, UINT64_MAX}) {
    std::string file = file_of(kGood, 16);
    std::memcpy(file.data(), &length, 8);
    EXPECT_FALSE(load(bytes_of(file))) << length;
  }
  for (size_t size = 0; size < 8; ++size) EXPECT_FALSE(load(bytes_of(std::string(size, '\0'))));
}

TEST(SafetensorsHostile, M10SizesAndOffsets) {
  const auto one = [](std::string_view shape, std::string_view offsets, size_t data_bytes) {
    return refusal("{\"t\":{\"dtype\":\"F32\",\"shape\":" + std::string(shape) + ",\"data_offsets\":" + std::string(offsets) + "}}", data_bytes);
  };
  EXPECT_EQ(one("[4]", "[0,16]", 16), "(loaded)");
  EXPECT_EQ(one("[8]", "[0,16]", 16), "tensor \"t\" needs 32 bytes by its shape, its data_offsets give 16");
  EXPECT_EQ(one("[4]", "[16,0]", 16), "tensor \"t\" begins at 16 and ends before it, at 0");
  EXPECT_EQ(one("[4]", "[0,16]", 15), "the tensors end at byte 16 of the data, which has 15");
  EXPECT_EQ(one("[4]", "[0,16]", 17), "the tensors end at byte 16 of the data, which has 17");
  EXPECT_EQ(one("[4]", "[4,20]", 20).substr(0, 30), "tensor \"t\" begins at 4 where 0");
  EXPECT_EQ(one("[4611686018427387905]", "[0,4]", 4), "the size of tensor \"t\" does not fit into 64 bits") << "would wrap to 4";
  EXPECT_EQ(one("[4294967296,4294967296]", "[0,0]", 0), "the size of tensor \"t\" does not fit into 64 bits");
  EXPECT_EQ(one("[18446744073709551616]", "[0,0]", 0).find("(loaded)"), std::string::npos);
  for (const char* bad : {"[-1]", "[1.0]", "[1e0]", "4", "\"4\"", "[[4]]", "[\"4\"]", "[null]", "{}", "[1,1,1,1,1,1,1,1,1]"}) {
    EXPECT_NE(one(bad, "[0,4]", 4), "(loaded)") << bad;
  }
  for (const char* bad : {"[0]", "[0,4,8]", "[]", "0", "[0,-4]", "[0,\"4\"]", "[0,[4]]"}) EXPECT_NE(one("[1]", bad, 4), "(loaded)") << bad;
}

TEST(SafetensorsHostile, M10HolesOverlapsAndZeroSizes) {
  const auto two = [](std::string_view a, std::string_view b, size_t data_bytes) {
    return refusal("{\"a\":{\"dtype\":\"U8\"," + std::string(a) + "},\"b\":{\"dtype\":\"U8\"," + std::string(b) + "}}", data_bytes);
  };
  EXPECT_EQ(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[4,8])", 8), "(loaded)");
  EXPECT_EQ(two(R"("shape":[4],"data_offsets":[4,8])", R"("shape":[4],"data_offsets":[0,4])", 8), "(loaded)");
  EXPECT_NE(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[5,9])", 9), "(loaded)") << "a hole";
  EXPECT_NE(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[3,7])", 7), "(loaded)") << "an overlap";
  EXPECT_NE(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[0,4])", 4), "(loaded)") << "the same bytes twice";
  EXPECT_EQ(two(R"("shape":[0],"data_offsets":[4,4])", R"("shape":[4],"data_offsets":[0,4])", 4), "(loaded)") << "an empty tensor at the end";
  EXPECT_NE(two(R"("shape":[0],"data_offsets":[2,2])", R"("shape":[4],"data_offsets":[0,4])", 4), "(loaded)") << "an empty one inside another";
  EXPECT_NE(two(R"("shape":[0],"data_offsets":[9,9])", R"("shape":[4],"data_offsets":[0,4])", 4), "(loaded)") << "an empty one past the end";
}

TEST(SafetensorsHostile, M10NamesFieldsAndTypes) {
  constexpr std::string_view kEntry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const auto header = [&](std::string_view before) { return refusal("{" + std::string(before) + "\"t\":" + std::string(kEntry) + "}", 1); };
  EXPECT_EQ(header(""), "(loaded)");
  EXPECT_EQ(header("\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"), "tensor \"t\" occurs twice");
  for (const char* bad : {"\"\":1,", "\"x\":1,", "\"x\":{},", "\"x\":[],", "\"x\":null,", "\"x\":\"F32\",",
                          "\"__metadata__\":1,", "\"__metadata__\":{\"a\":1},",
                          "\"__metadata__\":{\"a\":{}},", "\"__metadata__\":{},\"__metadata__\":{},", "\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"},",
                          "\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"}) {
    EXPECT_NE(header(bad), "(loaded)") << bad;
  }
  for (const char* entry : {R"({"dtype":"U8","shape":[1]})", R"({"dtype":"U8","data_offsets":[0,1]})", R"({"shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]})", R"({"dtype":8,"shape":[1],"data_offsets":[0,1]})",
                            R"({"dtype":["U8"],"shape":[1],"data_offsets":[0,1]})", R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1})",
                            R"({"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]})", R"({"dtype":"","shape":[1],"data_offsets":[0,1]})"}) {
    EXPECT_NE(refusal("{\"t\":" + std::string(entry) + "}", 1), "(loaded)") << entry;
  }
  for (const char* text : {"", " {}", "[]", "{}x", "{", "null", "{\"a\"}", "\xEF\xBB\xBF{}"}) EXPECT_NE(refusal(text, 0), "(loaded)") << text;
  EXPECT_EQ(refusal("{}", 0), "(loaded)");
  EXPECT_NE(refusal(std::string(1'000'000, '['), 0), "(loaded)");
  EXPECT_NE(refusal("{\"a\":" + std::string(1'000'000, '{'), 0), "(loaded)");
}

TEST(SafetensorsHostile, EveryCutAndEveryFlippedHeaderBit) {
  const std::string good = file_of(kGood, 16);
  GuardedBytes guard(good.size());
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(load(guard.hold(bytes_of(good).first(size)))) << size;
  EXPECT_TRUE(load(guard.hold(bytes_of(good))));
  for (size_t bit = 0; bit < (8 + kGood.size()) * 8; ++bit) {
    const auto held = guard.hold(bytes_of(good));
    held[bit / 8] ^= std::byte{1} << (bit % 8);
    load(held);
  }
}

// Pieces of headers put together at random: all answers but a crash or a broken tiling are right.
TEST(SafetensorsHostile, M3RandomHeadersKeepTheProperty) {
  std::mt19937_64 random(7);
  const std::string_view shapes[] = {"[]", "[1]", "[2,2]", "[0]", "[4611686018427387905]", "[3]"};
  const std::string_view types[] = {"F32", "U8", "F16", "I64"};
  const uint64_t bytes[] = {4, 1, 2, 8};
  const uint64_t elements[] = {1, 1, 4, 0, 1, 3};
  uint32_t loaded = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string header = "{";
    uint64_t at = 0;
    const uint64_t n = 1 + random() % 3;
    for (uint64_t i = 0; i < n; ++i) {
      const size_t shape = random() % 6;
      const size_t type = random() % 4;
      const uint64_t begin = random() % 12 == 0 ? random() % 9 : at;
      const uint64_t end = random() % 12 == 0 ? random() : begin + elements[shape] * bytes[type];
      header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":{\"dtype\":\"" + std::string(types[type]) + "\",\"shape\":" + std::string(shapes[shape]) +
                ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
      at = end;
    }
    loaded += load(bytes_of(file_of(header + "}", std::min<uint64_t>(at, 100)))) ? 1 : 0;
  }
  EXPECT_GT(loaded, 500u);
}

TEST(SafetensorsHostile, M10AHundredThousandTensorsLoadInASecond) {
  std::vector<std::byte> data(4);
  SafetensorsWriter writer;
  for (int i = 0; i < 100'000; ++i) writer.add({"model.layers." + std::to_string(i) + ".weight", DType::kF32, {1, 1}, produce_bytes(data)});
  const auto file = writer.build();
  ASSERT_TRUE(file.ok());
  heap_peak_reset();
  const std::clock_t start = std::clock();  // processor time: other tests run beside this one
  EXPECT_TRUE(load(*file));
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(seconds, 1.0);
#endif
  EXPECT_LT(heap_peak_bytes(), file->size() + (160u << 20));
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
}

TEST(SafetensorsHostile, M8HeadersThatHoldNothingCostNothing) {
  const std::string long_space(20'000'000, ' ');
  const std::string long_number(20'000'000, '1');
  EXPECT_TRUE(load(bytes_of(file_of("{}" + long_space, 0)))) << "padding after the header";
  for (const std::string& header : {"{}" + long_space, "{" + long_space + "}", "{\"" + long_number + "\":1}", "{\"a\":" + long_number + "}"}) {
    const std::string file = file_of(header, 0);
    heap_peak_reset();
    load(bytes_of(file));
    EXPECT_LT(heap_peak_bytes(), 1'000'000u);
  }
}

TEST(ShardIndex, NamesFilesAndTensors) {
  const auto index = parse_shard_index(
      R"({"metadata":{"total_size":5,"x":[1,{"weight_map":2}]},"weight_map":{"b":"2.safetensors","a":"1.safetensors","c":"2.safetensors"},"n":null})");
  ASSERT_TRUE(index.ok()) << index.error().message;
  EXPECT_EQ(index->files, (std::vector<std::string>{"1.safetensors", "2.safetensors"}));
  ASSERT_EQ(index->entries.size(), 3u);
  EXPECT_EQ(index->entries[1].tensor, "b");
  EXPECT_EQ(index->entries[1].file, 1u);
}

TEST(ShardIndex, M13OnlyPlainNamesAndOnlyOnce) {
  for (const char* file : {"../model.safetensors", "/etc/passwd", "a/b", "..", "", "a\\u0000b", "a\\\\b", ".x"}) {
    EXPECT_FALSE(parse_shard_index("{\"weight_map\":{\"t\":\"" + std::string(file) + "\"}}").ok()) << file;
  }
  for (const char* text : {"", "{}", "[]", R"({"weight_map":{}})", R"({"weight_map":[]})", R"({"weight_map":["a"]})", R"({"weight_map":1})",
                           R"({"weight_map":{"t":1}})", R"({"weight_map":{"t":{}}})", R"({"weight_map":{"t":["a"]}})", R"({"weight_map":{"t":"a","t":"b"}})",
                           R"({"weight_map":{"":"a"}})", R"({"weight_map":{"t":"a"},"weight_map":{"u":"a"}})", "\"a\"", "null"}) {
    EXPECT_FALSE(parse_shard_index(text).ok()) << text;
  }
}

}  // namespace
}  // namespace sluice::weights
