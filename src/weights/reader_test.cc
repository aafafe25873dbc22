// The checked reader, names, the hash and the JSON front; and the counting operator new that test_memory.h declares.
#include "weights/reader.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>

#include "base/limits.h"
#include "weights/hash.h"
#include "weights/json.h"
#include "weights/names.h"
#include "weights/test_memory.h"

namespace {

std::atomic<int64_t> g_heap_bytes{0};
std::atomic<int64_t> g_heap_peak{0};
std::atomic<int64_t> g_heap_base{0};

void* counted(std::size_t size) {
  void* block = std::malloc(size == 0 ? 1 : size);
  if (block == nullptr) std::abort();
  const int64_t now = g_heap_bytes += static_cast<int64_t>(malloc_usable_size(block));
  if (now > g_heap_peak) g_heap_peak = now;
  return block;
}

void uncounted(void* block) noexcept {
  if (block == nullptr) return;
  g_heap_bytes -= static_cast<int64_t>(malloc_usable_size(block));
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* block) noexcept { uncounted(block); }
void operator delete[](void* block) noexcept { uncounted(block); }
void operator delete(void* block, std::size_t) noexcept { uncounted(block); }
void operator delete[](void* block, std::size_t) noexcept { uncounted(block); }

namespace sluice::weights {

void heap_peak_reset() {
  g_heap_base = g_heap_bytes.load();
  g_heap_peak = g_heap_bytes.load();
}
uint64_t heap_peak_bytes() { return static_cast<uint64_t>(g_heap_peak - g_heap_base); }

namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(Checked, ArithmeticStopsAtTheEdge) {
  EXPECT_EQ(checked_add(UINT64_MAX - 1, 1), UINT64_MAX);
  EXPECT_FALSE(checked_add(UINT64_MAX, 1).has_value());
  EXPECT_EQ(checked_mul(1ull << 32, (1ull << 32) - 1), 0xFFFFFFFF00000000u);
  EXPECT_FALSE(checked_mul(1ull << 32, 1ull << 32).has_value());
  EXPECT_EQ(checked_mul(UINT64_MAX, 0), 0u);
  EXPECT_EQ(checked_align(33, 32), 64u);
  EXPECT_EQ(checked_align(64, 32), 64u);
  EXPECT_FALSE(checked_align(UINT64_MAX - 3, 32).has_value());
}

TEST(Reader, NeverLeavesItsBytes) {
  ByteReader reader(bytes_of(std::string_view("\x02\0\0\0\0\0\0\0abcd", 12)));
  EXPECT_EQ(*reader.string(10, "name"), "ab");
  EXPECT_EQ(*reader.number<uint16_t>("n"), 0x6463);
  EXPECT_EQ(reader.remaining(), 0u);
  const auto refused = reader.number<uint8_t>("flag");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "flag at byte 12 needs 1 bytes, the file has 0 left");
}

TEST(Reader, StringsAreHeldAgainstTheLimitAndTheFile) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63, UINT64_MAX}) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    file += "ab";
    ByteReader reader(bytes_of(file));
    EXPECT_FALSE(reader.string(limits::kStringBytesMax, "name").ok()) << length;
    EXPECT_FALSE(ByteReader(bytes_of(file)).expect_records(length, 13, "keys").ok());
  }
}

TEST(Names, MalformedUtf8IsSeen) {
  for (const std::string_view good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) EXPECT_TRUE(is_utf8(good));
  for (const std::string_view bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
                                     "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3(", "a\xFFz"}) {
    EXPECT_FALSE(is_utf8(bad));
    EXPECT_TRUE(is_utf8(to_utf8(bad)));
  }
  EXPECT_EQ(to_utf8("a\xFFz"), "a\xEF\xBF\xBDz");
}

TEST(Names, MessagesShowNoControlCodes) {
  EXPECT_EQ(shown(std::string_view("a\x1B[2J\0b", 7)), "\"a\\x1b[2J\\x00b\"");
  EXPECT_LT(shown(std::string(10000, 'x')).size(), 100u);
}

// M13: what an index may name.
TEST(Names, M13OnlyPlainFileNames) {
  EXPECT_TRUE(check_file_name("model-00001-of-00002.safetensors").ok());
  for (const std::string& bad : {std::string(""), std::string(".."), std::string("."), std::string("../x"), std::string("/etc/passwd"),
                                 std::string("a/b"), std::string("a\\b"), std::string(".hidden"), std::string("a\0b", 3), std::string("a\nb"),
                                 std::string(256, 'a'), std::string("\xFF")}) {
    EXPECT_FALSE(check_file_name(bad).ok()) << shown(bad);
  }
}

TEST(Names, TensorNames) {
  EXPECT_TRUE(check_tensor_name("blk.0.attn_q.weight").ok());
  EXPECT_TRUE(check_tensor_name(std::string(limits::kTensorNameBytesMax, 'a')).ok());
  EXPECT_FALSE(check_tensor_name(std::string(limits::kTensorNameBytesMax + 1, 'a')).ok());
  EXPECT_FALSE(check_tensor_name("").ok());
  EXPECT_FALSE(check_tensor_name(std::string("a\0b", 3)).ok());
  EXPECT_FALSE(check_tensor_name("\xFF").ok());
}

// From the reference implementation (xxhsum -H1).
TEST(Hash, Xxh64KnownAnswers) {
  EXPECT_EQ(hash64(bytes_of("")), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64(bytes_of("abc")), 0x44BC2CF5AD770999u);
  EXPECT_EQ(hash64(bytes_of("Nobody inspects the spammish repetition")), 0xFBCEA83C8A378BF1u);
}

Result<nlohmann::json> config(std::string_view text) { return parse_config(text); }

TEST(Json, NonFiniteNumbersInAnySpelling) {
  const auto parsed = config(R"({"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": {"__float__": "-Infinity"}, "e": "Infinity", "f": "-Infinity NaN"})");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ((*parsed)["a"][1].get<double>(), INFINITY);
  EXPECT_EQ((*parsed)["b"].get<double>(), -INFINITY);
  EXPECT_TRUE(std::isnan((*parsed)["c"].get<double>()));
  EXPECT_EQ((*parsed)["d"].get<double>(), -INFINITY);
  EXPECT_EQ((*parsed)["e"], "Infinity");
  EXPECT_EQ((*parsed)["f"], "-Infinity NaN");
}

TEST(Json, AStringCannotPoseAsANumber) {
  EXPECT_EQ((*config(R"({"a": "\u0001Infinity"})"))["a"], "\x01Infinity");
  EXPECT_FALSE(config(R"({"a": "\u0001Infinity", "b": NaN})").ok());
}

TEST(Json, DocumentsComeBackWhole) {
  const std::string text = R"({"a":[1,-2,3.5,true,false,null,"x",{"y":[]},{}],"b":{"c":{"d":18446744073709551615}}})";
  const auto parsed = config(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->dump(), text);
}

TEST(Json, DepthIsBounded) {
  const std::string deep = std::string(limits::kJsonDepthMax, '[') + std::string(limits::kJsonDepthMax, ']');
  EXPECT_TRUE(config(deep).ok());
  EXPECT_FALSE(config("[" + deep + "]").ok());
  EXPECT_FALSE(config(std::string(1'000'000, '[')).ok());
  EXPECT_FALSE(config(std::string(500'000, '{')).ok());
  EXPECT_TRUE(config(R"({"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["})").ok());
}

TEST(Json, WhatIsNotJsonIsRefusedWithAReason) {
  for (const std::string_view bad : {"", "{", "}", "[1,]", "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"b\":1}}", "\"open", "{\"a\":1e999}", "tru", "{\"a\":Inf}",
                                     "{\"a\":-}", "{'a':1}", "{\"a\":1} x", "{\"a\":\"\xFF\"}", "{\"a\":\"\\ud800\"}", "[Infinity", "{Infinity:1}"}) {
    const auto parsed = config(bad);
    EXPECT_FALSE(parsed.ok()) << bad;
    if (!parsed.ok()) {
      EXPECT_FALSE(parsed.error().message.empty());
    }
  }
  EXPECT_EQ(config("{\"a\":1,\"a\":2}").error().message, "key \"a\" occurs twice in one object");
}

// A string as a key with the marker must not become anything else either.
TEST(Json, EveryCutAndEveryFlipOfAConfigIsSurvived) {
  const std::string text = R"({"a":[0.0,Infinity,-Infinity],"b":{"__float__":"NaN"},"c\u00e9":"\"\\x"})";
  GuardedBytes guard(text.size());
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const auto held = guard.hold(bytes_of(std::string_view(text).substr(0, cut)));
    const auto parsed = config({reinterpret_cast<const char*>(held.data()), held.size()});
    EXPECT_EQ(parsed.ok(), cut == text.size());
  }
  for (size_t i = 0; i < text.size() * 8; ++i) {
    std::string changed = text;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    const auto held = guard.hold(bytes_of(changed));
    const auto parsed = config({reinterpret_cast<const char*>(held.data()), held.size()});
    if (parsed.ok()) (void)parsed->dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
  }
}

}  // namespace
}  // namespace sluice::weights
