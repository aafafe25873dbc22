// The oracle of the differential tests: Debian's python3-jinja2, run once for many cases (tools/templates/oracle.py).
// Contract: for tests only. Next: chat_template_test.cc, template_snippets_test.cc.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "text/chat_template.h"

namespace sluice::text {

struct OracleCase {
  std::string name;
  std::string source;
  nlohmann::ordered_json context;
};

// The clock of tools/templates/oracle.py.
inline RenderOptions oracle_options() {
  RenderOptions options;
  options.now = DateTime{2026, 11, 22, 5, 6, 7, 89};
  return options;
}

// Answers in the order of the cases; empty when the oracle is not installed, with `why` saying so.
inline std::vector<nlohmann::json> ask_oracle(const std::vector<OracleCase>& cases, std::string& why) {
  nlohmann::ordered_json request = nlohmann::ordered_json::array();
  for (const OracleCase& c : cases) request.push_back({{"source", c.source}, {"context", c.context}});
  std::string path = ::testing::TempDir() + "/sluice_oracle_" + std::to_string(getpid()) + "_" + std::to_string(cases.size()) + ".json";
  std::ofstream(path) << request.dump();
  // The system's interpreter by its full name: another python3 on the PATH may have another jinja2.
  const std::string command = std::string("/usr/bin/python3 ") + SLUICE_SOURCE_DIR + "/tools/templates/oracle.py " + path + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    why = "cannot run /usr/bin/python3";
    return {};
  }
  std::string output;
  char buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
  const int status = pclose(pipe);
  std::remove(path.c_str());
  const auto answers = nlohmann::json::parse(output, nullptr, false);
  if (status != 0 || !answers.is_array() || answers.size() != cases.size()) {
    why = "the oracle did not answer (is python3-jinja2 installed for /usr/bin/python3?): " + output.substr(0, 400);
    return {};
  }
  return answers.get<std::vector<nlohmann::json>>();
}

// Ours against the oracle's, case by case: the same bytes, or both refuse.
inline void expect_answers(const std::vector<OracleCase>& cases, const nlohmann::json* answers) {
  size_t rendered = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const OracleCase& c = cases[i];
    const auto parsed = ChatTemplate::parse(c.source);
    std::string error = parsed.ok() ? "" : parsed.error().message;
    Rendered ours;
    if (parsed.ok()) {
      auto result = parsed.value().render_parts(c.context, oracle_options());
      if (result.ok()) ours = std::move(result).value();
      else error = result.error().message;
    }
    size_t at = 0;  // spans cover the text and are never empty
    for (const RenderedSpan& span : ours.spans) {
      EXPECT_EQ(span.begin, at) << c.name;
      EXPECT_LT(span.begin, span.end) << c.name;
      at = span.end;
    }
    EXPECT_EQ(at, ours.text.size()) << c.name;
    const std::string shown = c.name + "\n" + c.source.substr(0, 300);
    if (!answers[i].contains("text")) {
      EXPECT_NE(error, "") << shown << "\njinja2 refuses: " << answers[i]["error"] << "\nwe print: " << ours.text;
      if (std::getenv("SLUICE_SHOW_REFUSED") != nullptr) {  // to compare the reasons by eye
        std::printf("%s\n  jinja2: %s\n  ours:   %s\n", c.source.c_str(), answers[i]["error"].dump().c_str(), error.c_str());
      }
      continue;
    }
    ++rendered;
    const std::string wanted = answers[i]["text"].get<std::string>();
    EXPECT_EQ(error, "") << shown << "\nwanted: " << wanted.substr(0, 300);
    if (error.empty()) {
      EXPECT_EQ(ours.text, wanted) << shown;
    }
  }
  std::printf("%zu cases, %zu render and %zu are refused, by both\n", cases.size(), rendered, cases.size() - rendered);
}

inline void expect_as_oracle(const std::vector<OracleCase>& cases) {
  std::string why;
  const auto answers = ask_oracle(cases, why);
  if (answers.empty()) GTEST_SKIP() << why;
  expect_answers(cases, answers.data());
}

}  // namespace sluice::text
