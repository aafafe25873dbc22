// Any bytes as the body of chat/completions: it becomes a request within all limits, or a refusal with a sentence that is valid UTF-8.
#include <string_view>

#include "base/check.h"
#include "server/chat_fields.h"
#include "server/limits.h"
#include "server/open_gate.h"
#include "text/utf8.h"

using namespace sluice;
using namespace sluice::server;

namespace {

class NoBackend final : public Backend {
 public:
  engine::Submitted submit(engine::Request, std::shared_ptr<engine::ResponseSink>) override { return {}; }
  void cancel(engine::RequestId) override {}
  void drain() override {}
  engine::EngineStatistics statistics() const override { return {}; }
  const engine::EngineOptions& options() const override { return options_; }
  void with_store(const std::function<void(engine::StateStore&)>&) override {}
  void forget(uint32_t, std::span<const int32_t>) override {}

 private:
  engine::EngineOptions options_{.context = 4096};
};

text::Tokenizer bytes_as_tokens() {
  text::TokenizerSpec spec;
  for (int i = 0; i < 256; ++i) {
    spec.tokens.emplace_back(1, static_cast<char>(i));
    spec.types.push_back(text::TokenType::kNormal);
  }
  spec.chat_templates.push_back({"default", "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"});
  auto tokenizer = text::Tokenizer::create(std::move(spec));
  SLUICE_CHECK(tokenizer.ok());
  return std::move(*tokenizer);
}

struct Model {
  text::Tokenizer tokenizer = bytes_as_tokens();
  NoBackend backend;
  OpenGate gate;
  std::unique_ptr<Api> api;
  Model() {
    auto made = Api::create(backend, gate, tokenizer, {.id = "m", .aliases = {"*"}});
    SLUICE_CHECK(made.ok());
    api = std::move(*made);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Model model;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  Json json;
  ChatRequest request;
  AnswerPlan plan;
  Refused refused = parse_request_object(body, json);
  if (!refused) refused = read_chat(*model.api, json, request);
  if (!refused) refused = plan_chat(*model.api, request, size, plan);
  if (refused) {
    SLUICE_CHECK(refused->status >= 400 && refused->status < 500 && !refused->message.empty() && text::is_valid_utf8(refused->message));
    return 0;
  }
  const engine::Request& r = request.generation.request;
  SLUICE_CHECK(!r.prompt.empty() && r.prompt.size() + r.max_tokens <= 4096 && r.choices >= 1 && r.choices <= server::limits::kChoicesMax);
  SLUICE_CHECK(r.stop.strings.size() <= server::limits::kStopStringsMax && r.top_logprobs <= static_cast<int32_t>(server::limits::kTopLogprobsMax));
  return 0;
}
