// JSON Schemas of OpenAI's request bodies, for /openapi.json. They say no more than the readers enforce; docs/server.md has the whole table.
#pragma once

#include <string_view>

namespace sluice::server {

inline constexpr std::string_view kChatSchema = R"({"type":"object","required":["messages"],"properties":{
"model":{"type":"string"},
"messages":{"type":"array","minItems":1,"maxItems":4096,"items":{"type":"object","required":["role"],"properties":{
 "role":{"enum":["system","developer","user","assistant","tool"]},"content":{"type":["string","array","null"]},"name":{"type":"string","maxLength":256},
 "tool_calls":{"type":"array"},"tool_call_id":{"type":"string"},"reasoning":{"type":"string"},"reasoning_content":{"type":"string"}}}},
"max_tokens":{"type":"integer","minimum":1},"max_completion_tokens":{"type":"integer","minimum":1},
"temperature":{"type":"number","minimum":0,"maximum":2},"top_p":{"type":"number","minimum":0,"maximum":1},"top_k":{"type":"integer","minimum":-1},
"min_p":{"type":"number","minimum":0,"maximum":1},"typical_p":{"type":"number","minimum":0,"maximum":1},"seed":{"type":"integer"},
"presence_penalty":{"type":"number","minimum":-2,"maximum":2},"frequency_penalty":{"type":"number","minimum":-2,"maximum":2},
"repetition_penalty":{"type":"number","minimum":0.01,"maximum":100},"logit_bias":{"type":"object"},
"n":{"type":"integer","minimum":1,"maximum":16},"stop":{"type":["string","array"],"maxItems":4},
"logprobs":{"type":"boolean"},"top_logprobs":{"type":"integer","minimum":0,"maximum":20},
"stream":{"type":"boolean"},"stream_options":{"type":"object","properties":{"include_usage":{"type":"boolean"}}},
"tools":{"type":"array","maxItems":128,"items":{"type":"object","required":["type","function"]}},"tool_choice":{"type":["string","object"]},
"parallel_tool_calls":{"type":"boolean"},"allowed_tools":{"type":"array"},
"response_format":{"type":"object","required":["type"]},"structured_outputs":{"type":"object"},"grammar":{"type":"string"},
"reasoning_effort":{"enum":["none","default","minimal","low","medium","high"]},"reasoning_format":{"enum":["parsed","raw","hidden"]},
"include_reasoning":{"type":"boolean"},"conversation":{"type":"string","maxLength":64},
"documents":{"type":"array","maxItems":256},"chat_template_kwargs":{"type":"object"},
"service_tier":{"enum":["auto","on_demand","flex","performance","default","priority"]},"user":{"type":"string"},"metadata":{"type":"object"}},
"additionalProperties":false})";

inline constexpr std::string_view kCompletionSchema = R"({"type":"object","required":["prompt"],"properties":{
"model":{"type":"string"},"prompt":{"type":["string","array"]},"max_tokens":{"type":"integer","minimum":0},
"temperature":{"type":"number","minimum":0,"maximum":2},"top_p":{"type":"number","minimum":0,"maximum":1},"top_k":{"type":"integer","minimum":-1},
"min_p":{"type":"number","minimum":0,"maximum":1},"seed":{"type":"integer"},"n":{"type":"integer","minimum":1,"maximum":16},"echo":{"type":"boolean"},
"logprobs":{"type":"integer","minimum":0,"maximum":20},"stop":{"type":["string","array"],"maxItems":4},"stream":{"type":"boolean"},
"stream_options":{"type":"object"},"presence_penalty":{"type":"number","minimum":-2,"maximum":2},
"frequency_penalty":{"type":"number","minimum":-2,"maximum":2},"logit_bias":{"type":"object"},"user":{"type":"string"}},
"additionalProperties":false})";

inline constexpr std::string_view kEmbeddingsSchema = R"({"type":"object","required":["input"],"properties":{
"model":{"type":"string"},"input":{"type":["string","array"]},"encoding_format":{"enum":["float","base64"]},
"dimensions":{"type":"integer","minimum":1},"user":{"type":"string"}},"additionalProperties":false})";

inline constexpr std::string_view kTokenizeSchema = R"({"type":"object","properties":{
"model":{"type":"string"},"content":{"type":"string"},"prompt":{"type":"string"},"messages":{"type":"array"},
"add_special_tokens":{"type":"boolean"},"parse_special":{"type":"boolean"}},"additionalProperties":false})";

inline constexpr std::string_view kDetokenizeSchema = R"({"type":"object","required":["tokens"],"properties":{
"model":{"type":"string"},"tokens":{"type":"array","items":{"type":"integer","minimum":0}}},"additionalProperties":false})";

}  // namespace sluice::server
