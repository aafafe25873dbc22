#include "lpu/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace sluice::lpu {
namespace {

std::string gib(double bytes) { return fmt::format("{:.2f}", bytes / (1ull << 30)); }

std::string_view unit_name(Unit unit) { return kUnitNames[static_cast<int>(unit)]; }

// "r0-43@120+14 w8-16@530+2": slices read and written, from which cycle and how long.
std::string accesses_text(const Slot& slot) {
  std::string out;
  for (const Access& a : slot.accesses) {
    out += fmt::format("{}{}{}-{}@{}+{}", out.empty() ? "" : " ", a.write ? 'w' : 'r', a.strip.slice, a.strip.slice + a.strip.slices - 1, a.from,
                       a.until - a.from);
  }
  return out;
}

// How many slices of a stage's chip are read and written, over time.
std::string slice_counters(const Schedule& schedule, double us) {
  std::map<std::pair<uint32_t, uint64_t>, std::pair<int64_t, int64_t>> changes;  // by stage and cycle: of reads, of writes
  for (const Slot& slot : schedule.slots) {
    for (const Access& a : slot.accesses) {
      const auto add = [&](uint64_t cycle, int64_t slices) {
        auto& [reads, writes] = changes[{a.stage, cycle}];
        (a.write ? writes : reads) += slices;
      };
      add(a.from, a.strip.slices);
      add(a.until, -int64_t{a.strip.slices});
    }
  }
  std::string out;
  int64_t reads = 0, writes = 0;
  for (const auto& [at, change] : changes) {
    reads += change.first;
    writes += change.second;
    out += fmt::format(",\n{{\"ph\":\"C\",\"name\":\"slices\",\"pid\":{},\"ts\":{:.4f},\"args\":{{\"read\":{},\"written\":{}}}}}", at.first,
                       static_cast<double>(at.second) * us, reads, writes);
  }
  return out;
}

}  // namespace

std::string xml_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string to_json(std::span<const Report> reports) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Report& r : reports) {
    out.push_back({{"chip", r.chip}, {"model", r.model}, {"chips", r.chips}, {"stages", r.stages}, {"context", r.context}, {"users", r.users},
                   {"in_flight", r.in_flight}, {"latency_s", r.latency_s}, {"tokens_per_s_user", r.user_tokens_per_s},
                   {"tokens_per_s_total", r.total_tokens_per_s}, {"joules_per_token", r.energy_j}, {"idle_joules_per_token", r.idle_j},
                   {"bytes", {{"weights", r.weights}, {"kv", r.kv}, {"state", r.state}, {"activations", r.activations}, {"capacity", r.capacity}}},
                   {"utilisation", {{"matrix", r.utilisation[0]}, {"vector", r.utilisation[1]}, {"link", r.utilisation[2]}}},
                   {"longest_context", r.longest_context},
                   {"roofline_s", r.roofline_s}});
    if (!r.roofline) {
      for (int p = 0; p < kPartCount; ++p) out.back()["seconds"][kPartNames[p]] = r.part_s[p];
      out.back()["slices"] = {{"fullest", r.fullest_slice}, {"read_ports", r.read_ports}, {"write_ports", r.write_ports}};
    }
    if (r.published_tokens_per_s > 0) {
      out.back()["published_tokens_per_s_user"] = r.published_tokens_per_s;
      out.back()["error"] = r.error();
    }
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string to_table(std::span<const Report> reports) {
  std::string out = fmt::format("{:<20} {:<16}{:>6}{:>7}{:>9}{:>6}{:>7}{:>11}{:>11}{:>12}{:>10}{:>10}{:>9}{:>10}{:>8}\n", "model", "chip", "chips", "stages",
                                "context", "users", "flight", "us/token", "tok/s/user", "tok/s total", "J/token", "idle J", "roof us", "published", "error");
  for (const Report& r : reports) {
    const bool known = r.published_tokens_per_s > 0;
    out += fmt::format("{:<20} {:<16}{:>6}{:>7}{:>9}{:>6}{:>7}{:>11.1f}{:>11.1f}{:>12.1f}{:>10.3f}{:>10.3f}{:>9.1f}{:>10}{:>8}\n", r.model, r.chip, r.chips,
                       r.stages, r.context, r.users, r.in_flight, r.latency_s * 1e6, r.user_tokens_per_s, r.total_tokens_per_s, r.energy_j, r.idle_j,
                       r.roofline_s * 1e6, known ? fmt::format("{:.0f}", r.published_tokens_per_s) : "-",
                       known ? fmt::format("{:+.0f}%", 100 * r.error()) : "-");
    out += fmt::format("  GiB: weights {}, KV {}, state {}, activations {}, of {}; longest context {}; busy: matrix {:.1f}%, vector {:.1f}%, links {:.1f}%\n",
                       gib(r.weights), gib(r.kv), gib(r.state), gib(r.activations), gib(r.capacity), r.longest_context, 100 * r.utilisation[0],
                       100 * r.utilisation[1], 100 * r.utilisation[2]);
    if (r.roofline) continue;
    out += fmt::format("  slices: the fullest {:.1f}%, ports busy reading {:.2f}%, writing {:.2f}%; us:", 100 * r.fullest_slice, 100 * r.read_ports,
                       100 * r.write_ports);
    for (int p = 0; p < kPartCount; ++p) out += fmt::format(" {} {:.1f}{}", kPartNames[p], 1e6 * r.part_s[p], p + 1 < kPartCount ? "," : "\n");
  }
  return out;
}

std::string to_csv(const Schedule& schedule, const Workload& work) {
  std::string out = "stage,unit,start,end,ready,bytes,op,label,slices\n";
  for (const Slot& s : schedule.slots) {
    const Work& op = work.ops[s.op];
    out += fmt::format("{},{},{},{},{},{},{},{},{}\n", s.stage, unit_name(s.unit), s.start, s.start + s.busy, s.ready, s.bytes, op.name, op.label,
                       accesses_text(s));
  }
  return out;
}

std::string to_trace(const Schedule& schedule, const Workload& work, const Chip& chip) {
  const double us = 1e6 / chip.clock_hz;
  std::string out = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  for (size_t i = 0; i < schedule.stages.size(); ++i) {
    out += fmt::format("{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{},\"args\":{{\"name\":\"stage {}, {} chips\"}}}},\n", i, i,
                       schedule.stages[i].chips);
    for (int u = 0; u < kUnitCount; ++u) {
      out += fmt::format("{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{},\"tid\":{},\"args\":{{\"name\":\"{}\"}}}},\n", i, u, kUnitNames[u]);
    }
  }
  bool first = true;
  for (const Slot& s : schedule.slots) {
    const nlohmann::json name = work.ops[s.op].label + " " + work.ops[s.op].name;
    out += fmt::format("{}{{\"ph\":\"X\",\"name\":{},\"pid\":{},\"tid\":{},\"ts\":{:.4f},\"dur\":{:.4f}}}", first ? "" : ",\n",
                       name.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), s.stage, static_cast<int>(s.unit),
                       static_cast<double>(s.start) * us, static_cast<double>(s.busy) * us);
    first = false;
  }
  return out + slice_counters(schedule, us) + "\n]}\n";
}

}  // namespace sluice::lpu
