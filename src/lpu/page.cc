// The page of export.h: what an architect would mail to a colleague. One file; its pictures are inside, and it fetches
// nothing.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lpu/export.h"

namespace sluice::lpu {
namespace {

constexpr uint64_t kStagesDrawn = 8;

constexpr const char* kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;margin:2em auto;max-width:1180px;padding:0 "
    "1em}h1{font-size:1.6em;margin:0}"
    "h2{font-size:1.15em;margin:2em 0 .4em;border-bottom:2px solid "
    "#2563a8}table{border-collapse:collapse;font-size:13px;margin:.6em 0}"
    "td,th{padding:3px 8px;border-bottom:1px solid "
    "#ddd;text-align:right;white-space:nowrap}td:first-child,th:first-child,.t,.m{text-align:left}"
    ".t{white-space:normal}th{background:#f1f3f5;vertical-align:bottom}.cards{display:flex;flex-wrap:wrap;gap:10px;"
    "margin:1.2em 0}"
    ".card{border:1px solid #d5dbe1;border-radius:6px;padding:8px 14px;min-width:130px}.card "
    "b{display:block;font-size:1.5em}.card span{color:#666;font-size:12px}"
    ".note{color:#555;font-size:13px}.scroll{overflow-x:auto}.I,.R{background:#fff3e0}svg{margin:.4em 0}";

std::string card(const std::string& number, const std::string& what) {
  return fmt::format("<div class=\"card\"><b>{}</b><span>{}</span></div>", number, what);
}

std::string size_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit < 4) bytes /= 1024, ++unit;
  return fmt::format("{:.{}f} {}", bytes, bytes < 10 && unit > 0 ? 2 : bytes < 100 && unit > 0 ? 1 : 0, units[unit]);
}

std::string head(const Report& r, const Workload& work) {
  std::string out = fmt::format(
      "<h1>{} on {}</h1><p class=\"note\">One decode step, predicted from a static schedule that passed its verifier; "
      "nothing here was "
      "measured on such a chip. {}-bit matrices, 16-bit keys and values, {} tokens of context, {} user(s), of whom {} "
      "in flight.</p>",
      xml_escape(r.model), xml_escape(r.chip), work.bits, r.context, r.users, r.in_flight);
  out += "<div class=\"cards\">";
  out += card(fmt::format("{}", r.chips), fmt::format("chips in {} stage(s)", r.stages));
  out += card(fmt::format("{:.0f} us", 1e6 * r.latency_s), "a token");
  out += card(fmt::format("{:.0f}", r.user_tokens_per_s), "tokens/s a user");
  out += card(fmt::format("{:.0f}", r.total_tokens_per_s), "tokens/s in all");
  out += card(fmt::format("{:.3g} J", r.energy_j),
              fmt::format("a token, {:.0f} % of it idle power", 100 * r.idle_j / std::max(r.energy_j, 1e-12)));
  out +=
      card(r.longest_context > 0 ? fmt::format("{}K", r.longest_context / 1024) : "-", "tokens of context fit at most");
  if (!r.roofline) out += card(fmt::format("{:.1f} %", 100 * r.fullest_slice), "of the fullest SRAM slice");
  return out + "</div>";
}

std::string comparison(std::span<const Report> reports) {
  std::string out =
      "<h2>Compared</h2><div class=\"scroll\"><table><tr><th>model<th class=\"m\">machine<th>chips<th>stages<th>us a "
      "token<th>roofline us<th>tokens/s"
      "<br>a user<th>tokens/s<br>in all<th>in flight<th>J a "
      "token<th>longest<br>context<th>matrix<br>busy<th>links<br>busy<th>published<br>tokens/s<th>error</tr>";
  for (const Report& r : reports) {
    const bool known = r.published_tokens_per_s > 0;
    out += fmt::format(
        "<tr><td>{}<td "
        "class=\"m\">{}{}<td>{}<td>{}<td>{:.0f}<td>{:.1f}<td>{:.0f}<td>{:.0f}<td>{}<td>{:.3g}<td>{}<td>{:.1f} "
        "%<td>{:.1f} %<td>{}<td>{}</tr>",
        xml_escape(r.model), xml_escape(r.chip), r.roofline ? " (roofline)" : "", r.chips, r.stages, 1e6 * r.latency_s,
        1e6 * r.roofline_s, r.user_tokens_per_s, r.total_tokens_per_s, r.in_flight, r.energy_j, r.longest_context,
        100 * r.utilisation[0], 100 * r.utilisation[2], known ? fmt::format("{:.0f}", r.published_tokens_per_s) : "",
        known ? fmt::format("{:+.0f} %", 100 * r.error()) : "");
  }
  return out +
         "</table></div><p class=\"note\">Roofline: the larger of bytes over all SRAM bandwidth and operations over "
         "all units, with nothing waiting. Error: "
         "predicted over published, where a speed of this model on as many of these chips was published. Rates and "
         "joules are of the users in flight.</p>";
}

// Slots by name of op, the longest first.
std::string ops_table(const Schedule& schedule, const Workload& work, const Chip& chip) {
  struct Sum {
    uint64_t slots = 0, cycles[kUnitCount] = {}, fed = 0, sent = 0;
  };
  std::map<std::string, Sum> sums;
  for (const Slot& slot : schedule.slots) {
    Sum& s = sums[work.ops[slot.op].name];
    ++s.slots;
    s.cycles[static_cast<int>(slot.unit)] += slot.busy;
    (slot.unit == Unit::kLink ? s.sent : s.fed) += slot.bytes;
  }
  std::vector<std::pair<std::string, Sum>> rows(sums.begin(), sums.end());
  const auto total = [](const Sum& s) { return s.cycles[0] + s.cycles[1] + s.cycles[2]; };
  std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return total(a.second) > total(b.second); });
  std::string out =
      "<h2>By kind of op</h2><table><tr><th>op, and what is moved for it<th>slots<th>matrix us<th>vector us<th>links "
      "us<th>fed, a chip<th>sent, a chip</tr>";
  const auto us = [&](uint64_t cycles) { return 1e6 * static_cast<double>(cycles) / chip.clock_hz; };
  for (const auto& [name, s] : rows) {
    out += fmt::format("<tr><td>{}<td>{}<td>{:.2f}<td>{:.2f}<td>{:.2f}<td>{}<td>{}</tr>", xml_escape(name), s.slots,
                       us(s.cycles[0]), us(s.cycles[1]), us(s.cycles[2]), size_text(static_cast<double>(s.fed)),
                       size_text(static_cast<double>(s.sent)));
  }
  return out + "</table>";
}

std::string stages_table(const Schedule& schedule, const Chip& chip) {
  std::string out =
      "<h2>Stages</h2><table><tr><th>stage<th>layers<th>chips<th>weights<th>KV<th>state<th>activations<th>SRAM in "
      "use<th>a token keeps it</tr>";
  const SliceMap map(chip);
  for (size_t i = 0; i < schedule.stages.size(); ++i) {
    const Stage& s = schedule.stages[i];
    const auto each = [](uint64_t bytes) { return size_text(static_cast<double>(bytes)); };
    out += fmt::format("<tr><td>{}<td>{} to {}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.1f} %<td>{:.1f} us</tr>", i,
                       s.first_layer, s.first_layer + s.layers - 1, s.chips, each(s.weights), each(s.kv), each(s.state),
                       each(s.activations), 100 * static_cast<double>(s.lines) / static_cast<double>(map.lines),
                       1e6 * static_cast<double>(s.occupied) / chip.clock_hz);
  }
  return out + fmt::format(
                   "</table><p class=\"note\">Bytes of one chip. The next user's token may start {:.1f} us after this "
                   "one's: no two then meet in a unit, a "
                   "link or a stage's memory.</p>",
                   1e6 * static_cast<double>(schedule.interval) / chip.clock_hz);
}

std::string scheduled_part(std::span<const Report> reports, const Schedule& schedule, const Workload& work,
                           const Chip& chip) {
  const auto fullest = std::max_element(schedule.stages.begin(), schedule.stages.end(),
                                        [](const Stage& a, const Stage& b) { return a.lines < b.lines; });
  std::string out = "<h2>Where a token's time goes</h2>" + parts_svg(reports);
  out += "<p class=\"note\">Every cycle counts once, for the first of these that happens somewhere on the machine.</p>";
  out += "<h2>SRAM of a chip, slice by slice</h2>" +
         slices_svg(schedule, chip, static_cast<uint32_t>(fullest - schedule.stages.begin()));
  out +=
      "<p class=\"note\">Weights, KV and state are spread over all slices; a value lies in a strip of neighbouring "
      "ones. A slice is read by one and written by "
      "one user a cycle, both at once in different banks only: who comes second waits, and the verifier proves it.</p>";
  out += "<h2>Units over one token</h2>" + to_svg(schedule, work, chip, kStagesDrawn);
  return out + ops_table(schedule, work, chip) + stages_table(schedule, chip);
}

std::string assumptions(const Workload& work) {
  return fmt::format(
      "<h2>Assumed</h2><ul class=\"note\"><li>{}-bit matrices, activations multiplied in that type and kept in 16 "
      "bits, 32-bit partial sums and "
      "recurrent state. A norm's weights are part of the matrix that follows.<li>Two latencies, fitted on two "
      "published results of LPU v1 (fp16 "
      "matmul utilisation, BERT-base), apply to every chip.<li>Chips of a stage split every op evenly and run in "
      "lockstep; all experts are "
      "resident, so a token takes the same cycles whichever the router picks.<li>Energy is idle power over the rate, "
      "multiply-adds and SRAM bytes; "
      "links cost nothing.<li>Prefill, batching within a step and speculation are not modelled; users share the "
      "machine as a pipeline only.</ul>",
      work.bits);
}

std::string chip_table(const Chip& chip) {
  const auto guessed = std::count_if(chip.provenance.begin(), chip.provenance.end(),
                                     [](const Provenance& p) { return p.grade == "I" || p.grade == "R"; });
  std::string out = fmt::format(
      "<h2>Values of {}</h2><p class=\"note\">P page read, N notes of a paper, S press, C computed, M measured on the "
      "machine; shaded: I "
      "inference or assumption, R recalled: {} of {}.</p><table><tr><th>value<th><th>grade<th class=\"t\">source</tr>",
      xml_escape(chip.name), guessed, chip.provenance.size());
  for (const Provenance& p : chip.provenance) {
    out += fmt::format("<tr class=\"{2}\"><td>{0}<td>{1}<td>{2}<td class=\"t\">{3}</tr>", xml_escape(p.field),
                       xml_escape(p.value), xml_escape(p.grade), xml_escape(p.source));
  }
  for (const Published& p : chip.published) {
    out += fmt::format("<tr><td>published: {} on {} chips<td>{} tokens/s a user<td>{}<td class=\"t\">{}</tr>",
                       xml_escape(p.model), p.chips, p.tokens_per_s_user, xml_escape(p.grade), xml_escape(p.source));
  }
  return out + "</table>";
}

}  // namespace

std::string to_html(std::span<const Report> reports, const Schedule* schedule, const Workload& work, const Chip& chip) {
  std::string out = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>{} on "
      "{}</title><style>{}</style></head><body>",
      xml_escape(work.name), xml_escape(chip.name), kStyle);
  if (!reports.empty()) out += head(reports[0], work);
  out += comparison(reports);
  if (schedule != nullptr) out += scheduled_part(reports, *schedule, work, chip);
  return out + assumptions(work) + chip_table(chip) + "</body></html>\n";
}

}  // namespace sluice::lpu
