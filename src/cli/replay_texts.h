// Traffic for `sluice state replay` from conversations whose text is known: a model's chat template and tokenizer make the prompts that a server would see.
//   trees (oasst): each leaf is a conversation; siblings are a message said again, by the model (regenerate) or by the user (branch)
//   agents (tau-bench): each call of the model is a request, tools' results among the messages
// Contract: same file, tokenizer, template and options: same trace. A wrong line is an error that names it. Next: replay_traces.h, engine/replay.h.
#pragma once

#include <filesystem>

#include "cli/replay_traces.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::cli {

struct TextTraceOptions {
  uint64_t lanes = 8;  // trees or conversations at one time; a seeded draw says whose turn it is
  uint64_t seed = 7;
};

Result<engine::Trace> read_texts(const std::filesystem::path& path, TraceKind kind, const text::Tokenizer& tokenizer,
                                 const text::ChatTemplate& chat_template, const TextTraceOptions& options);

}  // namespace sluice::cli
