// Numbers for Prometheus: counters, gauges that are read when asked for, and histograms, printed in its text format 0.0.4.
// Contract: names, help and labels are ours, never a client's text, so the number of series is bounded by the table of routes; a family takes kSeriesMax
// series at most and counts what comes after in one whose labels all read "other". Any thread may count; text() is a snapshot of each number on its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::server {

struct Label {
  std::string_view name, value;
};

class Counter {
 public:
  void add(uint64_t amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds);  // rising; outlives it
  void observe(double value);
  uint64_t count() const;
  std::span<const double> bounds() const { return bounds_; }
  uint64_t bucket(size_t index) const { return buckets_[index].load(std::memory_order_relaxed); }  // not cumulative; bounds().size(): above all
  double sum() const { return static_cast<double>(sum_micro_.load(std::memory_order_relaxed)) / 1e6; }

 private:
  std::span<const double> bounds_;
  std::vector<std::atomic<uint64_t>> buckets_;
  std::atomic<uint64_t> sum_micro_{0};  // of values that are not negative
};

class Metrics {
 public:
  static constexpr size_t kSeriesMax = 2048;

  // The same name and labels give the same number; they live as long as this.
  Counter& counter(std::string_view name, std::string_view help, std::initializer_list<Label> labels);
  Histogram& histogram(std::string_view name, std::string_view help, std::span<const double> bounds, std::initializer_list<Label> labels);
  // Read when text() is made, on that thread.
  void gauge(std::string_view name, std::string_view help, std::initializer_list<Label> labels, std::function<double()> read);
  void counter_of(std::string_view name, std::string_view help, std::initializer_list<Label> labels, std::function<double()> read);

  std::string text() const;

 private:
  struct Series {
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Histogram> histogram;
    std::function<double()> read;
  };
  struct Family {
    std::string help;
    std::string_view type;
    std::map<std::string, Series> series;  // by labels as printed, without braces
  };
  Series& series(std::string_view name, std::string_view help, std::string_view type, std::initializer_list<Label> labels);

  mutable std::mutex lock_;
  std::map<std::string, Family, std::less<>> families_;
};

// process_resident_memory_bytes and the others that every exporter has.
void add_process_metrics(Metrics& metrics);

}  // namespace sluice::server
