// What forks, restores and files cost, in the shapes of the embedded model and of Jamba Reasoning 3B (2 attention layers with 1 KV head of 128, states of
// 26 Mamba-1 layers): only bytes decide, so no model runs. 4,096 tokens a conversation. SLUICE_BENCH_FOLDER: where the files lie (default /tmp).
// Contract: every figure is of one machine in one run; shares are of what that run measured. Figures: docs/disk-tier.md, docs/state.md.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "engine/disk_tier.h"
#include "engine/eviction.h"
#include "engine/fake_runner.h"
#include "engine/scheduler.h"
#include "platform/clock.h"
#include "platform/memory.h"

namespace sluice::engine {
namespace {

namespace fs = std::filesystem;

struct Shape {
  const char* name;
  uint64_t page_bytes, state_bytes;
};
constexpr Shape kShapes[] = {{"embedded", 32'768, 272'384}, {"jamba_3b", 65'536, 10'117'120}};
constexpr uint64_t kTokens = 4096, kChildren = 100, kConversations = 100;

double milliseconds(uint64_t from_ns) { return static_cast<double>(platform::now_ns() - from_ns) / 1e6; }

std::vector<int32_t> conversation(uint64_t seed, uint64_t size) {
  std::vector<int32_t> out(size);
  for (uint64_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(fake_mix(seed * 1'000'003 + i) % 40);
  return out;
}

// Steps that cost nothing: what is left is the engine's own work.
class Nothing final : public StepRunner {
 public:
  explicit Nothing(const Shape& shape)
      : StepRunner({.rows_max = 512, .logit_rows_max = kChildren, .vocabulary = 64, .page_bytes = shape.page_bytes, .state_bytes = shape.state_bytes,
                    .flops_per_token = 1000}) {
    for (size_t i = 0; i < logits_.size(); ++i) logits_[i] = static_cast<float>(fake_mix(i) % 1000) * 1e-3f;
  }
  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer*) override {
    if (sizes().state_bytes > 0) rows[0].sequence->state[0] = std::byte{1};
    return {};
  }
  std::span<const float> logits(size_t) const override { return logits_; }

 private:
  std::vector<float> logits_ = std::vector<float>(64);
};

struct Silent final : ResponseSink {
  void done(const RequestDone& d) override { failed = !d.error.empty(); }
  bool failed = false;
};

// 100 children of one state: the step in which the prompt ends, forks and draws them. `first` is into slots that nobody has used.
void BM_Fork100(benchmark::State& bench) {
  const Shape& shape = kShapes[bench.range(0)];
  bench.SetLabel(shape.name);
  Nothing runner(shape);
  const text::Tokenizer tokenizer = fake_tokenizer(64);
  EngineOptions options{.context = kTokens + 64, .sequences_max = kChildren, .store_bytes = 4 * (shape.state_bytes + 70 * shape.page_bytes)};
  options.now_us = [] { return platform::now_ns() / 1000; };
  const uint64_t resident_before = platform::process_memory().resident_bytes, begin_start = platform::now_ns();
  const auto scheduler = Scheduler::create(runner, tokenizer, 1, options).value();
  const double start = milliseconds(begin_start);
  const std::vector<int32_t> prompt = conversation(1, kTokens - 6);  // children write behind it in a page of their own
  double first = 0, again = 1e9, first_cpu = 0, again_cpu = 1e9, grown = 0, pages = 0;
  for (auto _ : bench) {
    for (uint64_t round = 0; round < 5; ++round) {
      auto sink = std::make_shared<Silent>();
      Request alone{.prompt = prompt, .max_tokens = 0};
      scheduler->add(round * 2 + 1, alone, sink);
      while (!scheduler->idle()) scheduler->step();
      const uint64_t resident = platform::process_memory().resident_bytes;
      const uint32_t blocks = scheduler->store().free_blocks();
      Request many{.prompt = prompt, .max_tokens = 3, .choices = kChildren};
      many.stop.ignore_end = true;
      scheduler->add(round * 2 + 2, many, sink);
      const uint64_t begin = platform::now_ns(), begin_cpu = platform::process_cpu_ns();
      scheduler->step();
      const double took = milliseconds(begin), cpu = static_cast<double>(platform::process_cpu_ns() - begin_cpu) / 1e6;
      (round == 0 ? first : again) = round == 0 ? took : std::min(again, took);
      (round == 0 ? first_cpu : again_cpu) = round == 0 ? cpu : std::min(again_cpu, cpu);
      if (scheduler->statistics().running_sequences != kChildren) bench.SkipWithError("not all children run");
      if (round == 0) grown = static_cast<double>(platform::process_memory().resident_bytes - resident);
      if (round == 0) pages = static_cast<double>(blocks - scheduler->store().free_blocks());
      while (!scheduler->idle()) scheduler->step();
      if (sink->failed) bench.SkipWithError("a request failed");
    }
  }
  const uint64_t planned = Scheduler::bytes(runner.sizes(), options) + options.store_bytes;
  bench.counters["start_ms"] = start;  // the slots' memory is taken then
  bench.counters["resident_over_plan"] = static_cast<double>(platform::process_memory().resident_bytes - resident_before) / static_cast<double>(planned);
  bench.counters["first_ms"] = first;
  bench.counters["again_ms"] = again;
  bench.counters["first_cpu_ms"] = first_cpu;
  bench.counters["again_cpu_ms"] = again_cpu;
  bench.counters["pages"] = pages;  // written by the children: each has its own last one
  // The slots' states are there from the start, children or not.
  const double states = kChildren * static_cast<double>(shape.state_bytes);
  bench.counters["memory_over_states_and_pages"] = (states + grown) / (states + pages * static_cast<double>(shape.page_bytes));
}

// The store and the tier of one process, over a folder that outlives it.
struct Process {
  Process(const Shape& shape, const fs::path& folder) {
    StoreOptions store_options{.page_bytes = shape.page_bytes, .state_bytes = shape.state_bytes, .bytes_backed = true};
    store_options.running_pages = kTokens / kPageTokens;
    store_options.budget_bytes = StateStore::bytes_for(store_options, 3 * (kTokens / kPageTokens + shape.state_bytes / shape.page_bytes + 2));
    store = StateStore::create(store_options, learned_evictor()).value();
    tier = DiskTier::open({.folder = folder, .cap_bytes = 1ull << 36, .binding = {1, 1, shape.page_bytes, shape.state_bytes, 0}}).value();
  }
  void finish_writes() {
    while (!tier->idle()) {
      tier->wait();
      loads.clear();
      tier->poll(*store, loads);
    }
  }
  std::unique_ptr<StateStore> store;
  std::unique_ptr<DiskTier> tier;
  std::vector<DiskTier::Loaded> loads;
};

void fill(std::span<std::byte> bytes, uint64_t seed) {
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = fake_mix(seed + i) | 1;
    std::memcpy(bytes.data() + i, &word, 8);
  }
}

// A conversation as the engine keeps it: its prompt's end and, 256 tokens before it, another state. The bytes that are unique.
uint64_t write_conversation(Process& process, const Shape& shape, uint64_t seed, std::span<std::byte> state) {
  const std::vector<int32_t> tokens = conversation(seed, kTokens);
  std::vector<BlockId> pages;
  for (uint64_t p = 0; p < kTokens / kPageTokens; ++p) {
    pages.push_back(process.store->take_page().value());
    fill({process.store->page_data(pages.back()), shape.page_bytes}, seed * 100 + p);
  }
  for (const uint64_t position : {kTokens - 256, kTokens - 1}) {
    fill(state, seed * 7 + position);
    const auto read = std::span(tokens).first(position);
    const uint32_t id = process.store->insert({.tokens = read, .state = state, .pages = pages, .always = true});
    SLUICE_CHECK(id != kNoCheckpoint && process.tier->persist(*process.store, id, 0, read));
    process.finish_writes();
  }
  for (const BlockId page : pages) process.store->release_page(page);
  return kTokens / kPageTokens * shape.page_bytes + 2 * shape.state_bytes;
}

// Reads the files of one restore into memory that is there, as fast as the page cache gives them.
double read_plainly(const std::vector<fs::path>& files, std::span<std::byte> out, uint64_t& cpu) {
  const uint64_t begin = platform::now_ns(), begin_cpu = platform::process_cpu_ns();
  size_t at = 0;
  for (const fs::path& file : files) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    while (true) {
      const ssize_t got = ::read(descriptor, out.data() + at, std::min<size_t>(out.size() - at, 1 << 20));
      if (got <= 0) break;
      at += static_cast<size_t>(got);
    }
    ::close(descriptor);
  }
  cpu += platform::process_cpu_ns() - begin_cpu;
  return milliseconds(begin);
}

void forget_cache(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  (void)::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

double restore(Process& process, uint64_t seed, uint64_t& cpu) {
  const std::vector<int32_t> tokens = conversation(seed, kTokens);
  const uint64_t begin = platform::now_ns(), begin_cpu = platform::process_cpu_ns();
  const std::optional<DiskHit> hit = process.tier->find(0, tokens, kTokens - 1).hit;
  SLUICE_CHECK(hit && hit->position == kTokens - 1);
  (void)process.tier->start_load(*process.store, *hit, 0, 0).value();
  process.tier->wait();
  process.loads.clear();
  process.tier->poll(*process.store, process.loads);
  const double took = milliseconds(begin);
  cpu += platform::process_cpu_ns() - begin_cpu;
  SLUICE_CHECK(process.loads.size() == 1 && process.loads[0].checkpoint != kNoCheckpoint);
  return took;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// 100 conversations from files, by another process than the one that wrote them; each beside a plain read of the same files.
void BM_Restore100(benchmark::State& bench) {
  const Shape& shape = kShapes[bench.range(0)];
  bench.SetLabel(shape.name);
  const char* base = std::getenv("SLUICE_BENCH_FOLDER");
  std::string name = std::string(base == nullptr ? "/tmp" : base) + "/sluice-restore-XXXXXX";
  const fs::path folder = ::mkdtemp(name.data());
  std::vector<std::byte> state(shape.state_bytes);
  uint64_t unique = 0, on_disk = 0;
  for (auto _ : bench) {
    {
      Process writer(shape, folder);
      for (uint64_t seed = 1; seed <= kConversations; ++seed) unique += write_conversation(writer, shape, seed, state);
    }
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    for (const fs::path& file : files) on_disk += fs::file_size(file);
    Process reader(shape, folder);
    std::vector<std::byte> plain(kTokens / kPageTokens * shape.page_bytes + 2 * shape.state_bytes + (1 << 20));
    fill(plain, 1);  // resident
    std::vector<double> ours, theirs, cold;
    uint64_t cpu_ours = 0, cpu_theirs = 0, cpu_cold = 0, read = 0;
    for (uint64_t seed = 1; seed <= kConversations; ++seed) ours.push_back(restore(reader, seed, cpu_ours));
    cpu_ours = 0;
    ours.clear();
    // The tier passes over the first state's bytes: the plain read takes as many bytes as the restore does.
    const uint64_t needed = kTokens / kPageTokens * shape.page_bytes + shape.state_bytes;
    for (uint64_t seed = 1; seed <= kConversations; ++seed) {
      theirs.push_back(read_plainly({files[seed % files.size()]}, std::span(plain).first(std::min<uint64_t>(needed, plain.size())), cpu_theirs));
      read += std::min<uint64_t>(needed, fs::file_size(files[seed % files.size()]));
      ours.push_back(restore(reader, seed, cpu_ours));
    }
    for (const fs::path& file : files) forget_cache(file);
    for (uint64_t seed = 1; seed <= kConversations; ++seed) cold.push_back(restore(reader, seed, cpu_cold));
    const double bytes = static_cast<double>(needed * kConversations);
    bench.counters["ms"] = median(ours);
    bench.counters["ms_max"] = *std::max_element(ours.begin(), ours.end());
    bench.counters["cpu_ms"] = static_cast<double>(cpu_ours) / 1e6 / kConversations;
    bench.counters["ms_not_cached"] = median(cold);
    bench.counters["GB_per_cpu_s"] = bytes / static_cast<double>(cpu_ours);
    bench.counters["plain_GB_per_cpu_s"] = static_cast<double>(read) / static_cast<double>(cpu_theirs);
    bench.counters["share_of_read_bandwidth_cpu"] = (bytes / static_cast<double>(cpu_ours)) / (static_cast<double>(read) / static_cast<double>(cpu_theirs));
    bench.counters["share_of_read_bandwidth"] = (bytes / sum(ours)) / (static_cast<double>(read) / sum(theirs));
    bench.counters["disk_over_unique"] = static_cast<double>(on_disk) / static_cast<double>(unique);
  }
  fs::remove_all(folder);
}

BENCHMARK(BM_Fork100)->Arg(0)->Arg(1)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Restore100)->Arg(0)->Arg(1)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::engine
