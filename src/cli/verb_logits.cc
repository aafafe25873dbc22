// `sluice logits`: every logit of a token sequence as safetensors, for comparing engines bit by bit; `sluice perplexity`: how well a model predicts a text,
// or each of many texts after its own context.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/token_ids.h"
#include "cli/verbs.h"
#include "engine/state_file.h"
#include "platform/file.h"

namespace sluice::cli {
namespace {

// Rows of one tensor as they are computed.
struct Rows {
  uint64_t width = 0;
  std::vector<float> values;
};

Status write_safetensors(const std::map<std::string, Rows>& tensors, const std::string& path) {
  nlohmann::ordered_json header;
  uint64_t offset = 0;
  for (const auto& [name, rows] : tensors) {
    const uint64_t bytes = rows.values.size() * sizeof(float);
    const uint64_t count = rows.values.size() / std::max<uint64_t>(rows.width, 1);
    header[name] = {{"dtype", "F32"}, {"shape", {count, rows.width}}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(&length, 1))));
  SLUICE_TRY_VOID(file.write(text));
  for (const auto& [name, rows] : tensors) SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(rows.values))));
  return file.commit();
}

class Collector {
 public:
  explicit Collector(uint64_t layers) : layers_(layers) {
    observer_.context = this;
    observer_.see = [](void* self, int64_t index, const float* rows, size_t count, size_t width, size_t stride) {
      Collector& c = *static_cast<Collector*>(self);
      Rows& out = c.tensors_[static_cast<uint64_t>(index) > c.layers_ ? "hidden.final" : fmt::format("hidden.{}", index)];
      out.width = width;
      for (size_t r = 0; r < count; ++r) out.values.insert(out.values.end(), rows + r * stride, rows + r * stride + width);
    };
  }
  Status read(engine::Session& session, std::span<const int32_t> ids, const LogitsOptions& options, ProgressBar& bar, uint64_t before) {
    engine::Session::FeedOptions feed;
    feed.chunk = options.chunk;
    feed.all_logits = true;
    feed.observer = options.hidden ? &observer_ : nullptr;
    feed.on_logits = [&](uint64_t, size_t rows) {
      Rows& out = tensors_["logits"];
      for (size_t i = 0; i < rows; ++i) {
        const std::span<const float> row = session.runtime().logits(i);
        out.width = row.size();
        out.values.insert(out.values.end(), row.begin(), row.end());
      }
    };
    feed.keep_going = [&](uint64_t done) {
      bar.update(before + done);
      return true;
    };
    return session.feed(ids, feed);
  }
  const std::map<std::string, Rows>& tensors() const { return tensors_; }

 private:
  uint64_t layers_;
  runtime::Observer observer_;
  std::map<std::string, Rows> tensors_;
};

Status compute_logits(const LogitsOptions& options) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(options.tokens_file, limits::kPromptBytesMax));
  SLUICE_TRY(const std::vector<int32_t> ids, parse_ids(text));
  if (ids.empty()) return Error{fmt::format("{}: no token ids", options.tokens_file)};
  if (options.split >= ids.size() && options.split > 0) return Error{fmt::format("--split {}: the file has {} tokens", options.split, ids.size())};
  ModelOptions model_options = options.model;
  model_options.observers = options.hidden;
  model_options.all_logits = true;
  model_options.context = std::max<uint64_t>(ids.size(), model_options.context);
  SLUICE_TRY(LoadedModel model, load_model(model_options));
  Collector collector(model.runtime->program().facts.layers);
  ProgressBar bar("reading", ids.size());
  SLUICE_TRY(auto session, engine::Session::create(*model.runtime, ids.size()));
  if (options.split > 0) {
    const std::string state = options.out + ".state";
    SLUICE_TRY_VOID(collector.read(*session, std::span(ids).first(options.split), options, bar, 0));
    SLUICE_TRY_VOID(engine::save_state(*session, model.fingerprint, state));
    // A fresh engine: nothing of the first half is left but the file.
    session.reset();
    model = LoadedModel{};
    SLUICE_TRY(model, load_model(model_options));
    SLUICE_TRY(session, engine::Session::create(*model.runtime, ids.size()));
    const Status restored = engine::restore_state(*session, model.fingerprint, state);
    std::error_code ignored;
    std::filesystem::remove(state, ignored);
    SLUICE_TRY_VOID(restored);
  }
  SLUICE_TRY_VOID(collector.read(*session, std::span(ids).subspan(options.split), options, bar, options.split));
  return write_safetensors(collector.tensors(), options.out);
}

// -ln p(next | so far) from a row of logits.
double surprise(std::span<const float> logits, int32_t next) {
  double top = -INFINITY, sum = 0;
  for (const float l : logits) top = std::max(top, static_cast<double>(l));
  for (const float l : logits) sum += std::exp(static_cast<double>(l) - top);
  return top + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(next)]);
}

struct PerplexityResult {
  double nll = 0;
  uint64_t predicted = 0;
  uint64_t bytes = 0;  // of the text predicted; 0 for ids
};

Result<PerplexityResult> compute_perplexity(const PerplexityOptions& options) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(options.file, limits::kPromptBytesMax));
  ModelOptions model_options = options.model;
  model_options.all_logits = true;
  model_options.context = options.window;
  SLUICE_TRY(LoadedModel model, load_model(model_options));
  std::vector<int32_t> ids;
  if (options.ids) {
    SLUICE_TRY(ids, parse_ids(text));
  } else {
    if (!model.tokenizer.ok()) return model.tokenizer.error();
    SLUICE_TRY(ids, model.tokenizer->encode(text, {.parse_special = false, .add_special = false}));
  }
  if (options.first > 0 && options.first < ids.size()) ids.resize(options.first);
  // The next token is looked up in a row before the step that would refuse it.
  const uint64_t vocabulary = model.runtime->program().facts.vocabulary;
  for (const int32_t id : ids) {
    if (static_cast<uint64_t>(id) >= vocabulary) return Error{fmt::format("token id {} is outside the vocabulary of {}", id, vocabulary)};
  }
  if (options.window < 2 || ids.size() < 2) return Error{fmt::format("{} tokens in windows of {}: nothing to predict", ids.size(), options.window)};
  PerplexityResult out;
  SLUICE_TRY(auto session, engine::Session::create(*model.runtime, options.window));
  ProgressBar bar("reading", ids.size());
  for (size_t begin = 0; begin + 1 < ids.size(); begin += options.window) {
    const std::span<const int32_t> window = std::span(ids).subspan(begin, std::min<size_t>(options.window, ids.size() - begin));
    session->reset();
    engine::Session::FeedOptions feed;
    feed.all_logits = true;
    feed.on_logits = [&](uint64_t position, size_t rows) {
      for (size_t i = 0; i < rows && position + i + 1 < window.size(); ++i) {
        out.nll += surprise(session->runtime().logits(i), window[position + i + 1]);
        ++out.predicted;
      }
      bar.update(begin + position + rows);
    };
    SLUICE_TRY_VOID(session->feed(window, feed));
    if (model.tokenizer.ok()) {
      SLUICE_TRY(const std::string seen, model.tokenizer->decode(window.subspan(1), true));
      out.bytes += seen.size();
    }
  }
  return out;
}

// One line of a --pairs file, {"context": ..., "text": ...}: how well `text` is predicted after `context`, each turned to tokens by itself.
Result<PerplexityResult> score_pair(LoadedModel& model, engine::Session& session, const std::string& line) {
  const nlohmann::json pair = nlohmann::json::parse(line, nullptr, false);
  if (!pair.is_object() || !pair.value("context", nlohmann::json()).is_string() || !pair.value("text", nlohmann::json()).is_string()) {
    return Error{"expected an object with the strings context and text"};
  }
  const std::string text = pair["text"];
  SLUICE_TRY(std::vector<int32_t> ids, model.tokenizer->encode(pair["context"].get<std::string>(), {.parse_special = false, .add_special = true}));
  SLUICE_TRY(const std::vector<int32_t> own, model.tokenizer->encode(text, {.parse_special = false, .add_special = false}));
  const size_t first = ids.size();
  if (first == 0 || own.empty()) return Error{"context and text need a token each"};
  ids.insert(ids.end(), own.begin(), own.end());
  if (ids.size() > session.context()) return Error{fmt::format("{} tokens, --window holds {}", ids.size(), session.context())};
  PerplexityResult out{.bytes = text.size()};
  session.reset();
  engine::Session::FeedOptions feed;
  feed.all_logits = true;
  feed.on_logits = [&](uint64_t position, size_t rows) {
    for (size_t i = 0; i < rows; ++i) {
      const size_t next = position + i + 1;
      if (next < first || next >= ids.size()) continue;
      out.nll += surprise(session.runtime().logits(i), ids[next]);
      ++out.predicted;
    }
  };
  SLUICE_TRY_VOID(session.feed(ids, feed));
  return out;
}

Result<std::vector<PerplexityResult>> compute_pairs(const PerplexityOptions& options) {
  SLUICE_TRY(const std::string lines, platform::read_whole_file(options.pairs, limits::kPromptBytesMax));
  ModelOptions model_options = options.model;
  model_options.all_logits = true;
  model_options.context = options.window;
  SLUICE_TRY(LoadedModel model, load_model(model_options));
  if (!model.tokenizer.ok()) return model.tokenizer.error();
  SLUICE_TRY(auto session, engine::Session::create(*model.runtime, options.window));
  ProgressBar bar("reading", lines.size());
  std::vector<PerplexityResult> out;
  for (size_t begin = 0, end = 0; begin < lines.size(); begin = end + 1) {
    end = std::min(lines.find('\n', begin), lines.size());
    Result<PerplexityResult> scored = score_pair(model, *session, lines.substr(begin, end - begin));
    if (!scored.ok()) return Error{fmt::format("{}, line {}: {}", options.pairs, out.size() + 1, scored.error().message)};
    out.push_back(*scored);
    bar.update(end);
  }
  if (out.empty()) return Error{fmt::format("{}: no pairs", options.pairs)};
  return out;
}

int print_pairs(const PerplexityOptions& options) {
  const Result<std::vector<PerplexityResult>> pairs = compute_pairs(options);
  if (!pairs.ok()) return fail(pairs.error());
  nlohmann::ordered_json each = nlohmann::ordered_json::array();
  double nats_per_byte = 0;  // each text counts the same
  for (const PerplexityResult& pair : *pairs) {
    each.push_back({{"nll", pair.nll}, {"tokens", pair.predicted}, {"bytes", pair.bytes}});
    nats_per_byte += pair.nll / static_cast<double>(pair.bytes) / static_cast<double>(pairs->size());
  }
  if (options.model.json) {
    fmt::print("{}\n", nlohmann::ordered_json({{"nats_per_byte", nats_per_byte}, {"pairs", each}}).dump());
  } else {
    fmt::print("{:.4f} nats a byte, mean of {} texts after their contexts\n", nats_per_byte, pairs->size());
  }
  return 0;
}

}  // namespace

int logits(const LogitsOptions& options) {
  const Status status = compute_logits(options);
  if (!status.ok()) return fail(status.error());
  if (options.model.json) fmt::print("{}\n", nlohmann::ordered_json({{"out", options.out}}).dump());
  return 0;
}

int perplexity(const PerplexityOptions& options) {
  if (!options.pairs.empty()) return print_pairs(options);
  const Result<PerplexityResult> result = compute_perplexity(options);
  if (!result.ok()) return fail(result.error());
  const double mean = result->nll / static_cast<double>(result->predicted);
  const double bits_per_byte = result->bytes ? result->nll / std::log(2.0) / static_cast<double>(result->bytes) : 0;
  if (options.model.json) {
    const nlohmann::ordered_json out = {
        {"perplexity", std::exp(mean)}, {"nll", mean}, {"tokens", result->predicted}, {"bits_per_byte", bits_per_byte}};
    fmt::print("{}\n", out.dump(2));
  } else {
    fmt::print("perplexity {:.4f} over {} tokens in windows of {} ({:.4f} nats a token", std::exp(mean), result->predicted, options.window, mean);
    fmt::print("{})\n", result->bytes ? fmt::format(", {:.4f} bits a byte", bits_per_byte) : "");
  }
  return 0;
}

}  // namespace sluice::cli
