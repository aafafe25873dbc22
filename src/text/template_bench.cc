// How long a conversation takes to render: 100 messages through a template of the common shape (roles, system, thinking, tools).
#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "text/chat_template.h"

namespace sluice::text {
namespace {

constexpr const char* kTemplate = R"({%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == "user" and message.content is string %}{%- set ns.last = index %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\n' + (reasoning if loop.index0 > ns.last else '') + content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})";

nlohmann::ordered_json conversation(int64_t messages) {
  nlohmann::ordered_json context = {{"messages", nlohmann::ordered_json::array()}, {"add_generation_prompt", true}};
  for (int64_t i = 0; i < messages; ++i) {
    const std::string content = i % 2 == 0 ? std::string(500, 'q') : "<think>\n" + std::string(500, 't') + "\n</think>\n\n" + std::string(500, 'a');
    context["messages"].push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", content}});
  }
  return context;
}

void parse_template(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(ChatTemplate::parse(kTemplate));
}
BENCHMARK(parse_template)->Unit(benchmark::kMicrosecond);

void render_conversation(benchmark::State& state) {
  const auto parsed = ChatTemplate::parse(kTemplate);
  SLUICE_CHECK(parsed.ok());
  const auto context = conversation(state.range(0));
  for (auto _ : state) {
    const auto rendered = parsed.value().render_parts(context, RenderOptions());
    SLUICE_CHECK(rendered.ok());
  }
}
BENCHMARK(render_conversation)->Arg(2)->Arg(100)->Arg(1000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::text
