#include "lpu/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::lpu {
namespace {

constexpr const char* kColours[kUnitCount] = {"#2563a8", "#3a9a5b", "#c4622d"};

std::string escape(std::string_view text) {
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

std::string gib(double bytes) { return fmt::format("{:.2f}", bytes / (1ull << 30)); }

std::string_view unit_name(Unit unit) { return kUnitNames[static_cast<int>(unit)]; }

}  // namespace

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
  }
  return out;
}

std::string to_csv(const Schedule& schedule, const Workload& work) {
  std::string out = "stage,unit,start,end,ready,bytes,op,label\n";
  for (const Slot& s : schedule.slots) {
    const Work& op = work.ops[s.op];
    out += fmt::format("{},{},{},{},{},{},{},{}\n", s.stage, unit_name(s.unit), s.start, s.start + s.busy, s.ready, s.bytes, op.name, op.label);
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
  return out + "\n]}\n";
}

std::string to_svg(const Schedule& schedule, const Workload& work, uint64_t stages_max) {
  constexpr double kWidth = 1100, kRow = 14, kLeft = 110;
  const auto stages = std::min<uint64_t>(schedule.stages.size(), stages_max);
  const double height = static_cast<double>(stages * kUnitCount) * kRow + 30;
  const double scale = kWidth / static_cast<double>(std::max<uint64_t>(schedule.cycles, 1));
  std::string out = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"10\">\n",
                                kWidth + kLeft + 10, height);
  for (uint64_t i = 0; i < stages * kUnitCount; ++i) {
    out += fmt::format("<text x=\"2\" y=\"{}\">stage {} {}</text>\n", static_cast<double>(i + 1) * kRow - 3, i / kUnitCount, kUnitNames[i % kUnitCount]);
  }
  for (const Slot& s : schedule.slots) {
    if (s.stage >= stages) continue;
    const auto unit = static_cast<uint64_t>(s.unit);
    out += fmt::format("<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{} {}: cycles {} to {}</title></rect>\n",
                       kLeft + static_cast<double>(s.start) * scale, static_cast<double>(s.stage * kUnitCount + unit) * kRow + 1,
                       std::max(static_cast<double>(s.busy) * scale, 0.3), kRow - 2, kColours[unit], escape(work.ops[s.op].label),
                       escape(work.ops[s.op].name), s.start, s.start + s.busy);
  }
  out += fmt::format("<text x=\"{}\" y=\"{}\">{} cycles; {} of {} stages; link rows are what the stage sends</text>\n</svg>\n", kLeft, height - 8,
                     schedule.cycles, stages, schedule.stages.size());
  return out;
}

std::string to_html(std::span<const Report> reports, const Schedule* schedule, const Workload& work, const Chip& chip) {
  std::string out = fmt::format(
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0} on {1}</title><style>body{{font:14px sans-serif;margin:2em;max-width:1250px}}"
      "td,th{{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}}pre{{overflow:auto}}</style><h1>{0} on {1}</h1>"
      "<p>{2} bits a matrix weight, {3} tokens of context, {4} user(s). A prediction of a static schedule, not a measurement; joules are of the stated "
      "users in flight. Latencies fitted on two published results only.</p><pre>{5}</pre>",
      escape(work.name), escape(chip.name), work.bits, work.context, work.users, escape(to_table(reports)));
  if (schedule != nullptr) {
    out += "<h2>Units over one token</h2>" + to_svg(*schedule, work, 8) + "<h2>Stages</h2><table><tr><th>stage<th>layers<th>chips<th>weights<th>KV<th>state"
           "<th>activations (bytes a chip)<th>cycles</tr>";
    for (size_t i = 0; i < schedule->stages.size(); ++i) {
      const Stage& s = schedule->stages[i];
      out += fmt::format("<tr><td>{}<td>{}-{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>", i, s.first_layer, s.first_layer + s.layers - 1, s.chips, s.weights,
                         s.kv, s.state, s.activations, s.occupied);
    }
    out += "</table>";
  }
  out += "<h2>Chip values</h2><p>P page read, N notes of a paper, S press, C computed, I inference or assumption, R recalled, M measured on the machine</p>"
         "<table><tr><th>value<th><th>grade<th>source</tr>";
  for (const Provenance& p : chip.provenance) {
    out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}</tr>", escape(p.field), escape(p.value), escape(p.grade), escape(p.source));
  }
  for (const Published& p : chip.published) {
    out += fmt::format("<tr><td>published: {} on {} chips<td>{} tokens/s a user<td>{}<td>{}</tr>", escape(p.model), p.chips, p.tokens_per_s_user,
                       escape(p.grade), escape(p.source));
  }
  return out + "</table></html>\n";
}

}  // namespace sluice::lpu
