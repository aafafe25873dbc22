// The cache of compiled constraints. Contract: text/constraint.h; a constraint larger than the cap is returned but not kept, and its
// growing masks are counted when the cache is next used. Compiling happens outside the lock. Next: text/constraint.cc.
#include <list>
#include <mutex>
#include <unordered_map>

#include "text/constraint.h"

namespace sluice::text {
namespace {

std::string cache_key(const ConstraintSpec& spec) {
  std::string key = std::to_string(static_cast<int>(spec.kind)) + '/' + std::to_string(static_cast<int>(spec.space));
  const auto add = [&](const std::string& part) { key += '/' + std::to_string(part.size()) + ':' + part; };
  add(spec.text);
  add(spec.start_after);
  add(spec.start_open);
  for (const std::string& choice : spec.choices) add(choice);
  return key;
}

}  // namespace

struct ConstraintCache::Inner {
  struct Entry {
    std::string key;
    std::shared_ptr<const Constraint> constraint;
  };
  std::shared_ptr<const ConstraintVocabulary> vocabulary;
  uint64_t bytes_max;
  ConstraintBudget budget;
  mutable std::mutex mutex;
  std::list<Entry> entries;  // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;

  uint64_t bytes() const {
    uint64_t total = 0;
    for (const Entry& entry : entries) total += entry.constraint->bytes() + 2 * entry.key.size();
    return total;
  }
  void shrink() {
    uint64_t total = bytes();
    while (total > bytes_max) {
      const Entry& oldest = entries.back();
      total -= oldest.constraint->bytes() + 2 * oldest.key.size();
      by_key.erase(oldest.key);
      entries.pop_back();
    }
  }
};

ConstraintCache::ConstraintCache(std::shared_ptr<const ConstraintVocabulary> vocabulary, uint64_t bytes_max, ConstraintBudget budget)
    : inner_(std::make_unique<Inner>()) {
  inner_->vocabulary = std::move(vocabulary);
  inner_->bytes_max = bytes_max;
  inner_->budget = budget;
}
ConstraintCache::~ConstraintCache() = default;

Result<std::shared_ptr<const Constraint>> ConstraintCache::get(const ConstraintSpec& spec) {
  std::string key = cache_key(spec);
  {
    const std::lock_guard lock(inner_->mutex);
    const auto it = inner_->by_key.find(key);
    if (it != inner_->by_key.end()) {
      inner_->entries.splice(inner_->entries.begin(), inner_->entries, it->second);
      return it->second->constraint;
    }
  }
  SLUICE_TRY(std::shared_ptr<const Constraint> fresh, Constraint::compile(spec, inner_->vocabulary, inner_->budget));
  const std::lock_guard lock(inner_->mutex);
  if (inner_->by_key.find(key) == inner_->by_key.end()) {
    inner_->entries.push_front({std::move(key), fresh});
    inner_->by_key.emplace(inner_->entries.front().key, inner_->entries.begin());
    inner_->shrink();
  }
  return fresh;
}

uint64_t ConstraintCache::bytes() const {
  const std::lock_guard lock(inner_->mutex);
  return inner_->bytes();
}
size_t ConstraintCache::size() const {
  const std::lock_guard lock(inner_->mutex);
  return inner_->entries.size();
}

}  // namespace sluice::text
