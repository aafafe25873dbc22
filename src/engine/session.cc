#include "engine/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace sluice::engine {

using kernels::kPageTokens;

Result<std::unique_ptr<Session>> Session::create(runtime::Runtime& runtime, uint64_t context) {
  if (context == 0 || context > limits::kContextTokensMax) {
    return Error{fmt::format("context of {} tokens: must be 1 to {}", context, limits::kContextTokensMax)};
  }
  std::unique_ptr<Session> session(new Session(runtime, context));
  const uint64_t page_bytes = runtime.sizes().page_bytes;
  const uint64_t pages = page_bytes == 0 ? 0 : (context + kPageTokens - 1) / kPageTokens;
  session->state_bytes_ = program::round_up(std::max<uint64_t>(runtime.sizes().state_bytes, 64), 64);
  SLUICE_TRY(session->memory_, platform::AnonymousMapping::map(session->state_bytes_ + pages * page_bytes, platform::AnonymousMapping::Pages::kNormal));
  std::byte* const first = session->memory_.bytes().data() + session->state_bytes_;
  for (uint64_t i = 0; i < pages; ++i) session->pages_.push_back(reinterpret_cast<uint8_t*>(first + i * page_bytes));
  session->sequence_ = {session->memory_.bytes().data(), session->pages_.data()};
  session->tokens_.reserve(context);
  session->rows_.resize(runtime.sizes().rows_max);
  return session;
}

Status Session::feed(std::span<const int32_t> tokens, const FeedOptions& options) {
  if (tokens.size() > context_ - tokens_.size()) {
    return Error{fmt::format("{} tokens after {}: the context holds {} (--ctx)", tokens.size(), tokens_.size(), context_)};
  }
  const program::PlanSizes& sizes = runtime_.sizes();
  uint64_t chunk = options.chunk == 0 ? sizes.rows_max : std::min(options.chunk, sizes.rows_max);
  if (options.all_logits) chunk = std::min(chunk, sizes.logit_rows_max);
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t rows = std::min<size_t>(chunk, tokens.size() - begin);
    const bool is_last = begin + rows == tokens.size();
    const uint64_t position = tokens_.size();
    for (size_t r = 0; r < rows; ++r) {
      const bool wants = options.all_logits || (is_last && r + 1 == rows);
      rows_[r] = {tokens[begin + r], static_cast<int32_t>(position + r), &sequence_, wants};
    }
    SLUICE_TRY_VOID(runtime_.step(std::span(rows_).first(rows), options.observer));
    tokens_.insert(tokens_.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.begin() + static_cast<std::ptrdiff_t>(begin + rows));
    last_logits_ = options.all_logits ? rows - 1 : 0;
    if (options.on_logits && (options.all_logits || is_last)) options.on_logits(position, options.all_logits ? rows : 1);
    if (options.keep_going && !options.keep_going(begin + rows)) break;
  }
  return {};
}

std::span<const float> Session::logits() const { return runtime_.logits(last_logits_); }

void Session::reset() {
  std::memset(memory_.bytes().data(), 0, state_bytes_);
  tokens_.clear();
}

std::span<std::byte> Session::page(size_t index) const {
  SLUICE_CHECK(index < pages_.size());
  return {reinterpret_cast<std::byte*>(pages_[index]), runtime_.sizes().page_bytes};
}

size_t Session::pages_used() const { return pages_.empty() ? 0 : (tokens_.size() + kPageTokens - 1) / kPageTokens; }

}  // namespace sluice::engine
