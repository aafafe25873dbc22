// What an operator sees: metrics in Prometheus' format under the field's names, log lines that are JSON, and no word of anybody's prompt or key in either.
#include "server/operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace sluice::server {
namespace {

namespace fs = std::filesystem;

RequestRecord record(std::string route, int status) {
  RequestRecord r;
  r.id = "req_1";
  r.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  r.method = "POST";
  r.route = std::move(route);
  r.peer = "127.0.0.1:5";
  r.key_id = "AbCdEfGhIj";
  r.model = "sluice-jamba";
  r.status = status;
  r.bytes_in = 100;
  r.bytes_out = 200;
  r.duration_us = 30'000;
  return r;
}

std::string log_text(const std::vector<RequestRecord>& records) {
  const fs::path path = fs::temp_directory_path() / ("sluice-log-" + std::to_string(getpid()));
  fs::remove(path);
  {
    Result<std::unique_ptr<Log>> log = Log::open(path, LogLevel::kInfo);
    EXPECT_TRUE(log.ok());
    Operations operations(log->get());
    for (const RequestRecord& one : records) {
      operations.request_started();
      operations.request_finished(one);
    }
  }
  std::ifstream in(path);
  std::stringstream out;
  out << in.rdbuf();
  fs::remove(path);
  return out.str();
}

TEST(Metrics, TheFieldsUsualNamesArePrinted) {
  Operations operations(nullptr);
  GateOptions options;
  KeyGate gate(fs::temp_directory_path() / "sluice-no-such-folder" / "keys.db", options);
  operations.watch_gate(gate);
  operations.watch_engine([] { return engine::EngineStatistics{}; });
  operations.watch_memory(123);
  operations.connection_opened();
  operations.request_started();
  RequestRecord done = record("/v1/chat/completions", 200);
  done.usage = {.prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 5, .prompt_us = 2000, .completion_us = 9000, .first_token_us = 2500};
  operations.request_finished(done);
  const std::string text = operations.metrics().text();
  for (const char* line :
       {"http_requests_total{method=\"POST\",route=\"/v1/chat/completions\",status=\"200\"} 1\n", "# TYPE http_request_duration_seconds histogram\n",
        "http_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"0.025\"} 0\n",
        "http_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"0.05\"} 1\n",
        "http_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"+Inf\"} 1\n",
        "http_request_duration_seconds_count{route=\"/v1/chat/completions\"} 1\n",
        "http_requests_in_flight 0\n", "http_connections 1\n", "sluice_prompt_tokens_total 10\n", "sluice_prompt_tokens_cached_total 4\n",
        "sluice_generation_tokens_total 5\n", "sluice_time_to_first_token_seconds_count 1\n", "sluice_num_requests_waiting 0\n",
        "sluice_prefix_cache_hits_total 0\n", "sluice_requests_refused_total{reason=\"key_quota\"} 0\n", "sluice_keys_valid 0\n", "sluice_key_database_ok 1\n",
        "sluice_memory_planned_bytes 123\n", "# TYPE process_resident_memory_bytes gauge\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

TEST(Metrics, EveryLineIsOfThePrometheusForm) {
  Operations operations(nullptr);
  for (int i = 0; i < 50; ++i) operations.request_finished(record("/v1/models/{model}", 200 + i));
  const auto sample = testing::MatchesRegex(R"re(^[a-z_:][a-z0-9_:]*(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (NaN|[+-]Inf|-?[0-9.]+(e[+-]?[0-9]+)?))re");
  const auto comment = testing::MatchesRegex(R"(^# (HELP|TYPE) [a-z_:][a-z0-9_:]* .+$)");
  std::istringstream lines(operations.metrics().text());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_THAT(line, testing::AnyOf(sample, comment));
  }
  EXPECT_GT(count, 60);
}

TEST(Metrics, AClientCannotMakeSeries) {
  Operations operations(nullptr);
  RequestRecord odd = record("", 404);
  for (int i = 0; i < 1000; ++i) {
    odd.method = "M" + std::to_string(i);
    operations.request_finished(odd);
  }
  EXPECT_NE(operations.metrics().text().find("http_requests_total{method=\"other\",route=\"unmatched\",status=\"404\"} 1000\n"), std::string::npos);
  Metrics metrics;
  for (size_t i = 0; i < 2 * Metrics::kSeriesMax; ++i) metrics.counter("x_total", "X.", {{"a", std::to_string(i)}}).add(1);
  EXPECT_NE(metrics.text().find("x_total{a=\"other\"} " + std::to_string(Metrics::kSeriesMax) + "\n"), std::string::npos);
}

TEST(Metrics, LabelsAreEscaped) {
  Metrics metrics;
  metrics.counter("x_total", "A \\ and\na line.", {{"a", "q\"b\\c\nd"}}).add(2);
  EXPECT_EQ(metrics.text(), "# HELP x_total A \\\\ and\\na line.\n# TYPE x_total counter\nx_total{a=\"q\\\"b\\\\c\\nd\"} 2\n");
}

TEST(Metrics, ManyThreadsCountExactly) {
  Metrics metrics;
  static constexpr double kBounds[] = {1, 2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        metrics.counter("c_total", "C.", {{"i", i % 2 ? "a" : "b"}}).add(1);
        metrics.histogram("h", "H.", kBounds, {}).observe(i % 3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.counter("c_total", "C.", {{"i", "a"}}).value(), 10'000u);
  EXPECT_EQ(metrics.histogram("h", "H.", kBounds, {}).count(), 20'000u);
}

TEST(AccessLog, OneJsonObjectARequest) {
  RequestRecord one = record("/v1/chat/completions", 200);
  one.usage = {.prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 5, .first_token_us = 2500};
  RequestRecord two = record("", 404);
  two.error_code = "not_found";
  std::istringstream lines(log_text({one, two}));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_EQ(json["event"], "request");
  EXPECT_EQ(json["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(json["route"], "/v1/chat/completions");
  EXPECT_EQ(json["status"], 200);
  EXPECT_EQ(json["key"], "AbCdEfGhIj");
  EXPECT_EQ(json["cached_tokens"], 4);
  EXPECT_EQ(json["first_token_ms"], 2.5);
  EXPECT_THAT(json["time"].get<std::string>(), testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"));
  ASSERT_TRUE(std::getline(lines, line));
  json = nlohmann::json::parse(line);
  EXPECT_EQ(json["route"], "unmatched");
  EXPECT_EQ(json["error"], "not_found");
  EXPECT_FALSE(std::getline(lines, line));
}

// What a client chooses freely never reaches a line or a label: the method it sent, the path it sent (the pattern stands in its place).
TEST(AccessLog, CanaryWordsOfAClientAreNotLogged) {
  const std::string canary = "CANARY-7f3a";
  RequestRecord one = record("", 405);
  one.method = canary;
  EXPECT_EQ(log_text({one}).find(canary), std::string::npos);
  Operations operations(nullptr);
  operations.request_finished(one);
  EXPECT_EQ(operations.metrics().text().find(canary), std::string::npos);
}

TEST(Log, AnyBytesStayOneLineOfJson) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  const std::string text = "{\"a\":0" + Fields().add("x", bytes).add("n", -5).add("d", 1.5).text() + "}";
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["x"].get<std::string>().size(), 256u);
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

TEST(Log, LevelsAndNames) {
  for (const char* name : {"debug", "info", "warning", "error", "off"}) EXPECT_EQ(log_level_name(*log_level_from_name(name)), name);
  EXPECT_FALSE(log_level_from_name("loud").ok());
  EXPECT_FALSE(Log::open("/no/such/folder/log", LogLevel::kInfo).ok());
}

TEST(Log, RotationByRenameAndReopen) {
  const fs::path path = fs::temp_directory_path() / ("sluice-rotate-" + std::to_string(getpid()));
  const fs::path old = path.string() + ".1";
  {
    Result<std::unique_ptr<Log>> log = Log::open(path, LogLevel::kInfo);
    ASSERT_TRUE(log.ok());
    (*log)->say(LogLevel::kInfo, "one", "before");
    while (fs::file_size(path) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    fs::rename(path, old);
    ASSERT_TRUE((*log)->reopen().ok());
    (*log)->say(LogLevel::kInfo, "two", "after");
    (*log)->say(LogLevel::kDebug, "three", "not wanted");
  }
  const auto lines = [](const fs::path& file) {
    std::ifstream in(file);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  };
  EXPECT_NE(lines(old).find("before"), std::string::npos);
  EXPECT_EQ(lines(old).find("after"), std::string::npos);
  EXPECT_NE(lines(path).find("after"), std::string::npos);
  EXPECT_EQ(lines(path).find("not wanted"), std::string::npos);
  fs::remove(path);
  fs::remove(old);
}

// Nobody reads the pipe: writers go on at once, lines are dropped and counted, memory stays bounded, and the end comes within seconds.
TEST(Log, LinesThatAFullDiskDoesNotTakeAreCounted) {
  const auto log = Log::open("/dev/full", LogLevel::kInfo);
  ASSERT_TRUE(log.ok());
  for (int i = 0; i < 5; ++i) (*log)->say(LogLevel::kInfo, "event", "a line");
  for (int i = 0; i < 1000 && (*log)->dropped() < 5; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_GE((*log)->dropped(), 5u);
}

TEST(Log, AStuckReaderHoldsNobodyUp) {
  const fs::path pipe = fs::temp_directory_path() / ("sluice-pipe-" + std::to_string(getpid()));
  fs::remove(pipe);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  {
    Result<std::unique_ptr<Log>> log = Log::open(pipe, LogLevel::kInfo);
    ASSERT_TRUE(log.ok());
    const std::string long_text(10'000, 'x');
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 2000; ++i) (*log)->say(LogLevel::kInfo, "flood", long_text);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_GT((*log)->dropped(), 1000u);
  }
  ::close(reader);
  fs::remove(pipe);
}

}  // namespace
}  // namespace sluice::server
