// Promises about the whole source tree that a test can read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

// Every source file outside `rooms` that matches; tests and comments' words do not count.
std::vector<std::string> matching(const std::string& pattern, const std::vector<std::string>& rooms) {
  std::vector<std::string> found;
  const auto matches = testing::ContainsRegex(pattern);
  const fs::path src = fs::path(SLUICE_SOURCE_DIR) / "src";
  for (const auto& entry : fs::recursive_directory_iterator(src)) {
    const std::string file = fs::relative(entry.path(), src).string();
    const bool is_source = file.ends_with(".h") || file.ends_with(".cc");
    const bool exempt = file.ends_with("_test.cc") || std::any_of(rooms.begin(), rooms.end(), [&](const std::string& room) { return file.starts_with(room); });
    if (!entry.is_regular_file() || !is_source || exempt) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      if (testing::Value(line.substr(0, line.find("//")), matches)) found.push_back(file + ": " + line);
    }
  }
  return found;
}

// M9: projectors, adapters and whatever else is a model file go through one reader; nobody else parses containers.
TEST(House, M9_ModelFilesAreParsedInOneRoom) {
  EXPECT_EQ(matching("\"(GGUF|weights/(gguf|safetensors|reader)\\.h)\"", {"weights/", "cli/golden_support"}), std::vector<std::string>{});
}

// M12: no protocol carries tensors; nothing but the server listens, and nothing at all connects.
TEST(House, M12_NoTensorsFromTheNetwork) {
  EXPECT_EQ(matching("\\b(socket|listen|accept|connect|bind)\\s*\\([^)]*(AF_|fd|sock)", {"server/"}), std::vector<std::string>{});
  EXPECT_EQ(matching("#\\s*include\\s*<(sys/socket|netinet|arpa|netdb|boost/asio)", {"server/"}), std::vector<std::string>{});
}

}  // namespace
}  // namespace sluice::cli
