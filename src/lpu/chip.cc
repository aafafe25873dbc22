#include "lpu/chip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace sluice::lpu {
namespace {

using nlohmann::json;

constexpr std::string_view kGrades = "PNSCIRM";

// The {value, grade, source} of a field, its provenance noted.
Result<json> graded(const json& file, std::string_view field, Chip& chip) {
  const auto it = file.find(field);
  if (it == file.end() || !it->is_object()) return Error{fmt::format("chip file: {} is missing, expected an object with value, grade and source", field)};
  const json& entry = *it;
  if (!entry.contains("value")) return Error{fmt::format("chip file: {} has no value", field)};
  const auto text = [&](const char* key) { return entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>() : std::string(); };
  const std::string grade = text("grade"), source = text("source");
  if (grade.size() != 1 || kGrades.find(grade[0]) == std::string_view::npos) {
    return Error{fmt::format("chip file: {} has grade '{}', expected one letter of {}", field, grade, kGrades)};
  }
  if (source.empty()) return Error{fmt::format("chip file: {} names no source", field)};
  chip.provenance.push_back({std::string(field), entry["value"].dump(), grade, source});
  return entry["value"];
}

Result<double> number(const json& file, std::string_view field, double low, double high, Chip& chip) {
  SLUICE_TRY(const json value, graded(file, field, chip));
  const double v = value.is_number() ? value.get<double>() : std::nan("");
  if (!(v >= low && v <= high)) return Error{fmt::format("chip file: {} is {}, expected a number from {} to {}", field, value.dump(), low, high)};
  return v;
}

Status read_reach(const json& file, Chip& chip) {
  SLUICE_TRY(const json value, graded(file, "reach", chip));
  const Error wrong{"chip file: reach must be a list of [chips, hops], both growing, hops at most 64"};
  if (!value.is_array() || value.empty()) return wrong;
  for (const json& pair : value) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned()) return wrong;
    const Reach next{pair[0].get<uint64_t>(), pair[1].get<uint64_t>()};
    if (next.chips == 0 || next.hops > 64) return wrong;
    if (!chip.reach.empty() && (next.chips <= chip.reach.back().chips || next.hops <= chip.reach.back().hops)) return wrong;
    chip.reach.push_back(next);
  }
  return {};
}

// Optional: "published": [{"model", "params", "chips", "tokens_per_s_user", "grade", "source"}].
Status read_published(const json& file, Chip& chip) {
  const auto it = file.find("published");
  if (it == file.end()) return {};
  if (!it->is_array()) return Error{"chip file: published must be a list"};
  for (const json& entry : *it) {
    const auto field = [&](const char* key) { return entry.is_object() && entry.contains(key) ? entry[key] : json(); };
    const auto text = [&](const char* key) { return field(key).is_string() ? field(key).get<std::string>() : std::string(); };
    const auto value = [&](const char* key) { return field(key).is_number() ? field(key).get<double>() : 0.0; };
    Published p{text("model"), static_cast<uint64_t>(value("params")), static_cast<uint64_t>(value("chips")), value("tokens_per_s_user"), text("grade"),
                text("source")};
    const bool graded = p.grade.size() == 1 && kGrades.find(p.grade[0]) != std::string_view::npos;
    if (p.model.empty() || p.params == 0 || p.chips == 0 || !(p.tokens_per_s_user > 0) || !graded || p.source.empty() || entry.size() != 6) {
      return Error{fmt::format("chip file: published entry '{}' needs model, params, chips, tokens_per_s_user, grade and source, and nothing else", p.model)};
    }
    chip.published.push_back(std::move(p));
  }
  return {};
}

}  // namespace

uint64_t Chip::hop_cycles() const { return static_cast<uint64_t>(std::llround(hop_s * clock_hz)); }

uint64_t Chip::hops(uint64_t chips) const {
  if (chips <= 1) return 0;
  for (const Reach& r : reach) {
    if (chips <= r.chips) return r.hops;
  }
  return reach.back().hops + 1;
}

Result<Chip> parse_chip(std::string_view text) {
  const json file = json::parse(text, nullptr, false);
  if (!file.is_object()) return Error{"chip file: not a JSON object"};
  Chip chip;
  if (!file.contains("name") || !file["name"].is_string()) return Error{"chip file: name is missing"};
  chip.name = file["name"].get<std::string>();
  const std::string kind = file.contains("kind") && file["kind"].is_string() ? file["kind"].get<std::string>() : "";
  if (kind != "scheduled" && kind != "roofline") return Error{fmt::format("chip file: kind is '{}', expected scheduled or roofline", kind)};
  chip.roofline = kind == "roofline";
#define X(field, low, high) \
  { SLUICE_TRY(chip.field, number(file, #field, low, high, chip)); }
  SLUICE_LPU_CHIP_NUMBERS(X)
#undef X
  SLUICE_TRY_VOID(read_reach(file, chip));
  SLUICE_TRY_VOID(read_published(file, chip));
  const size_t known = chip.provenance.size() + 2 + file.contains("published");
  if (file.size() != known) return Error{fmt::format("chip file: {} fields, {} are known: a misspelt one would be ignored", file.size(), known)};
  return chip;
}

std::string roofline_file(const MeasuredMachine& m) {
  constexpr const char *kMeasured = "sluice bench --limits, by the wall, this machine and number of threads", *kUnused = "one machine of no stages: not used";
  nlohmann::ordered_json out = {{"name", m.name}, {"kind", "roofline"}};
  const auto put = [&](const char* field, const nlohmann::ordered_json& value, const char* grade, const char* source) {
    out[field] = {{"value", value}, {"grade", grade}, {"source", source}};
  };
#define X(field, low, high) put(#field, std::max<double>(low, 1), "I", kUnused);
  SLUICE_LPU_CHIP_NUMBERS(X)
#undef X
  put("clock_hz", 1e9, "I", "a time base");
  put("sram_bytes", m.memory_bytes, "M", "memory that a process may have now");
  put("sram_bytes_per_s", m.read_bytes_per_s, "M", kMeasured);
  put("feed_bytes_per_s", m.read_bytes_per_s, "M", kMeasured);
  put("ops_8bit_per_s", m.int8_ops_per_s, "M", kMeasured);
  put("ops_16bit_per_s", m.float_ops_per_s, "M", "as above, 32-bit multiply-adds: 16-bit weights are widened");
  put("fill_cycles", 1000, "I", "a microsecond an op for the threads to meet");
  put("idle_w", 0, "I", "not measured: put a meter's reading here");
  put("pj_per_mac", 0, "I", "not measured");
  put("pj_per_sram_byte", 0, "I", "not measured");
  put("hop_s", 0, "I", kUnused);
  put("host_s", 0, "I", kUnused);
  put("reach", {{1, 1}}, "I", kUnused);
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Chip> read_chip(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{fmt::format("{}: cannot open the chip file", path)};
  std::string text;
  char buffer[4096];
  while (file.read(buffer, sizeof buffer) || file.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
    if (text.size() > limits::kConfigBytesMax) return Error{fmt::format("{}: larger than {} bytes", path, limits::kConfigBytesMax)};
  }
  Result<Chip> chip = parse_chip(text);
  if (!chip.ok()) return Error{fmt::format("{}: {}", path, chip.error().message)};
  return chip;
}

}  // namespace sluice::lpu
