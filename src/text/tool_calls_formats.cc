// The table of formats, and which of them a chat template uses. Contract: text/tool_calls.h. Sources: the chat templates named beside each
// row. Next: text/tool_calls_grammar.cc.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"
#include "text/tool_calls.h"

namespace sluice::text {
namespace {

using enum ToolStyle;
using nlohmann::ordered_json;

constexpr std::string_view kName = "{\"name\": \"", kArguments = "\", \"arguments\": ";

constexpr ToolFormat kFormats[] = {
    // Jamba Mini 1.7
    {"jamba", kJson, "<tool_calls>[\n    ", kName, kArguments, "}", ",\n    ", "\n]</tool_calls>"},
    // Apriel 1.5 and 1.6
    {"apriel", kJson, "<tool_calls>[", kName, kArguments, "}", ", ", "]</tool_calls>"},
    // MiniMax M1
    {"minimax-m1", kJson, "<tool_calls>\n", kName, kArguments, "}\n", "", "</tool_calls>"},
    // Qwen 2.5, QwQ, Qwen 3, Hermes 2 Pro, Granite 4.0, MiMo VL, Bielik 3
    {"hermes", kJson, "", "<tool_call>\n{\"name\": \"", kArguments, "}\n</tool_call>", "\n", ""},
    // Llama 3.1, 3.2 and 3.3: the whole answer is one call
    {"llama3", kJson, "", kName, "\", \"parameters\": ", "}", "", "", false},
    // Mistral Nemo
    {"mistral-nemo", kJson, "[TOOL_CALLS][", kName, kArguments, ", \"id\": \"@\"}", ", ", "]"},
    // Mistral Small 3.2
    {"mistral-small", kJson, "", "[TOOL_CALLS]", "[CALL_ID]@[ARGS]", "", "", ""},
    // DeepSeek V3.1
    {"deepseek-v3.1", kJson, "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "",
     "<｜tool▁calls▁end｜>"},
    // DeepSeek R1 and its distillations
    {"deepseek-r1", kJson, "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n",
     "\n```<｜tool▁call▁end｜>", "\n", "<｜tool▁calls▁end｜>"},
    // Kimi K2
    {"kimi-k2", kJson, "<|tool_calls_section_begin|>", "<|tool_call_begin|>functions.", ":#<|tool_call_argument_begin|>", "<|tool_call_end|>",
     "", "<|tool_calls_section_end|>"},
    // Granite 3.3
    {"granite-3.3", kJson, "<|tool_call|>[", kName, kArguments, "}", ", ", "]"},
    // Nemotron Nano 2
    {"nemotron", kJson, "<TOOLCALL>[", kName, kArguments, "}", ", ", "]</TOOLCALL>"},
    // Command R+
    {"command-r-plus", kJson, "Action:\n```json\n[\n", "    {\n        \"tool_name\": \"", "\",\n        \"parameters\": ", "\n    }", ",\n",
     "\n]```", true, JsonSpace::kFlexible},
    // Cohere's later models
    {"cohere2", kJson, "<|START_ACTION|>[\n    ", "{\"tool_call_id\": \"#\", \"tool_name\": \"", "\", \"parameters\": ", "}", ",\n    ",
     "\n]<|END_ACTION|>"},
    // GigaChat 3: the answer ends, and a function call is the next message
    {"gigachat3", kJson, "", "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"", kArguments, "}", "", "", false},
    // GigaChat 3.1
    {"gigachat3.1", kJson, "", "<|function_call|>{\"name\": \"", kArguments, "}", "", "", false},
    // Solar Open
    {.name = "solar", .style = kJson, .section_begin = "<|tool_calls|>", .call_begin = "<|tool_call:begin|>*<|tool_call:name|>",
     .before_arguments = "<|tool_call:args|>", .call_end = "<|tool_call:end|>", .separator = "", .section_end = "<|calls|>",
     .end_optional = true, .free_tokens = "<|begin|> <|think|> <|end|> <|content|>"},
    // Qwen 3 Coder
    {.name = "qwen3-coder", .style = kXml, .section_begin = "", .call_begin = "<tool_call>\n<function=", .before_arguments = ">\n",
     .call_end = "</function>\n</tool_call>", .separator = "\n", .section_end = "", .space = JsonSpace::kPython,
     .param_begin = "<parameter=", .param_value = ">\n", .param_end = "\n</parameter>", .param_gap = "\n"},
    // Seed OSS
    {.name = "seed-oss", .style = kXml, .section_begin = "", .call_begin = "<seed:tool_call>\n<function=", .before_arguments = ">\n",
     .call_end = "</function>\n</seed:tool_call>", .separator = "\n", .section_end = "", .space = JsonSpace::kPython,
     .param_begin = "<parameter=", .param_value = ">", .param_end = "</parameter>", .param_gap = "\n"},
    // GLM 4.6
    {.name = "glm-4.6", .style = kXml, .section_begin = "", .call_begin = "<tool_call>", .before_arguments = "\n",
     .call_end = "</tool_call>", .separator = "\n", .section_end = "",
     .param_begin = "<arg_key>", .param_value = "</arg_key>\n<arg_value>", .param_end = "</arg_value>", .param_gap = "\n"},
    // MiniMax M2
    {.name = "minimax-m2", .style = kXml, .section_begin = "<minimax:tool_call>\n", .call_begin = "<invoke name=\"",
     .before_arguments = "\">\n", .call_end = "</invoke>\n", .separator = "", .section_end = "</minimax:tool_call>",
     .param_begin = "<parameter name=\"", .param_value = "\">", .param_end = "</parameter>", .param_gap = "\n"},
    // DeepSeek V3.2
    {.name = "deepseek-v3.2", .style = kXml, .section_begin = "<｜DSML｜function_calls>\n", .call_begin = "<｜DSML｜invoke name=\"",
     .before_arguments = "\">\n", .call_end = "</｜DSML｜invoke>\n", .separator = "", .section_end = "</｜DSML｜function_calls>",
     .param_begin = "<｜DSML｜parameter name=\"", .param_value = "\" string=\"true\">", .param_end = "</｜DSML｜parameter>",
     .param_gap = "\n", .param_value_other = "\" string=\"false\">"},
    // MiniCPM 5
    {.name = "minicpm5", .style = kXml, .section_begin = "", .call_begin = "<function name=\"", .before_arguments = "\">",
     .call_end = "</function>", .separator = "\n", .section_end = "", .space = JsonSpace::kPython,
     .param_begin = "<param name=\"", .param_value = "\">", .param_end = "</param>", .cdata = true},
    // Muse Glimmer: every call is a message of its own to the tool
    {.name = "muse", .style = kXml, .section_begin = "", .call_begin = " to=%<|message|><atem:function_calls>\n<atem:invoke name=\"",
     .before_arguments = "\">\n", .call_end = "</atem:invoke>\n</atem:function_calls>", .separator = "<|eom|><|start|>assistant",
     .section_end = "", .param_begin = "<atem:parameter name=\"", .param_value = "\">", .param_end = "</atem:parameter>",
     .param_gap = "\n", .named_begin = true, .free_tokens = "<|message|> <|eom|> <|start|>"},
    // LFM2 and LFM2.5
    {.name = "lfm2", .style = kPython, .section_begin = "<|tool_call_start|>[", .call_begin = "", .before_arguments = "(", .call_end = ")",
     .separator = ", ", .section_end = "]<|tool_call_end|>", .space = JsonSpace::kPython, .param_value = "=", .param_end = ", "},
    // Llama 3.2 and Llama 4 as their model cards describe calls; no template of ours writes it
    {.name = "pythonic", .style = kPython, .section_begin = "[", .call_begin = "", .before_arguments = "(", .call_end = ")",
     .separator = ", ", .section_end = "]", .space = JsonSpace::kPython, .param_value = "=", .param_end = ", ", .named_begin = true},
};

// What a template is asked to write: two tools, called once each.
const std::vector<Tool>& probe_tools() {
  static const std::vector<Tool> tools = {
      {"probe_one", R"({"type":"object","properties":{"text":{"type":"string","description":"t"},"count":{"type":"integer","description":"c"}},)"
                    R"("required":["text"]})"},
      {"probe_two", R"({"type":"object","properties":{"flag":{"type":"boolean","description":"f"}}})"}};
  return tools;
}

ordered_json probe_calls(size_t calls, bool as_string) {
  const ordered_json arguments[] = {{{"text", "a b"}, {"count", 3}}, {{"flag", true}}};
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < calls; ++i) {
    const ordered_json given = as_string ? ordered_json(arguments[i].dump()) : arguments[i];
    out.push_back({{"id", i == 0 ? "probe0001" : "probe0002"},
                   {"type", "function"},
                   {"function", {{"name", probe_tools()[i].name}, {"arguments", given}}}});
  }
  return out;
}

// What the template writes behind the user's message, or nothing if it does not render this.
std::string written(const ChatTemplate& chat, bool with_tools, const ordered_json& content, const ordered_json& calls) {
  ordered_json context = {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}, {"add_generation_prompt", false}, {"bos_token", ""},
                          {"eos_token", ""}};
  if (with_tools) {
    for (const Tool& tool : probe_tools()) {
      context["tools"].push_back(
          {{"type", "function"},
           {"function", {{"name", tool.name}, {"description", "d"}, {"parameters", ordered_json::parse(tool.parameters)}}}});
    }
  }
  RenderOptions options;
  options.now = DateTime{2026, 1, 2};
  const auto before = chat.render(context, options);
  context["messages"].push_back({{"role", "assistant"}, {"content", content}, {"tool_calls", calls}});
  const auto after = chat.render(context, options);
  if (!before.ok() || !after.ok()) return "";
  const size_t same = static_cast<size_t>(std::mismatch(before->begin(), before->end(), after->begin(), after->end()).first - before->begin());
  return after->substr(same);
}

bool reads_back(const ToolFormat& format, const std::string& text, size_t calls) {
  ToolCallParser parser(format, probe_tools());
  std::vector<ToolEvent> events = parser.feed(text);
  const std::vector<ToolEvent> last = parser.finish();
  events.insert(events.end(), last.begin(), last.end());
  std::vector<std::string> names, arguments;
  for (const ToolEvent& event : events) {
    if (event.kind == ToolEvent::Kind::kBroken) return false;
    if (event.kind == ToolEvent::Kind::kCallBegin) {
      names.push_back(event.text);
      arguments.emplace_back();
    }
    if (event.kind == ToolEvent::Kind::kArguments) arguments.back() += event.text;
  }
  if (names.size() != calls) return false;
  const ordered_json wanted = probe_calls(calls, false);
  for (size_t i = 0; i < calls; ++i) {
    const auto& function = wanted[i]["function"];
    if (names[i] != function["name"] || ordered_json::parse(arguments[i], nullptr, false) != function["arguments"]) return false;
  }
  return true;
}

const ToolFormat* detect_by_rendering(const ChatTemplate& chat) {
  for (const size_t calls : {2u, 1u}) {
    for (const bool with_tools : {true, false}) {
      for (const ordered_json& content : {ordered_json(""), ordered_json()}) {
        for (const bool as_string : {false, true}) {
          const std::string text = written(chat, with_tools, content, probe_calls(calls, as_string));
          if (text.empty()) continue;
          for (const ToolFormat& format : kFormats) {
            if (reads_back(format, text, calls)) return &format;
          }
        }
      }
    }
  }
  return nullptr;
}

}  // namespace

std::span<const ToolFormat> tool_formats() { return kFormats; }

const ToolFormat* find_tool_format(std::string_view name) {
  const auto it = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const ToolFormat& f) { return f.name == name; });
  return it == std::end(kFormats) ? nullptr : it;
}

const ToolFormat* detect_tool_format(std::string_view chat_template) {
  const auto chat = ChatTemplate::parse(chat_template);
  const ToolFormat* found = chat.ok() ? detect_by_rendering(*chat) : nullptr;
  if (found != nullptr) return found;
  // These describe calls to the model, or its tools, and do not write calls of earlier turns.
  const auto has = [&](std::string_view mark) { return chat_template.find(mark) != std::string_view::npos; };
  if (has("<|tool_call|> followed by a JSON list")) return find_tool_format("granite-3.3");
  if (has("<|tool_list_start|>")) return find_tool_format("lfm2");
  return nullptr;
}

std::string tool_call_id(const ToolFormat& format, std::string_view tool, uint32_t call, uint64_t random) {
  if (format.name == "kimi-k2") return "functions." + std::string(tool) + ":" + std::to_string(call);
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id;  // nine letters or digits: Mistral's templates take nothing else
  random += call;
  for (int i = 0; i < 9; ++i, random /= kDigits.size()) id += kDigits[random % kDigits.size()];
  return id;
}

}  // namespace sluice::text
