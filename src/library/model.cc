// Opening a model for the public header. Next: conversation.cc.
#include <fmt/format.h>

#include "base/limits.h"
#include "library/amounts.h"
#include "library/model_impl.h"
#include "program/package.h"

#ifndef SLUICE_VERSION
#error "SLUICE_VERSION comes from the build"
#endif

namespace sluice {
namespace {

constexpr uint64_t kLogitRows = 16;  // of a step at least: drafted tokens want them too
constexpr uint32_t kRunningMax = 64;

Result<uint64_t> bytes_of(const char* name, const std::string& text) {
  Result<uint64_t> bytes = library::parse_bytes(text);
  if (!bytes.ok()) return Error{fmt::format("{} {}", name, bytes.error().message)};
  return bytes;
}

Result<library::ModelOptions> model_options(const OpenOptions& options) {
  library::ModelOptions out;
  out.path = options.path;
  out.context = options.context;
  out.memory = options.memory;
  out.threads = options.threads;
  out.isa = options.isa;
  out.kv = options.kv;
  out.users = options.running;
  out.progress = options.progress;
  if (options.running == 0 || options.running > kRunningMax) return Error{fmt::format("running {}: must be 1 to {}", options.running, kRunningMax)};
  SLUICE_TRY(out, library::with_users_that_fit(out));
  out.logit_rows = std::max(out.users, kLogitRows);
  return out;
}

// What is left under the cap for kept states, at most what was asked for.
Result<uint64_t> kept_bytes(const OpenOptions& options, uint64_t needed) {
  SLUICE_TRY(const uint64_t wanted, bytes_of("kept:", options.kept));
  if (options.memory.empty()) return wanted;
  SLUICE_TRY(const uint64_t cap, bytes_of("memory:", options.memory));
  if (needed > cap) {
    return Error{fmt::format("memory {}: the model and its conversations need {} ({} bytes)", options.memory, library::bytes_text(needed), needed)};
  }
  return std::min(wanted, cap - needed);
}

Result<std::optional<text::ChatTemplate>> parse_template(const text::Tokenizer& tokenizer) {
  for (const auto& chat : tokenizer.spec().chat_templates) {
    if (chat.name != "default") continue;
    SLUICE_TRY(text::ChatTemplate parsed, text::ChatTemplate::parse(chat.text));
    return std::optional<text::ChatTemplate>(std::move(parsed));
  }
  return std::optional<text::ChatTemplate>();
}

}  // namespace

Expected<Model> Model::open(const OpenOptions& options) {
  const auto opened = [&]() -> Result<std::shared_ptr<Impl>> {
    SLUICE_TRY(const library::ModelOptions wanted, model_options(options));
    auto impl = std::make_shared<Impl>();
    SLUICE_TRY(impl->loaded, library::load(wanted));
    if (!impl->loaded.tokenizer.ok()) return impl->loaded.tokenizer.error();
    SLUICE_TRY(impl->chat_template, parse_template(impl->tokenizer()));
    engine::EngineOptions engine{.context = impl->loaded.context, .sequences_max = static_cast<uint32_t>(wanted.users)};
    engine.speculation = true;
    engine.program = program::kPackageVersion;
    engine.disk_folder = options.state_folder;
    SLUICE_TRY(engine.disk_bytes, bytes_of("state_disk:", options.state_disk));
    const uint64_t needed = impl->loaded.plan.weights + impl->loaded.plan.activations + engine::Engine::bytes(*impl->loaded.runtime, engine);
    SLUICE_TRY(engine.store_bytes, kept_bytes(options, needed));
    impl->memory_bytes = needed + engine.store_bytes;
    SLUICE_TRY(impl->engine, engine::Engine::create(*impl->loaded.runtime, impl->tokenizer(), impl->loaded.fingerprint, engine));
    return impl;
  };
  Result<std::shared_ptr<Impl>> impl = opened();
  if (!impl.ok()) return failure(impl.error());
  return Model(std::move(*impl));
}

Model::Model(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const std::string& Model::name() const { return impl_->loaded.name; }
uint64_t Model::context() const { return impl_->loaded.context; }
uint64_t Model::memory_bytes() const { return impl_->memory_bytes; }
bool Model::has_chat_template() const { return impl_->chat_template.has_value(); }

Expected<std::vector<int32_t>> Model::encode(std::string_view text) const {
  Result<std::vector<int32_t>> ids = impl_->tokenizer().encode(text, {});
  if (!ids.ok()) return failure(ids.error());
  return std::move(*ids);
}

Expected<std::string> Model::decode(std::span<const int32_t> tokens) const {
  Result<std::string> text = impl_->tokenizer().decode(tokens, true);
  if (!text.ok()) return failure(text.error());
  return std::move(*text);
}

Result<std::shared_ptr<const text::Constraint>> Model::Impl::compile(const Constraint& wanted) {
  const int given = !wanted.json_schema.empty() + !wanted.regex.empty() + !wanted.grammar.empty() + !wanted.choices.empty();
  if (given == 0) return std::shared_ptr<const text::Constraint>();
  if (given > 1) return Error{fmt::format("{} constraints: at most one of json_schema, regex, grammar and choices", given)};
  text::ConstraintSpec spec;
  spec.choices = wanted.choices;
  spec.kind = text::ConstraintKind::kChoice;
  for (const auto& [kind, source] : {std::pair(text::ConstraintKind::kJsonSchema, &wanted.json_schema), std::pair(text::ConstraintKind::kRegex, &wanted.regex),
                                     std::pair(text::ConstraintKind::kGrammar, &wanted.grammar)}) {
    if (source->empty()) continue;
    spec.kind = kind;
    spec.text = *source;
  }
  const std::lock_guard lock(vocabulary_mutex);
  if (!vocabulary) {
    SLUICE_TRY(vocabulary, text::ConstraintVocabulary::of(tokenizer(), tokenizer().vocabulary_size()));
  }
  return text::Constraint::compile(spec, vocabulary, {});
}

const char* version() { return SLUICE_VERSION; }

}  // namespace sluice
