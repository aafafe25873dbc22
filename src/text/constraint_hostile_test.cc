// Rows G1 to G7 of the reliability table: what stopped other servers, sent here as constraints. Nothing may crash, hang or grow; a refusal
// is a sentence. Time is measured as CPU time of the thread and compared with ten times the promise, because sanitizers and busy machines
// run these.
#include <gtest/gtest.h>

#include <ctime>

#include "text/constraint_check.h"
#include "text/constraint_test_util.h"

namespace sluice::text {
namespace {

double cpu_ms() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

std::string repeated(std::string_view part, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += part;
  return out;
}

ConstraintSpec regex(std::string text) { return spec_of(ConstraintKind::kRegex, std::move(text)); }
ConstraintSpec grammar(std::string text) { return spec_of(ConstraintKind::kGrammar, std::move(text)); }
ConstraintSpec schema(std::string text) { return spec_of(ConstraintKind::kJsonSchema, std::move(text)); }

// Compiles within the promise, whatever the outcome; returns the refusal.
std::string within(const ConstraintSpec& spec, double promised_ms) {
  const double start = cpu_ms();
  const std::string why = refusal(spec);
  EXPECT_LT(cpu_ms() - start, 10 * promised_ms) << spec.text.substr(0, 60);
  return why;
}

TEST(ReliabilityG1, DeepNestingIsRefusedQuickly) {
  EXPECT_NE(within(regex(repeated("(", 60'000) + "a" + repeated(")", 60'000)), 50).find("nested deeper"), std::string::npos);
  EXPECT_NE(within(grammar("root ::= " + repeated("(", 60'000) + "\"a\"" + repeated(")", 60'000)), 50).find("nested deeper"),
            std::string::npos);
  EXPECT_NE(within(schema(repeated("{\"not\":", 60'000) + "true" + repeated("}", 60'000)), 50).find("nested deeper"), std::string::npos);
  EXPECT_NE(within(schema(repeated("[", 100'000)), 50), "");
  std::string chain = "root ::= r0 \"x\"\n";
  for (int i = 0; i < 5000; ++i) chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"x\"\n";
  EXPECT_NE(within(grammar(chain + "r5000 ::= \"y\"\n"), 100).find("begin with one another"), std::string::npos);
  std::string references = "{\"$ref\":\"#/$defs/d0\",\"$defs\":{";
  for (int i = 0; i < 5000; ++i) references += "\"d" + std::to_string(i) + "\":{\"$ref\":\"#/$defs/d" + std::to_string(i + 1) + "\"},";
  EXPECT_NE(within(schema(references + "\"d5000\":{}}}"), 100), "");
}

TEST(ReliabilityG2, NullableLoopsLeftRecursionAndEmptyLanguages) {
  EXPECT_TRUE(accepts(compiled(grammar("root ::= ( [x]* )*")), "xxx"));
  EXPECT_TRUE(accepts(compiled(grammar("root ::= ( [x]* )*")), ""));
  EXPECT_TRUE(accepts(compiled(regex("(x*)*(y?)+")), "xxyy"));
  EXPECT_TRUE(accepts(compiled(grammar("root ::= root root | \"x\" | \"\"")), "xxxx"));
  EXPECT_TRUE(accepts(compiled(grammar("root ::= a\na ::= b? a \"y\" | \"x\"\nb ::= a?")), "xyy"));
  EXPECT_NE(refusal(grammar("root ::= root")).find("no text"), std::string::npos);
  EXPECT_NE(refusal(grammar("root ::= \"x\" root")).find("no text"), std::string::npos);
  EXPECT_NE(refusal(regex("[^\\s\\S]")).find("no text"), std::string::npos);
  EXPECT_NE(refusal(spec_of(ConstraintKind::kGrammar, "")).find("root"), std::string::npos);
}

TEST(ReliabilityG3, MalformedPatternsInSchemas) {
  for (const char* pattern : {"(", "[", "a{", "(?", "\\\\", "(?<n", "[a-", "*", "a{9999}", "((((((((((", "\\\\u{110000}", "(?:", "[^",
                              "(a|b", "\\\\p{", "x{2,1}"}) {
    const std::string why = refusal(schema(std::string("{\"type\":\"string\",\"pattern\":\"") + pattern + "\"}"));
    // "a{" is the two characters, as ECMA-262 reads it; all others are refused with the pattern in the sentence.
    EXPECT_EQ(why.empty(), std::string(pattern) == "a{") << pattern << ": " << why;
  }
  EXPECT_NE(refusal(schema("{\"pattern\":\"" + repeated("(", 5000) + repeated(")", 5000) + "\"}")).find("nested"), std::string::npos);
}

TEST(ReliabilityG4, EveryCountAndNumberAtItsLimits) {
  const char* numbers[] = {"0",
                           "1",
                           "2000",
                           "2001",
                           "2147483647",
                           "2147483648",
                           "-1",
                           "-2147483649",
                           "9223372036854775807",
                           "9223372036854775808",
                           "18446744073709551616",
                           "1e308",
                           "1e309",
                           "-1e309",
                           "1e-300",
                           "0.5",
                           "1.0",
                           "null",
                           "\"3\"",
                           "[]",
                           "true"};
  for (const char* keyword : {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minimum", "maximum",
                              "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}) {
    for (const char* number : numbers) within(schema(std::string("{\"") + keyword + "\":" + number + "}"), 100);
  }
  for (const char* number : numbers) {
    within(regex(std::string("a{") + number + "}"), 100);
    within(regex(std::string("a{1,") + number + "}"), 100);
    within(grammar(std::string("root ::= \"a\"{") + number + "}"), 100);
    within(grammar(std::string("root ::= \"a\"{1,") + number + "}"), 100);
  }
  EXPECT_NE(refusal(schema("{\"maxLength\":2001}")).find("2001"), std::string::npos);
  EXPECT_NE(refusal(schema("{\"minItems\":4294967296}")).find("4294967296"), std::string::npos);
}

TEST(ReliabilityG5, MemoryStaysUnderTheCacheCapForUniqueSchemas) {
  ConstraintCache cache(small(), 1 << 20, {});
  for (int i = 0; i < 300; ++i) {
    const auto got = cache.get(schema("{\"type\":\"object\",\"properties\":{\"key" + std::to_string(i) + "\":{\"type\":\"integer\"}}}"));
    ASSERT_TRUE(got.ok());
    ASSERT_LE(cache.bytes(), 1u << 20);
  }
  EXPECT_GT(cache.size(), 3u);
  const auto again = cache.get(schema("{\"type\":\"object\",\"properties\":{\"key299\":{\"type\":\"integer\"}}}"));
  const auto same = cache.get(schema("{\"type\":\"object\",\"properties\":{\"key299\":{\"type\":\"integer\"}}}"));
  EXPECT_EQ(again->get(), same->get());
}

TEST(ReliabilityG5, TheCompileBudgetHolds) {
  std::string values;
  for (int i = 0; i < 20'000; ++i) values += (i ? ",\"value number " : "\"value number ") + std::to_string(i * 7919) + "\"";
  within(schema("{\"enum\":[" + values + "]}"), 200);
  std::string properties;
  for (int i = 0; i < 2000; ++i) properties += (i ? ",\"p" : "\"p") + std::to_string(i) + "\":{\"type\":\"string\",\"maxLength\":100}";
  within(schema("{\"type\":\"object\",\"properties\":{" + properties + "}}"), 200);
  within(schema("{\"type\":\"array\",\"maxItems\":2000,\"items\":{\"type\":\"array\",\"maxItems\":2000,\"items\":{\"type\":\"string\","
                "\"maxLength\":2000}}}"),
         200);
  std::string either = "{\"type\":\"integer\"}";
  for (int i = 0; i < 20; ++i) either = "{\"anyOf\":[" + either + "," + either + "]}";
  within(schema(either.substr(0, 1 << 20)), 200);
  EXPECT_NE(refusal(schema(std::string((1 << 20) + 1, ' '))).find("bytes"), std::string::npos);
  const auto tiny = Constraint::compile(
      schema("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-z]{1,50}$\"}}}"), small(), {1000, 1 << 20});
  ASSERT_FALSE(tiny.ok());
  EXPECT_NE(tiny.error().message.find("1000 steps"), std::string::npos);
}

TEST(ReliabilityG6, RegexTimeIsLinearAndFailureStaysInTheRequest) {
  const auto c = compiled(regex("(a+)+b|(a|aa)*c"));
  ConstraintState state(c);
  const double start = cpu_ms();
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(state.accept('a'));
  EXPECT_FALSE(state.can_end());
  EXPECT_LT(cpu_ms() - start, 2000);
  for (const char* type : {"\"strin\"", "5", "{}", "[]", "[5]", "null", "[\"string\",\"strin\"]"}) {
    EXPECT_NE(refusal(schema(std::string("{\"type\":") + type + "}")).find("type"), std::string::npos) << type;
  }
}

TEST(ReliabilityG7, TheMaskNeverEmptiesSilently) {
  // Random walks over grammars with recursion and dead ends: there is always a next token, or fill_mask says that there is none.
  TestRandom random{11};
  for (const ConstraintSpec& spec :
       {grammar("root ::= \"[\" (root (\",\" root)*)? \"]\" | \"x\" dead | \"y\"\ndead ::= \"z\" dead"),
        schema("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":3}"), spec_of(ConstraintKind::kJsonObject, "")}) {
    ConstraintState state(compiled(spec));
    std::vector<MaskWord> mask(small()->mask_words());
    for (int step = 0; step < 3000 && !state.finished(); ++step) {
      ASSERT_TRUE(state.fill_mask(mask));
      ASSERT_TRUE(state.accept(static_cast<uint32_t>(random_token(mask, random))));
    }
  }
}

TEST(ReliabilityG7, NestingIsBoundedWhileMatching) {
  ConstraintState state(compiled(grammar("root ::= \"(\" root \")\" | \"x\"")));
  size_t depth = 0;
  while (depth < 100'000 && state.accept('(')) ++depth;
  EXPECT_GT(depth, 100u);
  EXPECT_LE(depth, limits::kConstraintStackMax + 2);
  std::vector<MaskWord> mask(small()->mask_words());
  EXPECT_TRUE(state.fill_mask(mask));
  EXPECT_TRUE(bit(mask, 'x'));
  EXPECT_FALSE(bit(mask, '('));
}

TEST(StructuralTags, FreeTextWithConstrainedIslands) {
  const char* text =
      R"({"structures":[{"begin":"<tool_call>","schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],
                        "additionalProperties":false},"end":"</tool_call>"}]})";
  const auto c = compiled(spec_of(ConstraintKind::kStructuralTags, text));
  EXPECT_TRUE(accepts(c, "just text < with <tool_cal brackets"));
  EXPECT_TRUE(accepts(c, "first <tool_call>{\"n\":1}</tool_call> then <tool_call>{\"n\":-2}</tool_call>"));
  EXPECT_FALSE(accepts(c, "<tool_call>{\"n\":1}"));
  EXPECT_FALSE(accepts(c, "<tool_call>{\"m\":1}</tool_call>"));
}

TEST(StructuralTags, TriggersAndSpecialTokens) {
  const auto c = compiled(spec_of(
      ConstraintKind::kStructuralTags,
      R"({"structures":[{"begin":"<f=a>","regex":"[0-9]+","end":"</f>"},{"begin":"<f=b>","grammar":"root ::= \"yes\" | \"no\"","end":"</f>"}],
                                      "triggers":["<f="],"at_least_one":true,"stop_after_first":true})"));
  EXPECT_TRUE(accepts(c, "so <f=a>12</f>"));
  EXPECT_TRUE(accepts(c, "<f=b>no</f>"));
  EXPECT_FALSE(accepts(c, "so"));
  EXPECT_FALSE(accepts(c, "<f=c>1</f>"));
  EXPECT_FALSE(accepts(c, "<f=b>no</f> more"));
  const auto special =
      compiled(spec_of(ConstraintKind::kStructuralTags, R"({"structures":[{"begin":"<|call|>","regex":"[a-z]","end":"\n"}]})"));
  ConstraintState state(special);
  ASSERT_TRUE(state.accept_text("hm "));
  expect_exact_mask(state, *small(), "hm ");
  ASSERT_TRUE(state.accept(static_cast<uint32_t>(small()->size() - 1)));
  EXPECT_FALSE(state.can_end());
  EXPECT_TRUE(state.accept_text("f\n"));
}

TEST(StructuralTags, MistakesAreNamed) {
  const auto refused = [](const char* text) { return refusal(spec_of(ConstraintKind::kStructuralTags, text)); };
  EXPECT_NE(refused("{}").find("structures"), std::string::npos);
  EXPECT_NE(refused(R"({"structures":[{"begin":"<a>","end":"</a>"}]})").find("exactly one"), std::string::npos);
  EXPECT_NE(refused(R"({"structures":[{"begin":"<a>","schema":{},"end":"</a>"}],"triggers":["<b"]})").find("no trigger"),
            std::string::npos);
  EXPECT_NE(refused(R"({"structures":[{"begin":"<a>","schema":{},"end":"</a>"}],"trigger":"x"})").find("'trigger'"), std::string::npos);
  EXPECT_NE(refused(R"({"structures":[{"begin":"<a>","schema":{"contains":{}},"end":"</a>"}]})").find("contains"), std::string::npos);
}

TEST(ConstraintCheck, ShowsSamplesThatAreAccepted) {
  for (const ConstraintSpec& spec :
       {schema(
            R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"number"}},"b":{"enum":["x",null]}},"required":["b"]})"),
        regex("[a-z]{3}-(yes|no)"), grammar("root ::= \"(\" root \")\" | [0-9]+")}) {
    const auto report = check_constraint(spec, {}, 5, 42);
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->samples.size(), 5u);
    const auto c = compiled(spec);
    for (const std::string& sample : report->samples) EXPECT_TRUE(accepts(c, sample)) << sample;
  }
  const auto refused = check_constraint(schema(R"({"uniqueItems":true})"), {}, 5, 42);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("uniqueItems"), std::string::npos);
}

}  // namespace
}  // namespace sluice::text
