#include "server/metrics.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "base/check.h"

namespace sluice::server {
namespace {

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') out += "\\\\";
    else if (c == '\n') out += "\\n";
    else if (c == '"' && quotes) out += "\\\"";
    else out += c;
  }
  return out;
}

std::string labels_text(std::initializer_list<Label> labels, bool other) {
  std::string out;
  for (const Label& label : labels) out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", label.name, other ? "other" : escaped(label.value, true));
  return out;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

void print_line(std::string& out, std::string_view name, std::string_view labels, std::string_view more, std::string_view value) {
  out += name;
  if (!labels.empty() || !more.empty()) out += fmt::format("{{{}{}{}}}", labels, labels.empty() || more.empty() ? "" : ",", more);
  out += fmt::format(" {}\n", value);
}

void print_histogram(std::string& out, std::string_view name, std::string_view labels, const Histogram& histogram) {
  uint64_t below = 0;
  const std::span<const double> bounds = histogram.bounds();
  for (size_t i = 0; i <= bounds.size(); ++i) {
    below += histogram.bucket(i);
    const std::string bound = i == bounds.size() ? "+Inf" : number_text(bounds[i]);
    print_line(out, fmt::format("{}_bucket", name), labels, fmt::format("le=\"{}\"", bound), std::to_string(below));
  }
  print_line(out, fmt::format("{}_sum", name), labels, "", number_text(histogram.sum()));
  print_line(out, fmt::format("{}_count", name), labels, "", std::to_string(below));
}

double resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long all = 0, resident = 0;
  const int read = std::fscanf(file, "%llu %llu", &all, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  double count = -3;  // ".", ".." and the folder itself
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

double descriptors_max() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds), buckets_(bounds.size() + 1) {}

void Histogram::observe(double value) {
  const size_t index = static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  buckets_[index].fetch_add(1, std::memory_order_relaxed);
  sum_micro_.fetch_add(static_cast<uint64_t>(std::clamp(value, 0.0, 1e12) * 1e6 + 0.5), std::memory_order_relaxed);
}

uint64_t Histogram::count() const {
  uint64_t count = 0;
  for (const std::atomic<uint64_t>& bucket : buckets_) count += bucket.load(std::memory_order_relaxed);
  return count;
}

Metrics::Series& Metrics::series(std::string_view name, std::string_view help, std::string_view type, std::initializer_list<Label> labels) {
  auto family = families_.find(name);
  if (family == families_.end()) family = families_.emplace(std::string(name), Family{std::string(help), type, {}}).first;
  SLUICE_CHECK(family->second.type == type);
  std::string text = labels_text(labels, false);
  auto& all = family->second.series;
  const auto at = all.find(text);
  if (at != all.end()) return at->second;
  if (all.size() >= kSeriesMax) text = labels_text(labels, true);
  return all[text];
}

Counter& Metrics::counter(std::string_view name, std::string_view help, std::initializer_list<Label> labels) {
  const std::lock_guard lock(lock_);
  Series& found = series(name, help, "counter", labels);
  if (!found.counter) found.counter = std::make_unique<Counter>();
  return *found.counter;
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, std::span<const double> bounds, std::initializer_list<Label> labels) {
  const std::lock_guard lock(lock_);
  Series& found = series(name, help, "histogram", labels);
  if (!found.histogram) found.histogram = std::make_unique<Histogram>(bounds);
  return *found.histogram;
}

void Metrics::gauge(std::string_view name, std::string_view help, std::initializer_list<Label> labels, std::function<double()> read) {
  const std::lock_guard lock(lock_);
  series(name, help, "gauge", labels).read = std::move(read);
}

void Metrics::counter_of(std::string_view name, std::string_view help, std::initializer_list<Label> labels, std::function<double()> read) {
  const std::lock_guard lock(lock_);
  series(name, help, "counter", labels).read = std::move(read);
}

std::string Metrics::text() const {
  const std::lock_guard lock(lock_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(family.help, false), name, family.type);
    for (const auto& [labels, one] : family.series) {
      if (one.histogram) print_histogram(out, name, labels, *one.histogram);
      else print_line(out, name, labels, "", one.counter ? std::to_string(one.counter->value()) : number_text(one.read()));
    }
  }
  return out;
}

void add_process_metrics(Metrics& metrics) {
  const double started = static_cast<double>(std::time(nullptr));
  metrics.gauge("process_resident_memory_bytes", "Resident memory.", {}, resident_bytes);
  metrics.counter_of("process_cpu_seconds_total", "User and system time.", {}, cpu_seconds);
  metrics.gauge("process_open_fds", "Open file descriptors.", {}, open_descriptors);
  metrics.gauge("process_max_fds", "File descriptors that may be open.", {}, descriptors_max);
  metrics.gauge("process_start_time_seconds", "When the server started, Unix time.", {}, [started] { return started; });
}

}  // namespace sluice::server
