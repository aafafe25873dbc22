// The pictures of export.h.
#include <fmt/format.h>

#include <algorithm>

#include "lpu/export.h"

namespace sluice::lpu {
namespace {

constexpr const char* kColours[kUnitCount] = {"#2563a8", "#3a9a5b", "#c4622d"};
constexpr const char* kPartColours[kPartCount] = {"#2563a8", "#3a9a5b", "#c4622d", "#eebc8e", "#b9c6d6", "#eeeeee"};
constexpr const char* kPartTexts[kPartCount] = {"matrix unit works",
                                                "vector unit works",
                                                "links taken",
                                                "between chips",
                                                "slice fill and functional latency",
                                                "idle"};

double as(uint64_t v) {
  return static_cast<double>(v);
}

std::string begin(double width, double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"100%\" "
      "font-family=\"sans-serif\" font-size=\"11\" "
      "fill=\"#222\"><rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#fff\"/>\n",
      width, height);
}

std::string rect(double x, double y, double width, double height, std::string_view colour,
                 std::string_view title = "") {
  const std::string box = fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"",
                                      x, y, width, height, colour);
  return title.empty() ? box + "/>\n" : fmt::format("{}><title>{}</title></rect>\n", box, xml_escape(title));
}

std::string text(double x, double y, std::string_view what, std::string_view more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, more, xml_escape(what));
}

struct Key {
  std::string_view colour, what;
};

std::string legend(double x, double y, std::span<const Key> keys) {
  std::string out;
  for (const Key& key : keys) {
    out += rect(x, y - 9, 10, 10, key.colour) + text(x + 14, y, key.what);
    x += 34 + 6.2 * as(key.what.size());
  }
  return out;
}

// A round number of microseconds of which some eight fit.
double tick_of(double us) {
  double tick = 0.001;
  while (us / tick > 10) tick *= us / tick > 25 ? (us / tick > 50 ? 10 : 5) : 2;
  return tick;
}

}  // namespace

std::string to_svg(const Schedule& schedule, const Workload& work, const Chip& chip, uint64_t stages_max) {
  constexpr double kWidth = 1010, kRow = 13, kLeft = 150, kTop = 30;
  const auto stages = std::min<uint64_t>(schedule.stages.size(), stages_max);
  const double rows = as(stages) * (kUnitCount * kRow + 5), us = as(schedule.cycles) / chip.clock_hz * 1e6;
  const double scale = kWidth / as(std::max<uint64_t>(schedule.cycles, 1));
  std::string out = begin(kLeft + kWidth + 20, kTop + rows + 32);
  const Key keys[] = {{kColours[0], "matrix unit"}, {kColours[1], "vector unit"}, {kColours[2], "links, sending"}};
  out += legend(kLeft, 16, keys);
  for (double at = 0; at <= us; at += tick_of(us)) {
    const double x = kLeft + at / us * kWidth;
    out += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#ccc\"/>\n", x, kTop - 4,
                       kTop + rows);
    out += text(x, kTop + rows + 14, fmt::format("{:.4g} us", at), "text-anchor=\"middle\" fill=\"#666\"");
  }
  const auto top_of = [&](uint64_t stage) { return kTop + as(stage) * (kUnitCount * kRow + 5); };
  for (uint64_t i = 0; i < stages; ++i) {
    const Stage& s = schedule.stages[i];
    out += text(2, top_of(i) + 12, fmt::format("stage {}, {} chips", i, s.chips), "font-weight=\"bold\"");
    out += text(2, top_of(i) + 26, fmt::format("layers {} to {}", s.first_layer, s.first_layer + s.layers - 1),
                "fill=\"#666\"");
    for (int u = 0; u < kUnitCount; ++u) {
      out += rect(kLeft, top_of(i) + u * kRow, kWidth, kRow - 1, "#f4f6f8");
      out += text(kLeft - 4, top_of(i) + (u + 1) * kRow - 3, kUnitNames[u],
                  "text-anchor=\"end\" fill=\"#666\" font-size=\"9\"");
    }
  }
  for (const Slot& s : schedule.slots) {
    if (s.stage >= stages) continue;
    const auto unit = static_cast<int>(s.unit);
    const Work& op = work.ops[s.op];
    out += rect(
        kLeft + as(s.start) * scale, top_of(s.stage) + unit * kRow, std::max(as(s.busy) * scale, 0.6), kRow - 1,
        kColours[unit],
        fmt::format("{} {}: cycles {} to {}, result in {}", op.label, op.name, s.start, s.start + s.busy, s.ready));
  }
  out += text(kLeft, kTop + rows + 28,
              fmt::format("one token: {} cycles; {} of {} stages", schedule.cycles, stages, schedule.stages.size()),
              "fill=\"#666\"");
  return out + "</svg>\n";
}

std::string slices_svg(const Schedule& schedule, const Chip& chip, uint32_t stage) {
  constexpr double kLeft = 60, kWidth = 1080, kTop = 28, kHeight = 190, kPorts = 26;
  const SliceMap map(chip);
  const std::vector<SliceUse> use = slice_use(schedule, map, stage);
  const double bytes = as(map.lines * kWordBytes), step = kWidth / map.slices;
  std::string out = begin(kLeft + kWidth + 20, kTop + kHeight + 2 * kPorts + 44);
  const Key keys[] = {{"#6d8fb8", "weights"},
                      {"#d79a4a", "KV"},
                      {"#7fb069", "recurrent state"},
                      {"#b05a8c", "activations"},
                      {"#f1f3f5", "free"}};
  out += legend(kLeft, 16, keys);
  out += rect(kLeft, kTop, kWidth, kHeight, "#f1f3f5");
  uint64_t most = 1;
  for (const SliceUse& s : use) most = std::max({most, s.read, s.written});
  for (uint32_t i = 0; i < map.slices; ++i) {
    const SliceUse& s = use[i];
    const double x = kLeft + i * step, width = std::max(step - 1, 0.5), bottom = kTop + kHeight;
    const auto height = [&](uint64_t part) { return as(part) / bytes * kHeight; };
    const std::string title = fmt::format(
        "slice {}: weights {}, KV {}, state {}, activations {} of {:.0f} bytes; read {}, written {} cycles of {}", i,
        s.weights, s.kv, s.state, s.activations, bytes, s.read, s.written, schedule.cycles);
    out += rect(x, bottom - height(s.weights), width, height(s.weights), keys[0].colour, title);
    double top = kTop;
    const std::pair<uint64_t, std::string_view> upper[] = {
        {s.kv, keys[1].colour}, {s.state, keys[2].colour}, {s.activations, keys[3].colour}};
    for (const auto& [part, colour] : upper) {
      out += rect(x, top, width, part > 0 ? std::max(height(part), 1.0) : 0, colour, title);
      top += height(part);
    }
    const auto port = [&](uint64_t cycles, double y, std::string_view colour) {
      const double h = as(cycles) / as(most) * (kPorts - 6);
      return rect(x, y + kPorts - 4 - h, width, h, colour, title);
    };
    out += port(s.read, bottom + 8, "#4b4b4b") + port(s.written, bottom + 8 + kPorts, "#9a9a9a");
  }
  for (double bank = as(map.bank_lines); bank < as(map.lines); bank += as(map.bank_lines)) {
    const double y = kTop + kHeight * (1 - bank / as(map.lines));
    out += fmt::format(
        "<line x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\" stroke=\"#222\" stroke-dasharray=\"4 3\"/>\n", kLeft,
        y, kLeft + kWidth);
    out += text(kLeft - 4, y + 4, "bank", "text-anchor=\"end\" fill=\"#666\"");
  }
  out += text(kLeft - 4, kTop + kHeight + 8 + kPorts - 6, "read", "text-anchor=\"end\" fill=\"#666\"");
  out += text(kLeft - 4, kTop + kHeight + 8 + 2 * kPorts - 6, "written", "text-anchor=\"end\" fill=\"#666\"");
  out +=
      text(kLeft, kTop + kHeight + 2 * kPorts + 26,
           fmt::format(
               "{} slices of {} KiB in {} bank(s), stage {}; port bars: {:.1f} % of the token's cycles at the highest",
               map.slices, map.lines * kWordBytes / 1024, static_cast<uint64_t>(chip.sram_banks), stage,
               100 * as(most) / as(schedule.cycles)),
           "fill=\"#666\"");
  return out + "</svg>\n";
}

std::string parts_svg(std::span<const Report> reports) {
  constexpr double kLeft = 230, kWidth = 820, kRow = 24, kTop = 28;
  double longest = 1e-12;
  size_t bars = 0;
  for (const Report& r : reports) {
    if (r.roofline) continue;
    longest = std::max(longest, r.latency_s);
    ++bars;
  }
  std::string out = begin(1160, kTop + as(bars) * kRow + 6);
  std::vector<Key> keys;
  for (int p = 0; p < kPartCount; ++p) keys.push_back({kPartColours[p], kPartTexts[p]});
  out += legend(kLeft, 16, keys);
  double y = kTop;
  for (const Report& r : reports) {
    if (r.roofline) continue;
    out += text(kLeft - 6, y + 13, fmt::format("{}, {} x {}", r.model, r.chips, r.chip), "text-anchor=\"end\"");
    double x = kLeft;
    for (int p = 0; p < kPartCount; ++p) {
      const double width = r.part_s[p] / longest * kWidth;
      out += rect(
          x, y, width, kRow - 6, kPartColours[p],
          fmt::format("{}: {:.1f} us, {:.1f} %", kPartTexts[p], 1e6 * r.part_s[p], 100 * r.part_s[p] / r.latency_s));
      x += width;
    }
    out += text(x + 6, y + 13, fmt::format("{:.0f} us", 1e6 * r.latency_s));
    y += kRow;
  }
  return out + "</svg>\n";
}

}  // namespace sluice::lpu
