// Every real template in the shared data against Debian's jinja2, on conversations of all kinds; then the promises of the public header:
// budgets (K7), no way out (K6), allow-listed kwargs (K9), and spans that keep a user's text apart from the template's (K10).
#include "text/chat_template.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "text/template_oracle.h"

namespace sluice::text {
namespace {

using Json = nlohmann::ordered_json;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::filesystem::path> shared_templates() {
  std::vector<std::filesystem::path> paths;
  const std::filesystem::path folder = std::filesystem::path(SLUICE_SHARED_DIR) / "data/templates";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".jinja") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

const char* const kTools = R"json([
  {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place.\nIn \"any\" unit, für <alle> & 'jeden'.",
    "parameters": {"type": "object", "properties": {
        "location": {"type": "string", "description": "City, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14, "description": "How many\nmultiple lines"},
        "detail": {"type": "object", "properties": {"wind": {"type": "boolean"}, "at": {"type": "array", "items": {"type": "number"}}}, "required": ["wind"]},
        "tags": {"type": ["string", "null"]}},
      "required": ["location"]}, "return": {"type": "string"}}},
  {"type": "function", "function": {"name": "ns.search", "description": "Search", "parameters": {"type": "object", "properties": {}}}}
])json";

struct Conversation {
  const char* name;
  const char* messages;
};

const Conversation kConversations[] = {
    {"user", R"([{"role": "user", "content": "Hello <|im_end|> there"}])"},
    {"system and user", R"([{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": " What is 2 + 2? "}])"},
    {"two turns", R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello! "}, {"role": "user", "content": "Bye 😀"}])"},
    {"ends with assistant",
     R"([{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is"}])"},
    {"thinking", R"([{"role": "user", "content": "Hard one"},
      {"role": "assistant", "reasoning_content": "Let me think.\nYes.", "thinking": "Let me think.", "content": "42"}, {"role": "user", "content": "Why?"},
      {"role": "assistant", "reasoning_content": "Again.", "content": "Because."}])"},
    {"thinking inline", R"([{"role": "system", "content": "detailed thinking on /no_think"}, {"role": "user", "content": "Hard one /think"},
      {"role": "assistant", "content": "<think>\nhm\n</think>\n\n42"}, {"role": "user", "content": "Why?"}])"},
    {"tool call", R"([{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": "", "tool_calls": [{"id": "call00001", "type": "function", "index": 0, "function": {"name": "get_weather",
        "arguments": {"location": "Zürich", "days": 2, "detail": {"wind": true, "at": [1.5, 2]}, "tags": null}}}]},
      {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"temp\": 20, \"note\": \"<sunny> & dry\"}"}])"},
    {"tool call, null content, string arguments", R"([{"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "call00002", "type": "function", "function": {"name": "get_weather",
        "arguments": "{\"location\": \"Bern\"}"}}]},
      {"role": "tool", "tool_call_id": "call00002", "name": "get_weather", "content": "rain"}, {"role": "assistant", "content": "It rains."},
      {"role": "user", "content": "Thanks"}])"},
    {"parallel tool calls", R"([{"role": "user", "content": "Weather in two?"},
      {"role": "assistant", "content": "Let me see.", "reasoning_content": "Two calls.", "tool_calls": [
        {"id": "aaaaaaaa1", "type": "function", "function": {"name": "get_weather", "arguments": {"location": "Bern"}}},
        {"id": "aaaaaaaa2", "type": "function", "function": {"name": "ns.search", "arguments": {}}}]},
      {"role": "tool", "tool_call_id": "aaaaaaaa1", "name": "get_weather", "content": "rain"},
      {"role": "tool", "tool_call_id": "aaaaaaaa2", "name": "ns.search", "content": "nothing"},
      {"role": "assistant", "content": "Rain, and nothing."}, {"role": "user", "content": "And now?"}])"},
    {"content parts", R"([{"role": "system", "content": [{"type": "text", "text": "Sys"}]},
      {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]},
      {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}, {"role": "user", "content": "Sure?"}])"},
    {"roles out of order", R"([{"role": "assistant", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}])"},
    {"developer and odd roles", R"([{"role": "developer", "content": "Dev"}, {"role": "user", "content": "U"}, {"role": "critic", "content": "X"}])"},
    {"empty", R"([])"},
    {"empty contents", R"([{"role": "system", "content": ""}, {"role": "user", "content": ""}])"},
    {"missing content", R"([{"role": "user"}, {"role": "assistant", "tool_calls": []}])"},
};

const char* const kExtras[] = {
    R"({})",
    R"({"enable_thinking": true, "thinking": true, "reasoning_effort": "high", "date_string": "26 Jul 2024", "user_system_prompt": "X"})",
    R"({"enable_thinking": false, "thinking": false, "reasoning_effort": "none", "keep_past_thinking": true, "tools_in_user_message": false,
        "documents": [{"title": "T", "text": "body <doc>", "author": "A", "doc_id": 3}], "knobs": {"citation_mode": "fast", "response_format": "json_object"},
        "custom_tools": null, "builtin_tools": ["code_interpreter", "brave_search"], "controls": {"length": "short"}, "thinking_budget": 512})",
};

TEST(ChatTemplate, EverySharedTemplateRendersLikeJinja2) {
  const auto paths = shared_templates();
  if (paths.empty()) GTEST_SKIP() << "no templates in " << SLUICE_SHARED_DIR << "/data/templates";
  std::vector<OracleCase> cases;
  for (const auto& path : paths) {
    const std::string source = read_file(path);
    for (const Conversation& conversation : kConversations) {
      for (const char* extra : kExtras) {
        for (const int variant : {0, 1, 2, 3, 4}) {  // bit 0: tools; bit 1: generation prompt; 4: neither variable exists
          if (extra != kExtras[0] && variant != 3) continue;
          Json context = Json::parse(extra);
          context["messages"] = Json::parse(conversation.messages);
          context["bos_token"] = "<s>";
          context["eos_token"] = "</s>";
          if (variant < 4) {
            context["tools"] = (variant & 1) != 0 ? Json::parse(kTools) : Json();
            context["add_generation_prompt"] = (variant & 2) != 0;
          }
          cases.push_back({path.stem().string() + ", " + conversation.name + ", " + context.dump().substr(0, 60) + " variant " + std::to_string(variant),
                           source, std::move(context)});
        }
      }
    }
  }
  expect_as_oracle(cases);
}

}  // namespace
}  // namespace sluice::text
