#include "library/loading.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/limits.h"
#include "library/amounts.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "program/package.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"

extern "C" {
extern const std::byte sluice_embedded_model_begin[];
extern const std::byte sluice_embedded_model_end[];
}

namespace sluice::library {

namespace fs = std::filesystem;
using weights::Checkpoint;

namespace {

constexpr uint64_t kTokenizerFileBytesMax = 256ull << 20;

Result<std::string> read_if_there(const fs::path& path, uint64_t bytes_max) {
  if (path.empty()) return std::string();
  return platform::read_whole_file(path, bytes_max);
}

text::GgufTokenizerFields gguf_fields(const weights::GgufTokenizer& t, const nlohmann::json& config) {
  text::GgufTokenizerFields fields;
  fields.model = t.model;
  fields.pre = t.pre;
  fields.tokens.assign(t.tokens.begin(), t.tokens.end());
  fields.scores = t.scores;
  fields.token_type = t.types;
  fields.merges.assign(t.merges.begin(), t.merges.end());
  fields.precompiled_charsmap.assign(reinterpret_cast<const char*>(t.precompiled_charsmap.data()), t.precompiled_charsmap.size());
  const auto id = [&](const char* key, std::optional<int64_t>& out) {
    const auto found = config.find(fmt::format("tokenizer.ggml.{}", key));
    if (found != config.end() && found->is_number_integer()) out = found->get<int64_t>();
  };
  const auto flag = [&](const char* key, std::optional<bool>& out) {
    const auto found = config.find(fmt::format("tokenizer.ggml.{}", key));
    if (found != config.end() && found->is_boolean()) out = found->get<bool>();
  };
  id("bos_token_id", fields.bos_token_id);
  id("eos_token_id", fields.eos_token_id);
  id("eot_token_id", fields.eot_token_id);
  id("eom_token_id", fields.eom_token_id);
  id("unknown_token_id", fields.unknown_token_id);
  id("padding_token_id", fields.padding_token_id);
  flag("add_bos_token", fields.add_bos_token);
  flag("add_eos_token", fields.add_eos_token);
  flag("add_space_prefix", fields.add_space_prefix);
  flag("remove_extra_whitespaces", fields.remove_extra_whitespaces);
  if (!t.chat_template.empty()) fields.chat_templates.push_back({"default", std::string(t.chat_template)});
  return fields;
}

Result<text::TokenizerSpec> tokenizer_of_folder(const weights::ModelFiles& files) {
  SLUICE_TRY(const std::string config, read_if_there(files.tokenizer_config, limits::kTemplateBytesMax * 16));
  SLUICE_TRY(const std::string chat, read_if_there(files.chat_template, limits::kTemplateBytesMax));
  if (!files.tokenizer.empty()) {
    SLUICE_TRY(const std::string json, platform::read_whole_file(files.tokenizer, kTokenizerFileBytesMax));
    return text::spec_from_tokenizer_json({json, config, chat});
  }
  if (!files.tokenizer_model.empty()) {
    SLUICE_TRY(const std::string model, platform::read_whole_file(files.tokenizer_model, kTokenizerFileBytesMax));
    SLUICE_TRY(text::TokenizerSpec spec, text::spec_from_sentencepiece(model));
    SLUICE_TRY_VOID(text::apply_tokenizer_config(config, chat, spec));
    return spec;
  }
  return Error{"the folder has neither tokenizer.json nor tokenizer.model"};
}

// What the package stores: the tokenizer, or nothing where there is none (a model can still be run on token ids).
std::string serialized_tokenizer(const Checkpoint& checkpoint) {
  const Result<text::TokenizerSpec> spec = tokenizer_of(checkpoint);
  return spec.ok() ? text::serialize(*spec) : std::string();
}

Result<compiler::Model> compile(const Checkpoint& checkpoint, const ModelOptions& options, const fs::path& cached) {
  const compiler::CompileOptions compile{.observers = options.observers, .progress = options.progress};
  const std::string tokenizer = serialized_tokenizer(checkpoint);
  if (cached.empty()) return compiler::compile_in_memory(checkpoint, tokenizer, compile);
  SLUICE_TRY_VOID(compiler::compile_to_file(checkpoint, tokenizer, cached, compile));
  return compiler::open_package(cached);
}

void tell(const ModelOptions& options, const std::string& what) {
  if (options.note) options.note(what);
}

// Where this checkpoint's package lies, or empty when it is not to be cached.
fs::path cached_package(const Checkpoint& checkpoint, const ModelOptions& options) {
  if (options.path.empty() || options.no_cache || options.observers) return {};
  const fs::path folder = cache_folder();
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    tell(options, fmt::format("{}: {}; the model is compiled again at every start (XDG_CACHE_HOME chooses another folder)", folder.string(), error.message()));
    return {};
  }
  return folder / fmt::format("{:016x}-v{}.sluice", checkpoint.fingerprint(), program::kPackageVersion);
}

// Rows of logits that a step of `rows` rows may ask for.
uint64_t logit_rows(const ModelOptions& options, uint64_t rows) {
  return std::min(rows, options.all_logits ? 64 : std::max({options.logit_rows, options.users, uint64_t{1}}));
}

}  // namespace

std::span<const std::byte> embedded_model() {
  return {sluice_embedded_model_begin, static_cast<size_t>(sluice_embedded_model_end - sluice_embedded_model_begin)};
}

bool names_package(const std::string& path) {
  if (path.empty()) return false;
  const Result<platform::MappedFile> file = platform::MappedFile::open(path);
  return file.ok() && program::is_package(file->bytes());
}

fs::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') return fs::path(cache) / "sluice";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return fs::path(home) / ".cache" / "sluice";
  return fs::temp_directory_path() / "sluice-cache";
}

Result<Isa> choose_isa(const std::string& name) {
  if (name.empty()) return platform::best_isa();
  const std::optional<Isa> isa = isa_from_name(name);
  if (!isa) return Error{fmt::format("isa {}: unknown; one of baseline, avx2, avx512", name)};
  if (!platform::supports(*isa)) return Error{fmt::format("isa {}: not supported by this CPU ({})", name, platform::cpu().brand)};
  return *isa;
}

Result<kernels::KvType> kv_type_from_name(const std::string& name) {
  if (name == "f32") return kernels::KvType::kF32;
  if (name == "f16") return kernels::KvType::kF16;
  if (name == "q8") return kernels::KvType::kQ8;
  if (name == "q4") return kernels::KvType::kQ4;
  return Error{fmt::format("kv {}: unknown; one of f32, f16, q8, q4", name)};
}

Result<Checkpoint> open_checkpoint(const std::string& path) {
  if (path.empty()) return Checkpoint::from_memory(embedded_model(), "embedded model");
  return Checkpoint::open(path);
}

Result<text::TokenizerSpec> tokenizer_of(const Checkpoint& checkpoint) {
  if (checkpoint.format() == weights::Format::kHuggingFace) return tokenizer_of_folder(checkpoint.files());
  SLUICE_TRY(const weights::GgufTokenizer tokenizer, checkpoint.gguf_tokenizer());
  return text::spec_from_gguf(gguf_fields(tokenizer, checkpoint.config()));
}

Result<text::Tokenizer> open_tokenizer(const std::string& path) {
  if (path.ends_with(".json") && !path.ends_with("config.json")) {
    fs::path config = path;
    config.replace_filename(config.stem().string() + "_config.json");  // tokenizer_config.json, with the prefix that the file has
    SLUICE_TRY(const std::string json, platform::read_whole_file(path, kTokenizerFileBytesMax));
    SLUICE_TRY(const std::string beside, read_if_there(fs::exists(config) ? config : fs::path(), limits::kTemplateBytesMax * 16));
    SLUICE_TRY(text::TokenizerSpec spec, text::spec_from_tokenizer_json({json, beside, ""}));
    return text::Tokenizer::create(std::move(spec));
  }
  if (path.ends_with(".model")) {
    SLUICE_TRY(const std::string model, platform::read_whole_file(path, kTokenizerFileBytesMax));
    SLUICE_TRY(text::TokenizerSpec spec, text::spec_from_sentencepiece(model));
    return text::Tokenizer::create(std::move(spec));
  }
  if (names_package(path)) {
    SLUICE_TRY(const compiler::Model model, compiler::open_package(path));
    SLUICE_TRY(text::TokenizerSpec spec, text::parse_spec(model.tokenizer));
    return text::Tokenizer::create(std::move(spec));
  }
  SLUICE_TRY(const Checkpoint checkpoint, open_checkpoint(path));
  SLUICE_TRY(text::TokenizerSpec spec, tokenizer_of(checkpoint));
  return text::Tokenizer::create(std::move(spec));
}

Result<compiler::Model> compiled(const ModelOptions& options) {
  if (names_package(options.path)) return compiler::open_package(options.path);
  SLUICE_TRY(const Checkpoint checkpoint, open_checkpoint(options.path));
  if (!checkpoint.has_tensors()) return Error{fmt::format("{}: a configuration without weights can be planned, not run", options.path)};
  const fs::path cached = cached_package(checkpoint, options);
  if (!cached.empty() && fs::exists(cached)) {
    Result<compiler::Model> model = compiler::open_package(cached);
    if (model.ok() && model->fingerprint == checkpoint.fingerprint()) return model;
    tell(options, fmt::format("the compiled package in the cache cannot be used ({}); compiling again",
                              model.ok() ? "it is of another file" : model.error().message));
  }
  return compile(checkpoint, options, cached);
}

Result<ModelOptions> with_users_that_fit(ModelOptions options) {
  if (options.memory.empty()) return options;
  SLUICE_TRY(const compiler::Model model, compiled(options));
  for (; options.users > 1; options.users /= 2) {
    SLUICE_TRY(const Fit fitted, fit(model.program, options));
    if (fitted.fits) break;
  }
  return options;
}

Result<Fit> fit(const program::Program& program, const ModelOptions& options) {
  const uint64_t rows_min = std::max({uint64_t{16}, options.users, options.logit_rows});
  const uint64_t model_context = program.facts.context_max == 0 ? limits::kContextTokensMax : std::min(program.facts.context_max, limits::kContextTokensMax);
  if (options.context > limits::kContextTokensMax) return Error{fmt::format("context {}: the limit is {}", options.context, limits::kContextTokensMax)};
  compiler::MemoryPlanOptions wanted;
  wanted.context = options.context ? options.context : std::min<uint64_t>(4096, model_context);
  wanted.users = options.users;
  wanted.rows_max = std::max({options.rows ? options.rows : 512, options.users, options.logit_rows});
  wanted.threads = options.threads ? options.threads : platform::usable_cpus();
  SLUICE_TRY(wanted.kv_type, kv_type_from_name(options.kv));
  const auto with_logits = [&](compiler::MemoryPlanOptions plan) {
    plan.logit_rows_max = logit_rows(options, plan.rows_max);
    return plan;
  };
  Fit out;
  const auto take = [&] {
    out.context = wanted.context;
    out.rows = wanted.rows_max;
    out.plan = compiler::memory_plan(program, with_logits(wanted));
  };
  take();
  compiler::MemoryPlanOptions smallest = wanted;
  while (!options.rows && smallest.rows_max / 2 >= rows_min) smallest.rows_max /= 2;
  smallest = with_logits(smallest);
  compiler::MemoryPlanOptions page = smallest;
  page.context = kernels::kPageTokens;
  out.smallest_cap = compiler::memory_plan(program, page).total();
  out.longest_context = model_context;
  if (options.memory.empty()) return out;
  SLUICE_TRY(out.cap, parse_bytes(options.memory));
  while (out.plan.total() > out.cap && wanted.rows_max > smallest.rows_max) {  // smaller steps before a shorter context
    wanted.rows_max /= 2;
    take();
  }
  out.longest_context = compiler::longest_context(program, smallest, out.cap, model_context);
  if (out.plan.total() > out.cap && !options.context && out.longest_context > 0) {
    wanted.context = out.longest_context;
    take();
  }
  out.fits = out.plan.total() <= out.cap;
  if (out.fits) out.longest_context = std::max(out.longest_context, out.context);
  return out;
}

namespace {

Error does_not_fit(const Fit& fit, const ModelOptions& options) {
  const uint64_t needed = fit.plan.total();
  const std::string longest =
      fit.longest_context == 0 ? "no context fits" : fmt::format("the longest context that fits is {} tokens", fit.longest_context);
  return Error{fmt::format("memory {}: a context of {} tokens for {} user(s) needs {} ({} bytes); {}; the smallest cap for this model is {} bytes",
                           options.memory, fit.context, options.users, bytes_text(needed), needed, longest, fit.smallest_cap)};
}

}  // namespace

Result<LoadedModel> load(const ModelOptions& options) {
  SLUICE_TRY(const Isa isa, choose_isa(options.isa));
  SLUICE_TRY(const kernels::KvType kv_type, kv_type_from_name(options.kv));
  const uint32_t threads = options.threads ? options.threads : platform::usable_cpus();
  if (threads > limits::kThreadsMax) return Error{fmt::format("threads {}: must be 1 to {}", threads, limits::kThreadsMax)};
  SLUICE_TRY(compiler::Model model, compiled(options));
  SLUICE_TRY(const Fit fitted, fit(model.program, options));
  if (!fitted.fits) return does_not_fit(fitted, options);

  LoadedModel loaded;
  loaded.plan = fitted.plan;
  loaded.context = fitted.context;
  loaded.fingerprint = model.fingerprint;
  loaded.name = model.program.facts.name.empty() ? model.program.facts.family : model.program.facts.name;
  if (model.tokenizer.empty()) {
    loaded.tokenizer = Error{"the model's file has no tokenizer that can be read"};
  } else {
    Result<text::TokenizerSpec> spec = text::parse_spec(model.tokenizer);
    loaded.tokenizer = spec.ok() ? text::Tokenizer::create(std::move(*spec)) : Result<text::Tokenizer>(spec.error());
  }
  const program::PlanSizes sizes = compiler::plan(model.program, {fitted.rows, logit_rows(options, fitted.rows), kv_type});
  SLUICE_TRY(loaded.runtime, runtime::Runtime::create(std::move(model.program), sizes, model.weights, model.owner,
                                                      {.threads = threads, .isa = isa, .kv_type = kv_type}));
  return loaded;
}

}  // namespace sluice::library
