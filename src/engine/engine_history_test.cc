// Random histories against a model that always computes from nothing: conversations are extended, edited, branched, regenerated, forked, cancelled, read
// with and without speculation, in steps of any size, beside each other, over a store that is too small for them; one history in five has a disk below it
// and processes that end and begin again. Not one token or logit may differ.
// SLUICE_SLOW_TESTS=1 plays 10,000 histories.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "engine/scheduler_testing.h"

namespace sluice::engine {
namespace {

struct Move {
  uint32_t what, a, b;
};

// Token 0..3 only: repetitions are common, so drafts are often right, and wrong.
std::vector<int32_t> small_text(uint64_t seed, size_t size) {
  std::vector<int32_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(uniform(seed, 2, i) * 4);
  return out;
}

// States of one history, in memory where the machine has such a folder: what is tested is not the disk.
class Folder {
 public:
  Folder() {
    std::string name = std::string(std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp") + "/sluice-history-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What happened in all histories, so that a disk that nobody reads cannot pass unseen.
struct Totals {
  uint64_t restarts = 0, loaded = 0, reused = 0;
};

struct Asked {
  RequestId id;
  std::vector<int32_t> prompt;
  Ask ask;
  bool cancelled = false;
};

std::string check_answers(Bench& bench, const std::vector<Asked>& asked) {
  for (const Asked& one : asked) {
    const Answer& answer = bench.answer(one.id);
    if (!answer.is_done) return "a request never ended";
    if (!answer.error.empty()) return "a request failed: " + answer.error;
    if (answer.done.cached_tokens >= one.prompt.size()) return "the last token was not computed";
    for (const auto& [choice, tokens] : answer.by_choice) {
      if (!one.cancelled && tokens.size() != one.ask.max_tokens) return "a token is missing";
      if (tokens != bench.expect(one.prompt, tokens.size(), one.ask.sampler, choice)) return "a token differs";
    }
    if (one.ask.top_logprobs < 0) continue;
    std::vector<int32_t> read = one.prompt;
    Sampler sampler(kFakeVocabulary, nullptr, 0);
    for (size_t i = 0; i < answer.tokens.size(); ++i) {
      const std::vector<float> logits = bench.runner().expected(read);
      if (sampler.explain({.logits = logits, .top_logprobs = 0}, answer.tokens[i]).logprob.raw_logprob != answer.logprobs[i].raw_logprob) {
        return "a logit differs";
      }
      read.push_back(answer.tokens[i]);
    }
  }
  return "";
}

// Empty if every answer was right, otherwise what was wrong.
std::string play(uint64_t seed, const std::vector<Move>& moves, Totals& totals) {
  StepSizes sizes = kFakeShapes[seed % 3];
  sizes.rows_max = 9 + seed * 7 % 60;
  EngineOptions options{.context = 700, .sequences_max = 1 + static_cast<uint32_t>(seed % 4), .store_bytes = (seed * 37 % 4) * 60'000,
                        .prefill_rows_max = seed % 5 * 11};
  options.speculation = true;
  std::optional<Folder> folder;
  if (seed % 5 == 2) {
    options.disk_folder = folder.emplace().path();
    options.disk_bytes = 1 << 26;
  }
  auto process = std::make_unique<Bench>(sizes, options);
  std::vector<std::vector<int32_t>> branches(1, small_text(seed, 40));
  std::vector<Asked> round;
  for (const Move& move : moves) {
    if (folder && move.what / 6 % 3 == 0) {  // what is said is on disk; the next process goes on from there
      process->run();
      if (const std::string wrong = check_answers(*process, round); !wrong.empty()) return wrong;
      round.clear();
      totals.loaded += process->scheduler().statistics().disk_loaded;
      process.reset();
      process = std::make_unique<Bench>(sizes, options);
      ++totals.restarts;
    }
    Bench& bench = *process;
    std::vector<int32_t> prompt = branches[move.a % branches.size()];
    const auto extend = [&](size_t n) {
      const auto more = small_text(move.b + 10, n);
      prompt.insert(prompt.end(), more.begin(), more.end());
    };
    switch (move.what % 6) {
      case 0: extend(1 + move.b % 90); break;
      case 1: prompt[move.b % prompt.size()] ^= 1; break;                                     // edit
      case 2: prompt.resize(1 + move.b % prompt.size()), extend(1 + move.a % 40); break;      // branch
      case 3: break;                                                                           // regenerate
      case 4: prompt = small_text(move.b, 1 + move.b % 150); break;                           // a new conversation
      case 5: prompt.resize(1 + move.b % prompt.size()); break;                               // undo
    }
    if (prompt.size() > 600) prompt.resize(50);
    Asked one{.id = 0, .prompt = prompt, .ask = {.max_tokens = 1 + move.b % 25}};
    one.ask.sampler = {.temperature = move.a % 3 == 0 ? 0.0f : 0.9f, .top_k = move.b % 2 == 0 ? 0u : 5u, .seed = move.a};
    if (move.a % 7 == 0) one.ask.sampler.frequency.scale = 0.3f, one.ask.sampler.repetition_penalty = 1.1f;
    one.ask.choices = 1 + (move.b % 8 == 0 ? options.sequences_max - 1 : 0);
    one.ask.speculate = move.a % 2 == 0 ? 1 + move.b % 9 : 0;
    one.ask.top_logprobs = move.a % 4 == 1 ? 2 : -1;
    one.ask.tenant = move.b % 13 == 0 ? 1 : 0;
    one.ask.key = move.a % 3;
    one.ask.system_end = move.b % 5 == 0 ? static_cast<uint32_t>(prompt.size() / 2) : 0;
    one.id = bench.ask(prompt, one.ask);
    bench.step(static_cast<int>(move.b % 5));
    if (move.a % 9 == 0) {
      bench.scheduler().cancel(one.id);
      one.cancelled = true;
    }
    round.push_back(one);
    std::vector<int32_t> told = prompt;
    if (move.b % 3 != 0) {  // wait for the answer, then go on from it
      bench.run();
      if (const std::string wrong = check_answers(bench, round); !wrong.empty()) return wrong;
      bench.scheduler().store().check();
      const Answer& answer = bench.answer(one.id);
      told.insert(told.end(), answer.tokens.begin(), answer.tokens.end());
      round.clear();
    }
    if (branches.size() < 8) branches.push_back(told);
    else branches[move.a % 8] = told;
  }
  process->run();
  const EngineStatistics& statistics = process->scheduler().statistics();
  if (statistics.running_sequences != 0) return "a sequence was left behind";
  if (statistics.disk_failures != 0) return "the disk failed";
  totals.loaded += statistics.disk_loaded;
  totals.reused += statistics.cached_tokens;
  return check_answers(*process, round);
}

std::vector<Move> random_moves(uint64_t seed) {
  std::vector<Move> moves(4 + static_cast<size_t>(uniform(seed, 0, 0) * 16));
  for (size_t i = 0; i < moves.size(); ++i) {
    const auto draw = [&](uint64_t k) { return static_cast<uint32_t>(uniform(seed, k, i) * 10'000); };
    moves[i] = {draw(3), draw(4), draw(5)};
  }
  return moves;
}

TEST(EngineHistory, NoTokenAndNoLogitDiffersFromComputingAgain) {
  const uint64_t histories = std::getenv("SLUICE_SLOW_TESTS") != nullptr ? 10'000 : 300;
  Totals totals;
  for (uint64_t seed = 1; seed <= histories; ++seed) {
    std::vector<Move> moves = random_moves(seed);
    std::string wrong = play(seed, moves, totals);
    if (wrong.empty()) continue;
    for (size_t i = 0; i < moves.size();) {  // shrink: drop whatever is not needed to fail
      std::vector<Move> fewer = moves;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(i));
      if (const std::string still = play(seed, fewer, totals); !still.empty()) {
        moves.swap(fewer);
        wrong = still;
      } else {
        ++i;
      }
    }
    std::string story;
    for (const Move& m : moves) story += "{" + std::to_string(m.what) + "," + std::to_string(m.a) + "," + std::to_string(m.b) + "} ";
    FAIL() << "seed " << seed << ": " << wrong << " after " << story;
  }
  std::printf("%llu histories, %llu restarts, %llu states read from disk\n", static_cast<unsigned long long>(histories),
              static_cast<unsigned long long>(totals.restarts), static_cast<unsigned long long>(totals.loaded));
  EXPECT_GT(totals.reused, histories * 100);
  EXPECT_GT(totals.restarts, histories / 2);
  EXPECT_GT(totals.loaded, histories / 10);
}

}  // namespace
}  // namespace sluice::engine
