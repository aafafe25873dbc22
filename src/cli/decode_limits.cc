#include "cli/decode_limits.h"

#include <algorithm>

#include "cli/timing_cost.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kReadBytes = 256ull << 20;

}  // namespace

server::DecodeLimits decode_limits(const library::LoadedModel& model) {
  const runtime::Runtime& runtime = *model.runtime;
  const auto bytes = [&](uint64_t sequences, uint64_t depth) {
    return cost_of(runtime.program(), StepShape{.rows = sequences, .sequences = sequences, .depth = depth, .kv_type = runtime.options().kv_type}).bytes;
  };
  const double one = bytes(1, 0), deep = bytes(1, model.context);
  // Of the second conversation only its state and its keys are new (and the experts that the first did not ask for).
  server::DecodeLimits out{.conversation_bytes = bytes(2, 0) - one, .position_bytes = (deep - one) / static_cast<double>(model.context)};
  out.step_bytes = one - out.conversation_bytes;
  const std::span<const std::byte> weights = runtime.weights();
  const Result<std::unique_ptr<LimitMeter>> meter = LimitMeter::over(weights.first(std::min<size_t>(weights.size(), kReadBytes)), runtime.options().threads,
                                                                    runtime.options().isa);
  if (meter.ok()) out.read_bytes_per_s = (*meter)->measure_reading().wall;
  return out;
}

}  // namespace sluice::cli
