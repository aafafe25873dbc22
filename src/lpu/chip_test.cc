// Chip files are read strictly: every value is there, in range, graded and sourced, and nothing is misspelt. The exports hold what they are given.
#include "lpu/chip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

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

TEST(ChipFile, AMeasuredMachineIsARoofline) {
  const Result<Chip> chip = parse_chip(roofline_file({"a \"machine\"", 2e12, 3e11, 4e10, 5e9}));
  ASSERT_TRUE(chip.ok()) << chip.error().message;
  EXPECT_TRUE(chip->roofline);
  EXPECT_EQ(chip->name, "a \"machine\"");
  EXPECT_EQ(chip->ops_8bit_per_s, 2e12);
  EXPECT_EQ(chip->ops_16bit_per_s, 3e11);
  EXPECT_EQ(chip->feed_bytes_per_s, 4e10);
  EXPECT_EQ(chip->sram_bytes, 5e9);
  const Workload work = small_encoder(2);
  const Report report = roofline_report(work, *chip, 0);
  EXPECT_EQ(report.chips, 1u);
  EXPECT_GE(report.latency_s, report.roofline_s);
}

TEST(ChipFile, PublishedSpeedsGiveTheErrorOfAPrediction) {
  Chip chip = chip_of("h100");
  ASSERT_FALSE(chip.published.empty());
  Workload work = small_encoder(2);
  work.params_total = chip.published[0].params;
  const Report same = roofline_report(work, chip, chip.published[0].chips);
  EXPECT_EQ(same.published_tokens_per_s, chip.published[0].tokens_per_s_user);
  EXPECT_NEAR(same.error(), same.user_tokens_per_s / chip.published[0].tokens_per_s_user - 1, 1e-12);
  EXPECT_EQ(roofline_report(work, chip, chip.published[0].chips + 1).published_tokens_per_s, 0);
  work.params_total *= 2;
  EXPECT_EQ(roofline_report(work, chip, chip.published[0].chips).published_tokens_per_s, 0);
}

TEST(LongestContext, IsTheLastThatFits) {
  for (const uint64_t most : {0u, 1023u, 1024u, 5000u, 262144u, 300000u}) {
    uint64_t asked = 0;
    const uint64_t found = longest_context(262144, [&](uint64_t context) {
      ++asked;
      return context <= most;
    });
    EXPECT_EQ(found, std::min<uint64_t>(most, 262144) / 1024 * 1024);
    EXPECT_LE(asked, 20u);
  }
}

// Every cycle belongs to one part, and every byte of a stage to a slice.
TEST(Report, PartsAndSlicesAddUp) {
  const Chip chip = chip_of("lpu-v1");
  const Workload work = small_encoder(2);
  const Result<Schedule> s = make_schedule(work, chip, kFitted, {.chips = 4, .stages = 2});
  ASSERT_TRUE(s.ok());
  const Report report = report_of(work, *s, chip);
  double seconds = 0;
  for (const double part : report.part_s) seconds += part;
  EXPECT_NEAR(seconds, report.latency_s, 1e-9 * report.latency_s);
  EXPECT_GT(report.part_s[static_cast<int>(Part::kFlight)], 0);
  EXPECT_GT(report.read_ports, 0);
  EXPECT_GT(report.write_ports, 0);
  EXPECT_LE(report.read_ports + report.write_ports, 1);
  uint64_t weights = 0, activations = 0;
  for (const SliceUse& slice : slice_use(*s, SliceMap(chip), 1)) {
    weights += slice.weights;
    activations += slice.activations;
    EXPECT_LE(slice.read, s->cycles);
    EXPECT_LE(slice.written, s->cycles);
  }
  EXPECT_NEAR(static_cast<double>(weights), static_cast<double>(s->stages[1].weights), 88);
  EXPECT_NEAR(static_cast<double>(activations), static_cast<double>(s->stages[1].activations), 88);
}

TEST(Export, EverySlotIsInEveryForm) {
  const Chip chip = chip_of("lpu-v1");
  const Workload work = small_encoder(2);
  const Result<Schedule> s = make_schedule(work, chip, kFitted, {.chips = 4, .stages = 2});
  ASSERT_TRUE(s.ok());
  const Report report = report_of(work, *s, chip);
  const std::string csv = to_csv(*s, work), trace = to_trace(*s, work, chip), svg = to_svg(*s, work, chip, 8);
  EXPECT_EQ(static_cast<size_t>(std::count(csv.begin(), csv.end(), '\n')), s->slots.size() + 1);
  EXPECT_NE(trace.find("\"ph\":\"X\""), std::string::npos);
  EXPECT_NE(svg.find("<rect"), std::string::npos);
  const std::string html = to_html(std::span(&report, 1), &*s, work, chip);
  EXPECT_NE(html.find("ISCA 2022"), std::string::npos);
  for (const char* part : {"Compared", "time goes", "slice by slice", "slice 87", "Units over one token", "By kind of op", "Stages", "Assumed"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  const nlohmann::json events = nlohmann::json::parse(trace, nullptr, false);
  ASSERT_TRUE(events.is_object());
  EXPECT_EQ(static_cast<size_t>(std::count_if(events["traceEvents"].begin(), events["traceEvents"].end(), [](const auto& e) { return e["ph"] == "X"; })),
            s->slots.size());
  for (const char* fetched : {"src=", "href=", "url(", "@import", "<script"}) EXPECT_EQ(html.find(fetched), std::string::npos) << fetched;  // one file
  const std::string json = to_json(std::span(&report, 1));
  for (const char* field : {"latency_s", "tokens_per_s_user", "tokens_per_s_total", "chips", "weights", "kv", "state", "activations", "longest_context",
                            "joules_per_token", "idle_joules_per_token", "in_flight", "users", "matrix", "vector", "link", "roofline_s"}) {
    EXPECT_NE(json.find("\"" + std::string(field) + "\""), std::string::npos) << field;
  }
}

}  // namespace
}  // namespace sluice::lpu
