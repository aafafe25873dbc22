// Constraints as a person or a script meets them: the flags of `run`, and `constrain check`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/constrained_answer.h"

namespace sluice::cli {
namespace {

struct Outcome {
  int status = -1;
  std::string out, error;
};

std::string temporary(const std::string& name) { return ::testing::TempDir() + "/sluice_constrain_" + std::to_string(getpid()) + "_" + name; }

std::string file_with(const std::string& name, const std::string& content) {
  const std::string path = temporary(name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string read_and_remove(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  file.close();
  std::filesystem::remove(path);
  return text;
}

Outcome sluice(const std::string& arguments) {
  const std::string out = temporary("out"), error = temporary("err");
  const int status = std::system((std::string(SLUICE_BINARY) + " " + arguments + " >" + out + " 2>" + error + " </dev/null").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_and_remove(out), read_and_remove(error)};
}

nlohmann::json json_of(const Outcome& outcome) { return nlohmann::json::parse(outcome.out, nullptr, false); }
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

constexpr const char* kSchema = R"({"type":"object","properties":{"animal":{"enum":["fox","owl"]},"legs":{"type":"integer","minimum":1,"maximum":9},
  "story_of_the_animal":{"type":"string","maxLength":30}},"required":["animal","legs","story_of_the_animal"],"additionalProperties":false})";

text::Tokenizer byte_tokenizer() {
  text::TokenizerSpec spec;
  for (int b = 0; b < 256; ++b) {
    spec.tokens.emplace_back(1, static_cast<char>(b));
    spec.types.push_back(text::TokenType::kNormal);
  }
  spec.tokens.emplace_back("<end>");
  spec.types.push_back(text::TokenType::kControl);
  spec.eos_id = 256;
  return std::move(text::Tokenizer::create(std::move(spec)).value());
}

// Whether an answer to a prompt may go like this, byte by byte, and be complete.
bool may_say(ConstrainedAnswer& answer, std::string_view prompt, bool can_think, std::string_view text) {
  EXPECT_TRUE(answer.begin(prompt, can_think).ok());
  for (const char c : text) {
    const auto mask = answer.mask();
    const auto byte = static_cast<uint8_t>(c);
    if (!mask.ok() || !((*mask)[byte / 64] >> (byte % 64) & 1)) return false;
    answer.accept(byte);
  }
  return answer.complete();
}

TEST(ConstrainedAnswer, ComesBehindThoughtsAsPromptAndTemplateSay) {
  const text::Tokenizer tokenizer = byte_tokenizer();
  ConstraintOptions options;
  options.choices = {"yes", "no"};
  const auto created = ConstrainedAnswer::create(options, tokenizer);
  ASSERT_TRUE(created.ok());
  ConstrainedAnswer& answer = **created;
  const std::string_view thought = "<think>\nyes?\n</think>\n\nno", rest = "\nyes?\n</think>\n\nno";
  EXPECT_TRUE(may_say(answer, "Is it?", false, "yes"));
  EXPECT_FALSE(may_say(answer, "Is it?", false, thought));
  EXPECT_TRUE(may_say(answer, "Is it?\n<think>\n", false, rest));  // the prompt opens the thoughts
  EXPECT_FALSE(may_say(answer, "Is it?\n<think>\n", false, "yes"));
  EXPECT_TRUE(may_say(answer, "Is it?", true, thought));  // the model may
  EXPECT_TRUE(may_say(answer, "Is it?", true, "yes"));
  EXPECT_FALSE(may_say(answer, "Is it?", true, rest));
  EXPECT_FALSE(may_say(answer, "Is it?", true, "<think>yes"));
  EXPECT_FALSE(may_say(answer, "Is it?\n<think>\n\n</think>\n\n", true, thought));  // they are over
  EXPECT_TRUE(may_say(answer, "Is it?\n<think>\n\n</think>\n\n", true, "no"));
}

TEST(ConstrainedRun, ObeysASchema) {
  const std::string schema = file_with("schema.json", kSchema);
  for (const char* options : {"--seed 1", "--seed 2 --temp 2 --top-k 0 --top-p 1 --min-p 0", "--temp 0"}) {
    const Outcome run = sluice("run --json --schema " + schema + " -p 'An animal' " + options);
    ASSERT_EQ(run.status, 0) << run.error;
    const auto out = json_of(run);
    EXPECT_EQ(out["finish_reason"], "stop");
    const auto answer = nlohmann::json::parse(out["text"].get<std::string>(), nullptr, false);
    ASSERT_TRUE(answer.is_object() && answer.size() == 3) << out["text"];
    EXPECT_TRUE(answer["animal"] == "fox" || answer["animal"] == "owl");
    EXPECT_TRUE(answer["legs"].is_number_integer() && answer["legs"] >= 1 && answer["legs"] <= 9);
    EXPECT_TRUE(answer["story_of_the_animal"].is_string());
  }
}

TEST(ConstrainedRun, ObeysAPatternAChoiceAndAGrammar) {
  const Outcome regex = sluice("run --json -p Hi --regex '[a-f]{4}-[0-9]+'  -n 20 --seed 3");
  EXPECT_THAT(json_of(regex)["text"].get<std::string>(), testing::MatchesRegex("[a-f]{4}-[0-9]+")) << regex.out;
  const Outcome choice = sluice("run --json -p 'Is it raining?' --choice yes,no,perhaps");
  const std::string chosen = json_of(choice)["text"];
  EXPECT_TRUE(chosen == "yes" || chosen == "no" || chosen == "perhaps") << chosen;
  const std::string grammar = file_with("list.gbnf", "root ::= item (\", \" item){2}\nitem ::= \"fox\" | \"owl\"\n");
  const Outcome list = sluice("run --json -p Hi --grammar " + grammar);
  EXPECT_THAT(json_of(list)["text"].get<std::string>(), testing::MatchesRegex("(fox|owl)(, (fox|owl)){2}")) << list.out;
  const Outcome after = sluice("run --json -p Hi --choice yes,no --constrain-after . -n 300");
  const std::string text = json_of(after)["text"];
  if (json_of(after)["finish_reason"] == "stop") {
    EXPECT_THAT(text, testing::ContainsRegex("\\.[ \n]*(yes|no)$"));
  }
}

TEST(ConstrainedRun, TooFewTokensEndWithLengthAndSaySo) {
  const std::string schema = file_with("schema.json", kSchema);
  const Outcome run = sluice("run --json -n 3 --schema " + schema + " -p Hi");
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(json_of(run)["finish_reason"], "length");
  EXPECT_EQ(json_of(run)["completion_tokens"], 3);
  EXPECT_TRUE(contains(run.error, "before the constraint was satisfied (finish_reason length)")) << run.error;
  const Outcome plain = sluice("run -n 3 --schema " + schema + " -p Hi");
  EXPECT_EQ(plain.status, 1);
  EXPECT_TRUE(contains(plain.error, "--max-tokens")) << plain.error;
}

TEST(ConstrainedRun, WhatCannotBeObeyedIsRefusedBeforeAnything) {
  const Outcome unsupported = sluice("run -p Hi --schema " + file_with("bad.json", R"({"type":"array","uniqueItems":true})"));
  EXPECT_EQ(unsupported.status, 1);
  EXPECT_TRUE(contains(unsupported.error, "unsupported keyword 'uniqueItems'")) << unsupported.error;
  EXPECT_EQ(unsupported.out, "");
  EXPECT_EQ(sluice("run -p Hi --schema /nowhere/at/all.json").status, 1);
  EXPECT_EQ(sluice("run -p Hi --regex a --choice b").status, 2);
}

TEST(ConstrainCheck, ShowsWhatASchemaAccepts) {
  const std::string schema = file_with("schema.json", kSchema);
  const Outcome check = sluice("constrain check " + schema + " --samples 5");
  EXPECT_EQ(check.status, 0);
  EXPECT_TRUE(contains(check.out, "a schema that can be enforced") && contains(check.out, "{\"animal\":\"")) << check.out;
  const auto report = json_of(sluice("constrain check --json --samples 5 --seed 9 " + schema));
  EXPECT_EQ(report["supported"], true);
  EXPECT_EQ(report["kind"], "schema");
  ASSERT_EQ(report["samples"].size(), 5u);
  for (const auto& sample : report["samples"]) {
    EXPECT_TRUE(nlohmann::json::parse(sample.get<std::string>(), nullptr, false).is_object()) << sample;
  }
  EXPECT_EQ(json_of(sluice("constrain check --json --samples 5 --seed 9 " + schema)), report);
  EXPECT_EQ(json_of(sluice("constrain check --json --samples 0 " + schema))["samples"].size(), 0u);
  EXPECT_TRUE(contains(sluice("constrain check --space spaced " + schema).out, "\"animal\": "));
}

TEST(ConstrainCheck, NamesWhatIsNotSupported) {
  const std::string schema = file_with("deep.json", R"({"properties":{"a":{"items":{"contains":{}}}}})");
  const Outcome check = sluice("constrain check " + schema);
  EXPECT_EQ(check.status, 1);
  EXPECT_TRUE(contains(check.error, "unsupported keyword 'contains'")) << check.error;
  const auto report = json_of(sluice("constrain check --json " + schema));
  EXPECT_EQ(report["supported"], false);
  EXPECT_TRUE(contains(report["error"].get<std::string>(), "'contains'"));
  const Outcome lookahead = sluice("constrain check --kind regex " + file_with("look", "a(?=b)"));
  EXPECT_EQ(lookahead.status, 1);
  EXPECT_TRUE(contains(lookahead.error, "lookahead") || contains(lookahead.error, "lookaround")) << lookahead.error;
  EXPECT_EQ(sluice("constrain check " + file_with("what", "abc")).status, 1);
  EXPECT_EQ(sluice("constrain check").status, 2);
}

TEST(ConstrainCheck, KnowsGrammarsAndPatterns) {
  const auto grammar = json_of(sluice("constrain check --json " + file_with("g.gbnf", "root ::= \"a\" root \"b\" | \"c\"\n")));
  EXPECT_EQ(grammar["kind"], "grammar");
  EXPECT_EQ(grammar["supported"], true);
  const auto regex = json_of(sluice("constrain check --json --samples 20 " + file_with("r.regex", "[xy]{3}\n")));
  EXPECT_EQ(regex["kind"], "regex");
  for (const auto& sample : regex["samples"]) EXPECT_THAT(sample.get<std::string>(), testing::MatchesRegex("[xy]{3}"));
}

}  // namespace
}  // namespace sluice::cli
