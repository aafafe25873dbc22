// What a Model holds: the loaded model, its engine, and the two things that conversations ask of them. For library/*.cc only.
#pragma once

#include <sluice/sluice.h>

#include <mutex>

#include "engine/engine.h"
#include "engine/snapshot_file.h"
#include "library/loading.h"
#include "text/chat_template.h"
#include "text/constraint.h"

namespace sluice {

inline Failure failure(const Error& error) { return {error.message}; }

struct Model::Impl {
  library::LoadedModel loaded;
  std::optional<text::ChatTemplate> chat_template;
  uint64_t memory_bytes = 0;
  std::unique_ptr<engine::Engine> engine;
  std::mutex vocabulary_mutex;
  std::shared_ptr<const text::ConstraintVocabulary> vocabulary;  // made for the first constraint

  const text::Tokenizer& tokenizer() const { return *loaded.tokenizer; }
  Result<std::shared_ptr<const text::Constraint>> compile(const Constraint& wanted);

  engine::SnapshotBinding binding() const;
  // The state behind `tokens`, which the store has, into a file.
  Status save_state(std::span<const int32_t> tokens, const std::filesystem::path& path);
  // Back into the store.
  Status restore_state(const std::filesystem::path& path);
};

}  // namespace sluice
