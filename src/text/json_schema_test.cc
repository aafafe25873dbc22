#include "text/json_schema.h"

#include <gtest/gtest.h>

#include <string>

#include "text/constraint_test_util.h"

namespace sluice::text {
namespace {

ConstraintSpec schema(std::string text, JsonSpace space = JsonSpace::kCompact) {
  ConstraintSpec spec = spec_of(ConstraintKind::kJsonSchema, std::move(text));
  spec.space = space;
  return spec;
}

void expect_language(const std::string& text, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  const auto c = compiled(schema(text));
  if (c == nullptr) return;
  for (const std::string& value : good) EXPECT_TRUE(accepts(c, value)) << text << " should accept " << value;
  for (const std::string& value : bad) EXPECT_FALSE(accepts(c, value)) << text << " should refuse " << value;
}

void expect_refused(const std::string& text, const std::string& word) {
  EXPECT_NE(refusal(schema(text)).find(word), std::string::npos) << text << ": '" << refusal(schema(text)) << "'";
}

TEST(JsonSchema, MembersComeInTheOrderOfTheSchema) {
  expect_language(R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name"]})",
                  {R"({"name":"x"})", R"({"name":"x","age":3})", R"({"name":"x","age":3,"more":[1]})", R"({"name":"x","other":null})"},
                  {R"({})", R"({"age":3,"name":"x"})", R"({"name":1})", R"({"name":"x","age":3.5})", R"({"name":"x","more":1,"age":3})",
                   R"({"name": "x"})", R"({"name":"x","n\u0061me":1})"});
}

TEST(JsonSchema, AdditionalMembersCanBeForbiddenOrTyped) {
  expect_language(R"({"type":"object","properties":{"a":{}},"additionalProperties":false})", {"{}", R"({"a":1})"},
                  {R"({"b":1})", R"({"a":1,"b":1})"});
  expect_language(R"({"type":"object","properties":{"a":{}},"additionalProperties":{"type":"boolean"}})",
                  {R"({"a":1,"b":true})", R"({"ab":false})", R"({"":true})", R"({"a":[],"é":true,"日":false})"},
                  {R"({"b":1})", R"({"a":1,"a":true})"});
  expect_language(R"({"type":"object","patternProperties":{"^x":{"type":"integer"},"z$":{"minimum":5}},"additionalProperties":false})",
                  {R"({"x1":3,"xz":7,"z":5})", R"({"z":"any"})"}, {R"({"y":1})", R"({"xz":3})", R"({"xz":"7"})"});
  expect_language(R"({"type":"object","propertyNames":{"maxLength":2},"maxProperties":2})", {"{}", R"({"ab":1,"c":2})"},
                  {R"({"abc":1})", R"({"a":1,"b":2,"c":3})"});
}

TEST(JsonSchema, CountsOfMembersAndItems) {
  expect_language(R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"minProperties":2})",
                  {R"({"a":1,"c":1})", R"({"a":1,"b":1,"c":1})"}, {"{}", R"({"b":1})"});
  expect_language(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})", {"[1]", "[1,2,3]"},
                  {"[]", "[1,2,3,4]", "[1,]", "[\"a\"]"});
  expect_language(R"({"type":"array","prefixItems":[{"type":"string"},{"const":2}],"items":false})", {"[]", R"(["a"])", R"(["a",2])"},
                  {R"(["a",3])", R"(["a",2,1])", "[2]"});
  expect_language(
      R"({"$schema":"http://json-schema.org/draft-07/schema#","type":"array","items":[{"type":"string"}],"additionalItems":{"type":"null"}})",
      {"[]", R"(["a",null,null])"}, {R"(["a",1])", "[null]"});
  expect_refused(R"({"minProperties":2})", "minProperties");
}

TEST(JsonSchema, Strings) {
  expect_language(R"({"type":"string","minLength":2,"maxLength":3})", {R"("ab")", R"("日本語")", R"("\n\"")", R"("a\\")"},
                  {R"("a")", R"("abcd")", R"("日")"});
  expect_language(R"({"type":"string","pattern":"^[a-z]+$"})", {R"("abc")"}, {R"("")", R"("aB")", R"("a\n")"});
  expect_language(R"({"type":"string","pattern":"b\n"})", {R"("ab\nc")"}, {R"("ab c")"});
  expect_language(R"({"type":"string","format":"date"})", {R"("2024-02-29")", R"("2023-12-31")"},
                  {R"("2023-02-29")", R"("2023-13-01")", R"("1900-02-29")"});
  expect_language(R"({"type":"string","format":"ipv6"})", {R"("::1")", R"("1:2:3:4:5:6:7:8")", R"("::ffff:1.2.3.4")", R"("1::8")"},
                  {R"(":1")", R"("1:2:3")", R"("::1::2")", R"("1:2:3:4:5:6:7:8:9")"});
  expect_language(R"({"type":"string","format":"uuid"})", {R"("2eb8aa08-aa98-11ea-b4aa-73b441d16380")"},
                  {R"("2eb8aa08aa9811eab4aa73b441d16380")"});
  expect_language(R"({"enum":["a\"b","tab\t","é"]})", {R"("a\"b")", R"("tab\t")", R"("é")"}, {R"("a")", R"("\u00e9")"});
  expect_refused(R"({"type":"string","format":"iri"})", "iri");
  expect_refused(R"x({"type":"string","pattern":"(?=a)"})x", "lookahead");
}

TEST(JsonSchema, Numbers) {
  expect_language(R"({"type":"integer"})", {"0", "-1", "12345678901234567890"}, {"1.0", "01", "-", "1e3", "+1"});
  expect_language(R"({"type":"integer","minimum":-3,"maximum":120})", {"-3", "0", "9", "99", "120"},
                  {"-4", "121", "1000", "-10", "1.0", "-0"});
  expect_language(R"({"type":"number","minimum":0.5,"exclusiveMaximum":10})", {"0.5", "0.50", "1", "9.999", "3.0"},
                  {"0.49", "10", "10.0", "0", "-1"});
  expect_language(R"({"type":"number","exclusiveMinimum":-2.5,"maximum":-0.25})", {"-2.4", "-1", "-0.25", "-0.3"},
                  {"-2.5", "-2.50", "-0.2", "0", "1"});
  expect_language(R"({"minimum":3,"type":["number","string"]})", {"3", "4.5", R"("a")"}, {"2", "null"});
  expect_language(R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "700"}, {"1", "8", "15"});
  expect_language(R"({"type":"number","multipleOf":0.25})", {"0", "0.5", "-1.75", "3", "2.250"}, {"0.1", "0.3", "2.255"});
  expect_language(R"({"enum":[1,2.5,-3,1e2]})", {"1", "2.5", "-3", "100"}, {"1.0", "2.50", "2", "3", "10"});
  expect_refused(R"({"multipleOf":0.123456})", "multipleOf");
  expect_refused(R"({"minimum":1e80})", "digits");
}

TEST(JsonSchema, LogicIsExact) {
  expect_language(R"({"anyOf":[{"type":"string","maxLength":1},{"type":"integer"}]})", {R"("a")", "5"}, {R"("ab")", "null", "5.5"});
  expect_language(R"({"oneOf":[{"type":"integer"},{"type":"number","minimum":2}]})", {"1", "2.5", "-7"}, {"2", "3", "1.5"});
  expect_language(R"({"not":{"type":["integer","object"]}})", {"1.5", R"("a")", "[]", "null"}, {"1", "1.0", "{}"});
  expect_language(R"({"allOf":[{"type":"string","minLength":2},{"pattern":"^a"},{"not":{"const":"abc"}}]})", {R"("ab")", R"("abcd")"},
                  {R"("a")", R"("abc")", R"("bcd")"});
  expect_language(R"({"if":{"type":"string"},"then":{"maxLength":2},"else":{"type":"integer"}})", {R"("ab")", "7"}, {R"("abc")", "null"});
  expect_language(
      R"({"type":"object","allOf":[{"properties":{"a":{"type":"integer"}}},{"properties":{"a":{"minimum":3},"b":{"type":"null"}},"required":["b"]}],
                      "additionalProperties":true})",
      {R"({"a":3,"b":null})", R"({"b":null})"}, {R"({"a":2,"b":null})", R"({"a":3})", R"({"a":3.5,"b":null})"});
  expect_language(R"({"type":"object","properties":{"kind":{"enum":["a","b"]}},"required":["kind"],
                      "if":{"properties":{"kind":{"const":"a"}}},"then":{"required":["x"]},"else":{"required":["y"]}})",
                  {R"({"kind":"a","x":1})", R"({"kind":"b","y":1})", R"({"kind":"a","x":1,"y":2})"},
                  {R"({"kind":"a"})", R"({"kind":"b","x":1})", R"({"kind":"c","x":1})"});
  expect_language(
      R"({"oneOf":[{"type":"object","properties":{"t":{"const":"cat"},"lives":{"type":"integer"}},"required":["t","lives"],"additionalProperties":false},
                               {"type":"object","properties":{"t":{"const":"dog"}},"required":["t"],"additionalProperties":false}]})",
      {R"({"t":"cat","lives":9})", R"({"t":"dog"})"}, {R"({"t":"cat"})", R"({"t":"dog","lives":9})", "{}"});
  expect_language(R"({"type":"object","properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]},"additionalProperties":false})",
                  {"{}", R"({"b":1})", R"({"a":1,"b":1})"}, {R"({"a":1})"});
}

TEST(JsonSchema, ListedObjectsAreFilteredByEverythingElse) {
  expect_language(R"({"enum":[{"a":1},{"a":2,"b":[true,null]},[1,2],"x",7],"type":["object","array","string"],"maxProperties":1})",
                  {R"({"a":1})", "[1,2]", R"("x")"}, {R"({"a":2,"b":[true,null]})", "7"});
}

TEST(JsonSchema, ReferencesMayRecurse) {
  expect_language(R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},
                      "children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["value"],"additionalProperties":false}}})",
                  {R"({"value":1})", R"({"value":1,"children":[{"value":2,"children":[]},{"value":3}]})"},
                  {R"({"children":[]})", R"({"value":1,"children":[1]})"});
  expect_language(R"({"$defs":{"a/b":{"$anchor":"here","type":"null"}},"anyOf":[{"$ref":"#here"},{"$ref":"#/$defs/a~1b"}]})", {"null"},
                  {"1"});
  expect_refused(R"({"$ref":"https://example.com/other.json"})", "$ref");
  expect_refused(R"({"$ref":"#/$defs/missing"})", "missing");
  expect_refused(R"({"$ref":"#"})", "itself");
  expect_refused(R"({"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})", "itself");
}

TEST(JsonSchema, UnsupportedKeywordsAreRefusedByNameNeverIgnored) {
  for (const char* keyword : {"contains", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "minContains"}) {
    expect_refused(std::string("{\"") + keyword + "\":" + (keyword[0] == '$' ? "\"#\"" : keyword[0] == 'm' ? "1" : "{}") + "}", keyword);
  }
  expect_refused(R"({"uniqueItems":true})", "uniqueItems");
  expect_refused(R"({"type":"string","minlength":3})", "minlength");
  expect_refused(R"({"type":"object","properties":{"a":{"typ":"string"}}})", "typ");
  expect_refused(R"({"$schema":"https://example.com/my-dialect"})", "my-dialect");
  expect_refused(R"({"type":"sting"})", "type");
  expect_refused(R"({"minLength":-1})", "minLength");
  expect_refused(R"({"properties":[]})", "properties");
  expect_refused(R"({"type":"string","type":"number"})", "twice");
  expect_refused("[1]", "object");
  expect_refused("{", "valid JSON");
  EXPECT_EQ(refusal(schema(R"({"type":"null","title":"t","x-internal":1,"default":null,"uniqueItems":false})")), "");
}

TEST(JsonSchema, ASchemaThatNothingSatisfiesIsRefused) {
  expect_refused("false", "no text");
  expect_refused(R"({"type":"string","minLength":3,"maxLength":2})", "no text");
  expect_refused(R"({"type":"object","properties":{"a":false},"required":["a"]})", "no text");
  expect_refused(R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"]}}})",
                 "no text");
}

TEST(JsonSchema, WhiteSpaceFollowsThePolicy) {
  const std::string text =
      R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}},"b":{"const":{"x":[1,2]}}},"required":["a","b"]})";
  EXPECT_TRUE(accepts(compiled(schema(text)), R"({"a":[1,2],"b":{"x":[1,2]}})"));
  EXPECT_TRUE(accepts(compiled(schema(text, JsonSpace::kSpaced)), R"({"a": [1, 2], "b": {"x": [1, 2]}})"));
  EXPECT_FALSE(accepts(compiled(schema(text, JsonSpace::kSpaced)), R"({"a":[1,2],"b":{"x":[1,2]}})"));
  EXPECT_TRUE(accepts(compiled(schema(text, JsonSpace::kFlexible)), "{\n  \"a\": [1,2],\n  \"b\" : { \"x\" : [ 1 , 2 ] }\n}"));
}

TEST(JsonSchema, FixedKeysAreJumpedOver) {
  ConstraintState state(compiled(schema(R"({"type":"object","properties":{"first":{"type":"integer"},"second":{"type":"boolean"}},
                                           "required":["first","second"],"additionalProperties":false})")));
  EXPECT_EQ(state.jump_ahead(), "{\"first\":");
  ASSERT_TRUE(state.accept_text("{\"first\":1,"));
  EXPECT_EQ(state.jump_ahead(), "\"second\":");
  ASSERT_TRUE(state.accept_text("\"second\":t"));
  EXPECT_EQ(state.jump_ahead(), "rue}");
}

TEST(JsonSchema, MasksAllowExactlyWhatIsAccepted) {
  const std::vector<std::string> schemas = {
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":5},"t":{"type":"array","items":{"enum":["foo","true"]}}},"required":["name"]})",
      R"({"type":"array","items":{"anyOf":[{"type":"string","pattern":"^a+b?$"},{"type":"number","minimum":0.5},{"$ref":"#"}]}})",
      R"({"type":"object","propertyNames":{"minLength":2},"additionalProperties":{"type":["integer","null"]}})",
  };
  TestRandom random{3};
  for (const std::string& text : schemas) {
    for (int run = 0; run < 3; ++run) {
      ConstraintState state(compiled(schema(text)));
      std::string written;
      std::vector<MaskWord> mask(small()->mask_words());
      for (int step = 0; step < 15 && !state.finished(); ++step) {
        expect_exact_mask(state, *small(), written);
        ASSERT_TRUE(state.fill_mask(mask)) << written;
        const int64_t token = random_token(mask, random);
        written += small()->token_bytes(static_cast<uint32_t>(token));
        ASSERT_TRUE(state.accept(static_cast<uint32_t>(token)));
      }
    }
  }
}

}  // namespace
}  // namespace sluice::text
