#include "cli/timing_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/sampler.h"
#include "platform/clock.h"

namespace sluice::cli {
namespace {

constexpr int32_t kToken = 5;        // any: no kernel's time depends on it
constexpr int kFilledByte = 0x2C;    // keys and values of a depth that nobody computed: small numbers in every KV type

double seconds(uint64_t ns) { return 1e-9 * static_cast<double>(ns); }

nlohmann::ordered_json json_of(const Spread& s) { return {{"median", s.median}, {"low", s.low}, {"high", s.high}}; }

struct Timed {
  double wall = 0, cpu = 0;
};

template <typename Run>
Result<Timed> timed(Run& run) {
  const uint64_t begin = platform::now_ns(), begin_cpu = platform::process_cpu_ns();
  SLUICE_TRY_VOID(run());
  return Timed{seconds(platform::now_ns() - begin), seconds(platform::process_cpu_ns() - begin_cpu)};
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

void print(const Figure& f) {
  fmt::print("{:<22}{:>9.1f} tokens/s ({:.1f} - {:.1f}), {:.0f} % of the predicted {:.1f}; {:.1f} % of {} ({:.1f} by CPU time, {:.0f} % of it ours)", f.what,
             f.tokens_per_second.median, f.tokens_per_second.low, f.tokens_per_second.high, 100 * f.tokens_per_second.median / f.predicted.median,
             f.predicted.median, 100 * f.share.median, f.of, 100 * f.cpu_share.median, 100 * f.got.median);
  if (!f.peer_error.empty()) fmt::print("; {}", f.peer_error);
  if (f.ratio) fmt::print("; {:.2f} x the peer's {:.1f} ({:.2f} - {:.2f})", f.ratio->median, f.peer->median, f.ratio->low, f.ratio->high);
  fmt::print("\n");
  std::fflush(stdout);
}

nlohmann::ordered_json json_of(const Figure& f) {
  nlohmann::ordered_json out = {{"what", f.what},
                                {"threads", f.threads},
                                {"tokens_per_second", json_of(f.tokens_per_second)},
                                {"of", f.of},
                                {"share", json_of(f.share)},
                                {"cpu_share", json_of(f.cpu_share)},
                                {"cpu_got", json_of(f.got)},
                                {"predicted_tokens_per_second", json_of(f.predicted)}};
  if (!f.peer_error.empty()) out["peer_error"] = f.peer_error;
  if (f.ratio) {
    out["peer_tokens_per_second"] = json_of(*f.peer);
    out["ratio"] = json_of(*f.ratio);
    out["peer_peak_rss"] = f.peer_rss;
  }
  return out;
}

// What a case does: `tokens` a round in steps of `shapes`.
struct Bench::Case {
  std::string what;
  double tokens;
  std::vector<StepShape> shapes;
  bool bound_by_bytes;
  PeerCase peer;
};

template <typename Run>
Result<Figure> Bench::figure(const Case& what, Run run) {
  Figure out;
  out.what = what.what;
  out.threads = model_.runtime->options().threads;
  out.of = what.bound_by_bytes ? "read bandwidth" : "int8 rate";
  Cost cost;
  for (const StepShape& shape : what.shapes) cost += cost_of(program(), shape);
  const Peer peer{what.peer.sequences > 1 ? options_.peer_batched : options_.peer, options_.peer_arguments, options_.model.path, out.threads};
  std::vector<double> speed, share, cpu_share, got, predicted, peers, ratios;
  for (uint64_t round = 0; round <= options_.repeats; ++round) {
    double theirs = 0;
    // A peer that fails costs the comparison, not our own figure (it may not know the file, or lack memory for this case).
    const auto run_peer = [&] {
      const Result<PeerResult> result = run_peer_once(peer, what.peer);
      if (!result.ok()) {
        out.peer_error = result.error().message;
        return;
      }
      theirs = result->tokens_per_second;
      out.peer_rss = std::max(out.peer_rss, result->peak_rss);
    };
    const auto with_peer = [&] { return !peer.program.empty() && round > 0 && out.peer_error.empty(); };
    if (with_peer() && round % 2 == 0) run_peer();
    const Limits before = meter_.measure();
    SLUICE_TRY(const Timed ours, timed(run));
    const Limits limits = between(before, meter_.measure());
    if (with_peer() && round % 2 == 1) run_peer();
    if (round == 0) continue;  // warm-up
    double shortest = 0;
    for (const StepShape& shape : what.shapes) shortest += shortest_seconds(program(), shape, limits, false);
    const double work = what.bound_by_bytes ? cost.bytes : cost.int8_operations;
    const Rate& rate = what.bound_by_bytes ? limits.bytes : limits.int8;
    speed.push_back(what.tokens / ours.wall);
    share.push_back(work / ours.wall / rate.wall);
    cpu_share.push_back(work * out.threads / ours.cpu / rate.cpu);
    got.push_back(ours.cpu / ours.wall / out.threads);
    predicted.push_back(what.tokens / shortest);
    if (!with_peer()) continue;
    peers.push_back(theirs);
    ratios.push_back(what.tokens / ours.wall / theirs);
  }
  out.tokens_per_second = spread_of(speed);
  out.share = spread_of(share);
  out.cpu_share = spread_of(cpu_share);
  out.got = spread_of(got);
  out.predicted = spread_of(predicted);
  if (!ratios.empty()) {
    out.peer = spread_of(peers);
    out.ratio = spread_of(ratios);
  }
  return out;
}

StepShape Bench::shape_of(uint64_t rows, uint64_t sequences, uint64_t depth) const {
  return {.rows = rows, .sequences = sequences, .depth = depth, .kv_type = model_.runtime->options().kv_type, .logits = true};
}

// A conversation of `depth` tokens that were not computed: its keys and values are a constant, which takes a decode step as long as any others.
Result<std::unique_ptr<engine::Session>> Bench::filled(uint64_t depth, uint64_t more) {
  SLUICE_TRY(auto session, engine::Session::create(*model_.runtime, depth + more));
  session->adopt(std::vector<int32_t>(depth, kToken));
  for (size_t i = 0; i < session->pages_used(); ++i) std::memset(session->page(i).data(), kFilledByte, session->page(i).size());
  return session;
}

Result<Figure> Bench::prefill(uint64_t tokens) {
  Case what{fmt::format("prefill {}", tokens), static_cast<double>(tokens), {}, false, {.prompt = tokens, .generate = 0, .depth = 0, .sequences = 1}};
  for (uint64_t done = 0; done < tokens; done += model_.runtime->sizes().rows_max) {
    const uint64_t rows = std::min(tokens - done, model_.runtime->sizes().rows_max);
    what.shapes.push_back(shape_of(rows, 1, done));
    what.shapes.back().logits = done + rows == tokens;
  }
  SLUICE_TRY(auto session, engine::Session::create(*model_.runtime, tokens));
  const std::vector<int32_t> ids(tokens, kToken);
  return figure(what, [&]() -> Status {
    session->reset();
    return session->feed(ids, {});
  });
}

Result<Figure> Bench::decode(uint64_t depth) {
  const Case what{fmt::format("decode at {}", depth), static_cast<double>(options_.decode), std::vector<StepShape>(options_.decode, shape_of(1, 1, depth)),
                  true,
                  {.prompt = 0, .generate = options_.decode, .depth = depth, .sequences = 1}};
  SLUICE_TRY(auto session, filled(depth, options_.decode * (options_.repeats + 1) + 1));
  SLUICE_TRY_VOID(session->feed(std::vector<int32_t>{kToken}, {}));
  return figure(what, [&]() -> Status {
    for (uint64_t i = 0; i < options_.decode; ++i) {
      const int32_t next[] = {engine::argmax(session->logits())};
      SLUICE_TRY_VOID(session->feed(next, {}));
    }
    return {};
  });
}

Result<Figure> Bench::together(uint64_t sequences, uint64_t depth) {
  const program::PlanSizes& sizes = model_.runtime->sizes();
  if (sequences > sizes.rows_max || sequences > sizes.logit_rows_max) {
    return Error{fmt::format("--sequences {}: a step holds {} rows, of which {} have logits", sequences, sizes.rows_max, sizes.logit_rows_max)};
  }
  const Case what{fmt::format("{} together at {}", sequences, depth), static_cast<double>(sequences * options_.decode),
                  std::vector<StepShape>(options_.decode, shape_of(sequences, sequences, depth)), true,
                  {.prompt = 0, .generate = options_.decode, .depth = depth, .sequences = sequences}};
  std::vector<std::unique_ptr<engine::Session>> sessions;
  std::vector<runtime::StepRow> rows;
  for (uint64_t i = 0; i < sequences; ++i) {
    SLUICE_TRY(auto session, filled(depth, options_.decode * (options_.repeats + 1) + 1));
    rows.push_back({kToken, static_cast<int32_t>(depth), &session->sequence(), true});
    sessions.push_back(std::move(session));
  }
  return figure(what, [&]() -> Status {
    for (uint64_t i = 0; i < options_.decode; ++i) {
      SLUICE_TRY_VOID(model_.runtime->step(rows));
      for (size_t r = 0; r < rows.size(); ++r) {
        rows[r].token = engine::argmax(model_.runtime->logits(r));
        ++rows[r].position;
      }
    }
    return {};
  });
}

template <typename Run>
Result<ProfileTable> Bench::profile(const std::string& step, uint64_t steps, const StepShape& shape, Run run) {
  SLUICE_TRY_VOID(run());  // warm-up
  const Limits before = meter_.measure();
  runtime::Profile profile(program().ops.size(), model_.runtime->options().threads);
  std::vector<double> wall, cpu;
  for (uint64_t round = 0; round < options_.repeats; ++round) {
    SLUICE_TRY(const Timed plain, timed(run));
    wall.push_back(plain.wall / static_cast<double>(steps));
    cpu.push_back(plain.cpu / static_cast<double>(steps) / profile.threads());
    model_.runtime->set_profile(&profile);
    const Status status = run();
    model_.runtime->set_profile(nullptr);
    SLUICE_TRY_VOID(status);
  }
  ProfileTable table = profile_table(program(), profile, steps * options_.repeats, shape, between(before, meter_.measure()));
  table.step = step;
  table.step_seconds = spread_of(cpu).median;
  table.wall_seconds = spread_of(wall).median;
  return table;
}

Result<ProfileTable> Bench::profile_prefill(uint64_t tokens) {
  const uint64_t rows = std::min(tokens, model_.runtime->sizes().rows_max);
  SLUICE_TRY(auto session, engine::Session::create(*model_.runtime, rows));
  const std::vector<int32_t> ids(rows, kToken);
  return profile(fmt::format("prefill, {} rows", rows), 1, shape_of(rows, 1, 0), [&]() -> Status {
    session->reset();
    return session->feed(ids, {});
  });
}

Result<ProfileTable> Bench::profile_decode(uint64_t depth) {
  SLUICE_TRY(auto session, filled(depth, options_.decode * (2 * options_.repeats + 1) + 1));
  SLUICE_TRY_VOID(session->feed(std::vector<int32_t>{kToken}, {}));
  return profile(fmt::format("decode at {}", depth), options_.decode, shape_of(1, 1, depth), [&]() -> Status {
    for (uint64_t i = 0; i < options_.decode; ++i) {
      const int32_t next[] = {engine::argmax(session->logits())};
      SLUICE_TRY_VOID(session->feed(next, {}));
    }
    return {};
  });
}

}  // namespace sluice::cli
