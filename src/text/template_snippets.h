// Groups of small templates for differential tests: SNIPPETS(Name, {"source", ...}) is a test that compares each with jinja2.
// Contract: for tests only; one run of the oracle answers for all groups of the binary. Next: template_oracle.h.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "text/template_oracle.h"

namespace sluice::text {

inline const nlohmann::ordered_json& snippet_context() {
  static const auto json = nlohmann::ordered_json::parse(R"json({
    "name": "Ada", "n": 7, "x": 2.5, "yes": true, "no": false, "nothing": null, "empty": "", "zero": 0, "big": 9007199254740993,
    "list": [3, 1, 2], "words": ["b", "A", "c", "a"], "nested": [[1, 2], [3]], "mixed": [1, "a", null, true, 1.5, [1], {"k": "v"}],
    "text": "  Hello, wörld! ñ 😀\n second\tline  ", "quote": "it's \"quoted\" \\ \u0001 \u00a0 \u200b", "markup": "<b>&'\"</b>",
    "map": {"b": 1, "a": [1, 2], "C": {"x": "y"}, "items": "shadowed", "n": null},
    "people": [{"name": "Bo", "age": 30, "ok": true}, {"name": "Al", "age": 25}, {"name": "cy", "age": 30, "ok": false}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
  })json");
  return json;
}

// Groups register themselves, so that one run of the oracle answers for all of them.
struct SnippetGroup {
  std::string name;
  std::vector<OracleCase> cases;
};

inline std::vector<SnippetGroup>& snippet_groups() {
  static std::vector<SnippetGroup> all;
  return all;
}

inline bool add_snippets(const char* name, std::initializer_list<const char*> sources) {
  SnippetGroup group{name, {}};
  for (const char* source : sources) group.cases.push_back({name, source, snippet_context()});
  snippet_groups().push_back(std::move(group));
  return true;
}

inline void expect_snippets(const std::string& name) {
  static std::string why;
  static const std::vector<nlohmann::json> answers = [] {
    std::vector<OracleCase> all;
    for (const SnippetGroup& group : snippet_groups()) all.insert(all.end(), group.cases.begin(), group.cases.end());
    return ask_oracle(all, why);
  }();
  if (answers.empty()) GTEST_SKIP() << why;
  size_t first = 0;
  for (const SnippetGroup& group : snippet_groups()) {
    if (group.name == name) expect_answers(group.cases, answers.data() + first);
    first += group.cases.size();
  }
}

#define SNIPPETS(name, ...)                                    \
  const bool name##_added = add_snippets(#name, __VA_ARGS__);     \
  TEST(TemplateSnippets, name) { expect_snippets(#name); }        \
  static_assert(true)

}  // namespace sluice::text
