#include "runtime/runtime.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "platform/clock.h"
#include "runtime/barriers.h"
#include "runtime/bind.h"
#include "runtime/bound_ops.h"

namespace sluice::runtime {

using program::Program;

struct Runtime::Impl {
  platform::AnonymousMapping arena;
  std::unique_ptr<platform::ThreadPool> pool;
  std::unique_ptr<platform::Barrier> barrier;
  std::vector<BoundOp> ops;

  // The step's inputs, sized at load.
  std::vector<int32_t> tokens, positions, logit_rows;
  std::vector<kernels::KvRow> kv_rows;
  std::vector<kernels::StateSegment> segments;
  Step step;
  Profile* profile = nullptr;

  // Scratch of each thread.
  std::vector<platform::AnonymousMapping> scratch_memory;
  std::vector<Scratch> scratch;
};

Runtime::Runtime(Program program, const program::PlanSizes& sizes, std::span<const std::byte> weights, std::shared_ptr<const void> owner,
                 const Options& options)
    : program_(std::move(program)), sizes_(sizes), weights_(weights), owner_(std::move(owner)), options_(options), impl_(std::make_unique<Impl>()) {}

Runtime::~Runtime() = default;

Result<std::unique_ptr<Runtime>> Runtime::create(Program program, const program::PlanSizes& sizes, std::span<const std::byte> weights,
                                                 std::shared_ptr<const void> owner, const Options& options) {
  SLUICE_TRY_VOID(program::verify(program));
  SLUICE_TRY_VOID(program::verify_plan(program, sizes));
  if (weights.size() < sizes.weight_bytes) {
    return Error{fmt::format("package: {} bytes of weights, the program needs {}", weights.size(), sizes.weight_bytes)};
  }
  if (options.threads == 0 || options.threads > limits::kThreadsMax) {
    return Error{fmt::format("--threads {}: must be 1 to {}", options.threads, limits::kThreadsMax)};
  }
  std::unique_ptr<Runtime> runtime(new Runtime(std::move(program), sizes, weights, std::move(owner), options));
  SLUICE_TRY_VOID(runtime->bind());
  return runtime;
}

Status Runtime::bind() {
  Impl& impl = *impl_;
  SLUICE_TRY(impl.arena, platform::AnonymousMapping::map(std::max<uint64_t>(sizes_.arena_bytes, 64), platform::AnonymousMapping::Pages::kHuge));
  SLUICE_TRY(impl.ops, bind_ops(program_, sizes_, impl.arena.bytes().data(), weights_, options_));
  const std::vector<bool> barriers = barriers_before(program_, sizes_);
  for (size_t i = 0; i < impl.ops.size(); ++i) impl.ops[i].barrier_before = barriers[i];
  SLUICE_TRY(impl.pool, platform::ThreadPool::create(options_.threads));
  impl.barrier = std::make_unique<platform::Barrier>(options_.threads);
  impl.tokens.resize(sizes_.rows_max);
  impl.positions.resize(sizes_.rows_max);
  impl.kv_rows.resize(sizes_.rows_max);
  impl.segments.resize(sizes_.rows_max);
  impl.logit_rows.resize(sizes_.logit_rows_max);
  const ScratchSizes sizes = scratch_sizes(program_, sizes_, options_);
  for (uint32_t thread = 0; thread < options_.threads; ++thread) {
    SLUICE_TRY(auto memory, platform::AnonymousMapping::map(sizes.total_bytes(), platform::AnonymousMapping::Pages::kNormal));
    impl.scratch.push_back(cut_scratch(sizes, memory.bytes()));
    impl.scratch_memory.push_back(std::move(memory));
  }
  return {};
}

Status Runtime::prepare(std::span<const StepRow> rows) {
  Impl& impl = *impl_;
  SLUICE_CHECK(!rows.empty() && rows.size() <= sizes_.rows_max);
  size_t segment_count = 0, logit_count = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const StepRow& row = rows[r];
    if (row.token < 0 || static_cast<uint64_t>(row.token) >= program_.facts.vocabulary) {
      return Error{fmt::format("token id {} is outside the vocabulary of {}", row.token, program_.facts.vocabulary)};
    }
    SLUICE_CHECK(row.sequence != nullptr && row.position >= 0);
    impl.tokens[r] = row.token;
    impl.positions[r] = row.position;
    impl.kv_rows[r] = {row.sequence->pages, row.position};
    if (r > 0 && row.sequence == rows[r - 1].sequence) {
      SLUICE_CHECK(row.position == rows[r - 1].position + 1);
      impl.segments[segment_count - 1].row_end = r + 1;
    } else {
      impl.segments[segment_count++] = {r, r + 1, reinterpret_cast<float*>(row.sequence->state)};
    }
    if (row.wants_logits) {
      SLUICE_CHECK(logit_count < sizes_.logit_rows_max);
      impl.logit_rows[logit_count++] = static_cast<int32_t>(r);
    }
  }
  impl.step.tokens = std::span(impl.tokens).first(rows.size());
  impl.step.positions = std::span(impl.positions).first(rows.size());
  impl.step.kv_rows = std::span(impl.kv_rows).first(rows.size());
  impl.step.segments = std::span(impl.segments).first(segment_count);
  impl.step.logit_rows = std::span(impl.logit_rows).first(logit_count);
  impl.step.threads = options_.threads;
  ++impl.step.number;
  return {};
}

void Runtime::walk(uint32_t thread) {
  Impl& impl = *impl_;
  for (const BoundOp& bound : impl.ops) {
    if (bound.barrier_before) impl.barrier->wait();
    std::visit([&](const auto& op) { op.run(impl.step, impl.scratch[thread], thread); }, bound.op);
  }
}

void Runtime::walk_profiled(uint32_t thread) {
  Impl& impl = *impl_;
  const bool cpu = impl.profile->clocks() == Profile::Clocks::kWallAndCpu;
  for (size_t i = 0; i < impl.ops.size(); ++i) {
    const BoundOp& bound = impl.ops[i];
    Profile::Entry& entry = impl.profile->at(i, thread);
    const uint64_t before = platform::now_ns();
    if (bound.barrier_before) impl.barrier->wait();
    const uint64_t begin = platform::now_ns(), begin_cpu = cpu ? platform::thread_cpu_ns() : 0;
    std::visit([&](const auto& op) { op.run(impl.step, impl.scratch[thread], thread); }, bound.op);
    if (cpu) entry.cpu_ns += platform::thread_cpu_ns() - begin_cpu;
    entry.wall_ns += platform::now_ns() - begin;
    entry.wait_ns += begin - before;
  }
}

void Runtime::set_profile(Profile* profile) {
  SLUICE_CHECK(profile == nullptr || (profile->ops() == impl_->ops.size() && profile->threads() == options_.threads));
  impl_->profile = profile;
}

Status Runtime::step(std::span<const StepRow> rows, const Observer* observer) {
  SLUICE_TRY_VOID(prepare(rows));
  impl_->step.observer = observer;
  if (impl_->profile == nullptr) {
    impl_->pool->run([](void* self, uint32_t thread) { static_cast<Runtime*>(self)->walk(thread); }, this);
  } else {
    impl_->pool->run([](void* self, uint32_t thread) { static_cast<Runtime*>(self)->walk_profiled(thread); }, this);
  }
  return {};
}

std::span<const float> Runtime::logits(size_t i) const {
  SLUICE_CHECK(i < impl_->step.logit_rows.size());
  const program::Value& value = program_.value(program_.logits);
  const std::byte* row = impl_->arena.bytes().data() + value.offset + i * value.bytes;
  return {reinterpret_cast<const float*>(row), value.width};
}

}  // namespace sluice::runtime
