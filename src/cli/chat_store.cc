#include "cli/chat_store.h"

#include <algorithm>
#include <cstring>

#include "engine/eviction.h"
#include "engine/step_runner.h"

namespace sluice::cli {

using engine::BlockId;
using engine::Kind;
using engine::Mark;
using engine::Session;

Result<std::unique_ptr<ChatStore>> ChatStore::create(const runtime::Runtime& runtime, uint64_t context, uint64_t bytes) {
  const engine::StepSizes sizes = engine::step_sizes(runtime);
  const uint64_t pages = sizes.page_bytes == 0 ? 0 : (context + engine::kPageTokens - 1) / engine::kPageTokens;
  engine::StoreOptions options = engine::store_options(sizes, 0, 0);
  options.budget_bytes = bytes;
  if (engine::StateStore::bytes_for(options, options.running_pages + pages) > bytes) return Error{"no room for kept states"};
  SLUICE_TRY(std::unique_ptr<engine::StateStore> store, engine::StateStore::create(options, engine::learned_evictor()));
  return std::unique_ptr<ChatStore>(new ChatStore(std::move(store)));
}

void ChatStore::resume(Session& session, std::span<const int32_t> ids) {
  const std::vector<int32_t>& read = session.tokens();
  const bool extends = read.size() < ids.size() && std::equal(read.begin(), read.end(), ids.begin());
  store_->lookup({.now_ms = ++clock_, .tokens = ids, .message_starts = {}}, lookup_);
  matched_ = lookup_.matched;
  if (lookup_.resume > (extends ? read.size() : 0)) {
    const program::PlanSizes& sizes = session.runtime().sizes();
    if (sizes.state_bytes > 0) store_->copy_state(lookup_.checkpoint, session.state_bytes().first(sizes.state_bytes));
    for (size_t i = 0; sizes.page_bytes > 0 && i < lookup_.pages.size(); ++i) {
      std::memcpy(session.page(i).data(), store_->page_data(lookup_.pages[i]), sizes.page_bytes);
    }
    session.adopt({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(lookup_.resume)});
  } else if (!extends) {
    session.reset();
  }
  store_->release(lookup_);
}

Status ChatStore::read(Session& session, std::span<const int32_t> ids, const std::function<bool(uint64_t done)>& keep_going) {
  const uint64_t begin = session.tokens().size();
  engine::place_prompt({begin, std::max(matched_, begin), ids.size(), 0, 0}, marks_);
  engine::place_grid(begin, ids.size() - 1, grid_);
  for (const Mark& mark : grid_) {
    const auto near = [&](const Mark& m) { return std::max(m.position, mark.position) - std::min(m.position, mark.position) < engine::kBeforeEndTokens / 2; };
    if (std::none_of(marks_.begin(), marks_.end(), near)) marks_.push_back(mark);
  }
  std::sort(marks_.begin(), marks_.end(), [](const Mark& a, const Mark& b) { return a.position < b.position; });
  marks_.push_back({ids.size(), Kind::kPromptEnd});
  bool going = true;
  Session::FeedOptions feed;
  feed.keep_going = [&, before = begin](uint64_t) { return going = keep_going(session.tokens().size() - before); };
  for (const Mark& mark : marks_) {
    const uint64_t at = session.tokens().size();
    if (mark.position <= at) continue;
    SLUICE_TRY_VOID(session.feed(ids.subspan(at, mark.position - at), feed));
    if (!going) return {};
    if (mark.position < ids.size() && mark.position >= begin + engine::kNearTokens) keep(session, mark.kind);
  }
  return {};
}

void ChatStore::keep(const Session& session, Kind kind) {
  if (session.tokens().empty()) return;
  std::vector<BlockId> pages;
  const auto give_back = [&] {
    for (const BlockId page : pages) store_->release_page(page);
  };
  for (size_t i = 0; i < session.pages_used(); ++i) {
    const Result<BlockId> page = store_->take_page();
    if (!page.ok()) return give_back();
    pages.push_back(*page);
    std::memcpy(store_->page_data(*page), session.page(i).data(), session.page(i).size());
  }
  store_->insert({.now_ms = clock_, .tokens = session.tokens(), .kind = kind, .state = session.state_bytes(), .pages = pages});
  give_back();
}

}  // namespace sluice::cli
