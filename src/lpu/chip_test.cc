// Chip files are read strictly: every value is there, in range, graded and sourced, and nothing is misspelt. The exports hold what they are given.
#include "lpu/chip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "lpu/export.h"
#include "lpu/fit.h"
#include "lpu/lpu_test_support.h"

namespace sluice::lpu {
namespace {

std::string text_of(const std::string& name) {
  std::ifstream file(chip_path(name));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(ChipFile, AllAreGood) {
  for (const char* name : {"lpu-v1", "lp30", "wse-3", "corsair", "h100"}) EXPECT_FALSE(chip_of(name).name.empty()) << name;
}

TEST(ChipFile, ErrorsNameTheField) {
  const std::string good = text_of("lpu-v1");
  ASSERT_TRUE(parse_chip(good).ok());
  struct Case {
    const char *from, *to, *says;
  };
  const Case cases[] = {
      {"\"hop_s\"", "\"hops\"", "hop_s is missing"},
      {"\"grade\": \"N\"", "\"grade\": \"Z\"", "clock_hz has grade 'Z'"},
      {"\"value\": 900000000.0", "\"value\": -1", "clock_hz is -1"},
      {"\"value\": 900000000.0", "\"value\": \"fast\"", "clock_hz is \"fast\""},
      {"[[8, 1], [264, 3]", "[[8, 3], [264, 1]", "reach must be"},
      {"\"scheduled\"", "\"magic\"", "kind is 'magic'"},
      {"\"kind\"", "\"extra\": 1, \"kind\"", "are known"},
  };
  for (const Case& c : cases) {
    const Result<Chip> chip = parse_chip(replaced(good, c.from, c.to));
    ASSERT_FALSE(chip.ok()) << c.says;
    EXPECT_NE(chip.error().message.find(c.says), std::string::npos) << chip.error().message;
  }
  for (const char* text : {"", "[]", "{", "{\"name\": 3}"}) EXPECT_FALSE(parse_chip(text).ok());
}

TEST(Export, EverySlotIsInEveryForm) {
  const Chip chip = chip_of("lpu-v1");
  const Workload work = small_encoder(2);
  const Result<Schedule> s = make_schedule(work, chip, kFitted, {.chips = 4, .stages = 2});
  ASSERT_TRUE(s.ok());
  const Report report = report_of(work, *s, chip);
  const std::string csv = to_csv(*s, work), trace = to_trace(*s, work, chip), svg = to_svg(*s, work, 8);
  EXPECT_EQ(static_cast<size_t>(std::count(csv.begin(), csv.end(), '\n')), s->slots.size() + 1);
  EXPECT_NE(trace.find("\"ph\":\"X\""), std::string::npos);
  EXPECT_NE(svg.find("<rect"), std::string::npos);
  const std::string html = to_html(std::span(&report, 1), &*s, work, chip);
  EXPECT_NE(html.find("ISCA 2022"), std::string::npos);
  EXPECT_EQ(html.find("src="), std::string::npos);  // one file
  EXPECT_NE(to_json(std::span(&report, 1)).find("\"joules_per_token\""), std::string::npos);
}

}  // namespace
}  // namespace sluice::lpu
