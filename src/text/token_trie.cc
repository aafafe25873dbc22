// Building tries from sorted words, and laying subtrees over each other. Contract: text/token_trie.h. Recursion is as deep as the longest
// token, which limits::kConstraintTokenBytesMax bounds. Next: text/constraint_vocabulary.cc.
#include "text/token_trie.h"

#include <algorithm>

namespace sluice::text {
namespace {

uint8_t count_chars(std::string_view word) {
  size_t chars = 0;
  for (const char c : word) chars += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return static_cast<uint8_t>(std::min<size_t>(chars, 255));
}

class Merger {
 public:
  using Subtree = std::pair<const TokenTrie*, uint32_t>;

  explicit Merger(const bool* first_bytes) : first_bytes_(first_bytes) {}

  TokenTrie run(const std::vector<Subtree>& roots) {
    out_.nodes.push_back({0, 255, 0, 0});
    children(roots, first_bytes_);
    out_.nodes[0].subtree_end = static_cast<uint32_t>(out_.nodes.size());
    out_.nodes.push_back({0, 0, 0, static_cast<uint32_t>(out_.tokens.size())});
    return std::move(out_);
  }

 private:
  struct Child {
    uint8_t byte;
    Subtree subtree;
  };

  void children(const std::vector<Subtree>& parents, const bool* allowed) {
    std::vector<Child> all;
    for (const auto& [trie, parent] : parents) {
      for (uint32_t at = parent + 1; at < trie->nodes[parent].subtree_end; at = trie->nodes[at].subtree_end) {
        const uint8_t byte = trie->nodes[at].byte;
        if (allowed == nullptr || allowed[byte]) all.push_back({byte, {trie, at}});
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const Child& a, const Child& b) { return a.byte < b.byte; });
    std::vector<Subtree> same;
    for (size_t i = 0; i < all.size();) {
      same.clear();
      size_t j = i;
      for (; j < all.size() && all[j].byte == all[i].byte; ++j) same.push_back(all[j].subtree);
      const size_t node = out_.nodes.size();
      out_.nodes.push_back({all[i].byte, 255, 0, static_cast<uint32_t>(out_.tokens.size())});
      for (const auto& [trie, at] : same) {
        const auto first = trie->tokens.begin() + trie->nodes[at].tokens_begin,
                   last = trie->tokens.begin() + trie->nodes[at + 1].tokens_begin;
        out_.tokens.insert(out_.tokens.end(), first, last);
      }
      children(same, nullptr);
      out_.nodes[node].subtree_end = static_cast<uint32_t>(out_.nodes.size());
      i = j;
    }
  }

  const bool* first_bytes_;
  TokenTrie out_;
};

}  // namespace

TokenTrie TokenTrie::build(std::vector<std::pair<std::string_view, uint32_t>> words) {
  std::sort(words.begin(), words.end());
  TokenTrie trie;
  trie.nodes.push_back({});
  std::vector<uint32_t> path = {0};  // path[d]: the node of the current word's first d bytes
  std::string_view previous;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth + 1; path.pop_back()) trie.nodes[path.back()].subtree_end = static_cast<uint32_t>(trie.nodes.size());
  };
  for (const auto& [word, token] : words) {
    if (word.empty()) continue;
    size_t same = 0;
    while (same < word.size() && same < previous.size() && word[same] == previous[same]) ++same;
    close(same);
    for (size_t i = same; i < word.size(); ++i) {
      path.push_back(static_cast<uint32_t>(trie.nodes.size()));
      trie.nodes.push_back({static_cast<uint8_t>(word[i]), 0, 0, static_cast<uint32_t>(trie.tokens.size())});
    }
    trie.tokens.push_back(token);
    for (const uint32_t node : path) trie.nodes[node].chars_max = std::max(trie.nodes[node].chars_max, count_chars(word));
    previous = word;
  }
  close(0);
  trie.nodes[0].subtree_end = static_cast<uint32_t>(trie.nodes.size());
  trie.nodes.push_back({0, 0, 0, static_cast<uint32_t>(trie.tokens.size())});
  return trie;
}

TokenTrie merge_subtrees(const std::vector<std::pair<const TokenTrie*, uint32_t>>& subtrees, const bool* first_bytes) {
  return Merger(first_bytes).run(subtrees);
}

}  // namespace sluice::text
