// ChatTemplate: parsing and rendering behind the public header (chat_template.h). Contract: no exception leaves, no state outlives a call.
// Next: template_eval.h.
#include "text/chat_template.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "text/template_eval.h"
#include "text/template_parser.h"

namespace sluice::text {

struct ChatTemplate::Program {
  std::unique_ptr<jinja::Ast> ast;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  SLUICE_TRY(std::unique_ptr<jinja::Ast> ast, jinja::parse_template(source));
  return ChatTemplate(std::make_unique<const Program>(Program{std::move(ast)}));
}

Result<Rendered> ChatTemplate::render_parts(const nlohmann::ordered_json& context, const RenderOptions& options) const {
  if (!context.is_object()) return Error{std::string("the context must be a JSON object, not ") + context.type_name()};
  jinja::Evaluator evaluator(*program_->ast, context, options);
  jinja::Builder out(evaluator.heap());
  if (!evaluator.run(out)) return Error{evaluator.error()};
  Rendered rendered{out.bytes(), {}};
  rendered.spans.reserve(out.runs().size());
  size_t begin = 0;
  for (const jinja::Run& run : out.runs()) {
    rendered.spans.push_back({begin, run.end, run.input ? Origin::from_input : Origin::from_template});
    begin = run.end;
  }
  return rendered;
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context, const RenderOptions& options) const {
  SLUICE_TRY(Rendered rendered, render_parts(context, options));
  return std::move(rendered.text);
}

}  // namespace sluice::text
