// Pulling against a hub on this machine (tests/hub/hub.py): broken, resumed, changed, lying and hostile downloads; and the folder that they land in.
#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "hub/model_folder.h"
#include "hub/pull.h"
#include "hub/transfer.h"

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

std::string whole(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string expected_bytes() {
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += static_cast<char>((i * 7 + i / 251) % 256);
  return bytes;
}

std::string sha256(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string out;
  for (const unsigned char byte : digest) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", byte);
    out += text;
  }
  return out;
}

class Pull : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("sluice-hub-" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    child_ = fork();
    if (child_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      alarm(120);
      execlp("python3", "python3", SLUICE_SOURCE_DIR "/tests/hub/hub.py", (folder_ / "log").c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    std::FILE* out = fdopen(ends[0], "r");
    int port = 0;
    ASSERT_EQ(std::fscanf(out, "%d", &port), 1);
    std::fclose(out);
    base_ = "http://127.0.0.1:" + std::to_string(port);
    options_.folder = folder_ / "models";
    options_.hub_url = base_;
    options_.wait_ms = 1;
    options_.say = [this](const std::string& sentence) { said_ += sentence + "\n"; };
  }
  void TearDown() override {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
    fs::remove_all(folder_);
  }

  Result<Pulled> pull_of(const std::string& source) {
    options_.source = source;
    return pull(options_);
  }
  std::string error_of(const std::string& source) {
    const Result<Pulled> pulled = pull_of(source);
    return pulled.ok() ? "" : pulled.error().message;
  }
  std::string log() const { return whole(folder_ / "log"); }
  fs::path at(const std::string& name) const { return options_.folder / name; }
  std::string url(const std::string& file) const { return base_ + "/o/r/resolve/main/" + file; }

  fs::path folder_;
  pid_t child_ = -1;
  std::string base_, said_;
  PullOptions options_;
};

TEST_F(Pull, AConnectionThatBreaksFourTimesIsResumedEachTime) {
  uint64_t last = 0;
  bool rising = true;
  options_.progress = [&](const std::string&, uint64_t done, uint64_t total) {
    rising = rising && done > last && total == 300'000;
    last = done;
  };
  const Result<Pulled> pulled = pull_of("hf://one/gguf");
  ASSERT_TRUE(pulled.ok()) << pulled.error().message;
  EXPECT_EQ(pulled->name, "one/gguf/drop-70000.gguf");
  EXPECT_EQ(whole(at(pulled->name)), expected_bytes());
  EXPECT_TRUE(rising);
  EXPECT_EQ(last, 300'000u);
  for (const char* range : {"bytes=70000- \"v1\"", "bytes=140000- \"v1\"", "bytes=210000- \"v1\"", "bytes=280000- \"v1\""}) {
    EXPECT_NE(log().find(range), std::string::npos) << log();
  }
  EXPECT_NE(said_.find("(checked)"), std::string::npos) << said_;
  EXPECT_FALSE(fs::exists(at(pulled->name).string() + ".part"));
  EXPECT_FALSE(fs::exists(at(pulled->name).string() + ".part.json"));
}

TEST_F(Pull, AnotherProcessGoesOnWhereOneWasKilled) {
  FileRequest request{.url = url("drop-100000.gguf"), .path = folder_ / "x.gguf", .attempts = 1, .wait_ms = 1};
  options_.folder = folder_;
  const pid_t child = fork();
  if (child == 0) {
    request.progress = [](uint64_t done, uint64_t) {
      if (done >= 50'000) kill(getpid(), SIGKILL);
    };
    (void)fetch_file(request);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(request.path));
  ASSERT_TRUE(fs::exists(folder_ / "x.gguf.part"));
  request.attempts = 8;
  const Result<FileResult> result = fetch_file(request);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_GE(result->resumed_at, 50'000u);
  EXPECT_EQ(whole(request.path), expected_bytes());
  EXPECT_EQ(result->sha256, sha256(expected_bytes()));
}

TEST_F(Pull, AFileThatChangedMeanwhileIsTakenAnewNotGluedTogether) {
  const Result<FileResult> result = fetch_file({.url = url("changes.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1});
  ASSERT_TRUE(result.ok()) << result.error().message;
  std::string other;
  for (int i = 0; i < 300'000; ++i) other += static_cast<char>((i * 13 + 5) % 256);
  EXPECT_EQ(whole(folder_ / "x.gguf"), other);
  EXPECT_FALSE(result->checked);
}

TEST_F(Pull, AServerWithoutRangesIsAskedForAllOfItAgain) {
  ASSERT_TRUE(fetch_file({.url = url("norange.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1}).ok());
  EXPECT_EQ(whole(folder_ / "x.gguf"), expected_bytes());
}

TEST_F(Pull, BytesFromElsewhereAreRefused) {
  const Result<FileResult> result = fetch_file({.url = url("liar.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("asked for the bytes from 100000"), std::string::npos) << result.error().message;
  EXPECT_FALSE(fs::exists(folder_ / "x.gguf"));
}

TEST_F(Pull, TheChecksumOfTheHubsFirstAnswerIsHeldAgainstTheBytesOfTheSecond) {
  const Result<FileResult> good = fetch_file({.url = url("moved.gguf"), .token = "hf_secret", .path = folder_ / "x.gguf", .wait_ms = 1});
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_TRUE(good->checked);
  EXPECT_NE(log().find("moved.gguf - - token 302"), std::string::npos) << log();
  EXPECT_NE(log().find("/cdn/abc - - - 200"), std::string::npos) << log();  // the token stays with the hub
  const Result<FileResult> bad = fetch_file({.url = url("wrong.gguf"), .path = folder_ / "y.gguf", .wait_ms = 1});
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("was expected; the download was thrown away"), std::string::npos) << bad.error().message;
  EXPECT_FALSE(fs::exists(folder_ / "y.gguf") || fs::exists(folder_ / "y.gguf.part"));
}

TEST_F(Pull, AGivenChecksumIsHeld) {
  options_.sha256 = sha256(expected_bytes());
  EXPECT_TRUE(pull_of(url("plain.gguf")).ok());
  EXPECT_NE(said_.find("(checked)"), std::string::npos);
  ASSERT_TRUE(remove_model(options_.folder, "plain.gguf").ok());
  options_.sha256 = std::string(64, 'a');
  EXPECT_NE(error_of(url("plain.gguf")).find("was expected"), std::string::npos);
  options_.sha256 = "abc";
  EXPECT_NE(error_of(url("plain.gguf")).find("64 hex digits"), std::string::npos);
}

TEST_F(Pull, BusyIsTriedAgainAndForeverIsNot) {
  EXPECT_TRUE(fetch_file({.url = url("busy.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1}).ok());
  const Result<FileResult> never = fetch_file({.url = url("forever.gguf"), .path = folder_ / "y.gguf", .attempts = 3, .wait_ms = 1});
  ASSERT_FALSE(never.ok());
  EXPECT_NE(never.error().message.find("answered 503"), std::string::npos) << never.error().message;
  const Result<FileResult> missing = fetch_file({.url = url("missing.gguf"), .path = folder_ / "z.gguf", .wait_ms = 1});
  EXPECT_NE(missing.error().message.find("answered 404"), std::string::npos);
}

TEST_F(Pull, OfACheckpointWeightsAndTextsCodeNever) {
  const Result<Pulled> pulled = pull_of("hf://check/point");
  ASSERT_TRUE(pulled.ok()) << pulled.error().message;
  EXPECT_EQ(pulled->name, "check/point");
  EXPECT_TRUE(fs::exists(at("check/point/config.json")));
  EXPECT_TRUE(fs::exists(at("check/point/model.safetensors")));
  EXPECT_FALSE(fs::exists(at("check/point/modeling_evil.py")));
  EXPECT_FALSE(fs::exists(at("check/point/pytorch_model.bin")));
  EXPECT_EQ(log().find("evil"), std::string::npos);
  EXPECT_EQ(log().find("pytorch"), std::string::npos);
  said_.clear();
  EXPECT_TRUE(pull_of("hf://check/point").ok());
  EXPECT_NE(said_.find("is here already"), std::string::npos) << said_;
  EXPECT_NE(error_of("hf://bad/blob").find("was expected"), std::string::npos);  // a small file's git id
}

TEST_F(Pull, SeveralGgufFilesAreShownAndOneIsChosenByAPartOfItsName) {
  const std::string error = error_of("hf://two/gguf");
  EXPECT_NE(error.find(":model-Q4_K_M.gguf"), std::string::npos) << error;
  EXPECT_NE(error.find(":model-Q8_0.gguf"), std::string::npos) << error;
  const Result<Pulled> pulled = pull_of("hf://two/gguf:q8_0");
  ASSERT_TRUE(pulled.ok()) << pulled.error().message;
  EXPECT_EQ(pulled->name, "two/gguf/model-Q8_0.gguf");
  EXPECT_NE(error_of("hf://two/gguf:Q2_K").find("names none"), std::string::npos);
  EXPECT_NE(error_of("hf://no/such").find("answered 404"), std::string::npos);
}

TEST_F(Pull, HostileNamesAndSizesAreRefused) {
  EXPECT_NE(error_of("hf://evil/names").find("a model's name is made of"), std::string::npos);
  EXPECT_NE(error_of("hf://short/size").find("were announced"), std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) EXPECT_EQ(entry.path().string().find("evil.gguf"), std::string::npos);
}

TEST_F(Pull, TwoPullsOfOneFileDoNotMeet) {
  FileRequest outer{.url = url("drop-100000.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1};
  std::string second;
  outer.progress = [&](uint64_t, uint64_t) {
    if (!second.empty()) return;
    const Result<FileResult> inner = fetch_file({.url = url("plain.gguf"), .path = folder_ / "x.gguf", .wait_ms = 1});
    second = inner.ok() ? "ok" : inner.error().message;
  };
  EXPECT_TRUE(fetch_file(outer).ok());
  EXPECT_NE(second.find("another `sluice pull` is at it"), std::string::npos) << second;
}

TEST(Sources, WhatIsTakenAndWhatIsNot) {
  const Result<Source> plain = parse_source("https://example.org/a/b.gguf?download=1");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->name, "b.gguf");
  const Result<Source> full = parse_source("hf://ai21labs/AI21-Jamba-Reasoning-3B-GGUF@v1.0:jamba-reasoning-3b-Q4_K_M.gguf");
  ASSERT_TRUE(full.ok()) << full.error().message;
  EXPECT_EQ(full->owner, "ai21labs");
  EXPECT_EQ(full->revision, "v1.0");
  EXPECT_EQ(full->file, "jamba-reasoning-3b-Q4_K_M.gguf");
  for (const char* bad :
       {"", "model.gguf", "http://example.org/a.gguf", "ftp://example.org/a.gguf", "file:///etc/passwd", "https://example.org/", "https://example.org/a.bin",
        "https://example.org/..gguf", "https://u:p@example.org/a.gguf", "https://example.org/a%2f..%2fb.gguf", "hf://a", "hf://a/b/c", "hf://../b", "hf://a/..",
        "hf://a/b:../c.gguf", "hf://a/b:/etc/passwd", "hf://a/b@../x:y", "hf://a/b:-x", "hf://a/b:", "hf://a b/c", "hf://a/b:c\nd"}) {
    EXPECT_FALSE(parse_source(bad).ok()) << bad;
  }
}

TEST(Sources, TreesThatAreNone) {
  for (const char* bad : {"", "{}", "[1]", "[{}]", "[{\"path\": 5, \"type\": \"file\"}]", "[{\"path\": \"x\"}]", "[[[["}) {
    EXPECT_FALSE(parse_tree(bad).ok()) << bad;
  }
  EXPECT_FALSE(parse_tree(std::string(1'000'000, '[')).ok());
  EXPECT_TRUE(parse_tree("[]")->empty());
}

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("sluice-models-" + std::to_string(getpid()));
    fs::remove_all(folder_);
    for (const char* name : {"a/r/one.gguf", "a/r/two.gguf", "b/only/x.gguf", "c/check/config.json", "c/check/model.safetensors", "top.gguf",
                             "d/half.gguf.part", "a/r/notes.txt", ".hidden/y.gguf"}) {
      fs::create_directories((folder_ / name).parent_path());
      std::ofstream(folder_ / name) << "12345";
    }
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(Folder, ListsModelsAndWhatIsHalfThere) {
  const Result<std::vector<LocalModel>> models = list_models(folder_);
  ASSERT_TRUE(models.ok());
  std::string names;
  for (const LocalModel& model : *models) names += model.name + (model.folder ? "/" : "") + (model.partial ? "?" : "") + " ";
  EXPECT_EQ(names, "a/r/one.gguf a/r/two.gguf b/only/x.gguf c/check/ d/half.gguf? top.gguf ");
  EXPECT_TRUE(list_models(folder_ / "none")->empty());
}

TEST_F(Folder, FindsByNameRepositoryOrFile) {
  const auto found = [&](const std::string& named) { return *find_model(folder_, named); };
  EXPECT_EQ(found("a/r/one.gguf"), (folder_ / "a/r/one.gguf").string());
  EXPECT_EQ(found("one"), (folder_ / "a/r/one.gguf").string());
  EXPECT_EQ(found("b/only"), (folder_ / "b/only/x.gguf").string());
  EXPECT_EQ(found("c/check"), (folder_ / "c/check").string());
  EXPECT_EQ(found("check"), (folder_ / "c/check").string());
  EXPECT_EQ(found(""), "");
  EXPECT_EQ(found("/etc/hostname"), "/etc/hostname");
  EXPECT_EQ(found("no-such"), "no-such");
  EXPECT_EQ(found("../x"), "../x");
  EXPECT_EQ(found("half"), "half");
  const Result<std::string> both = find_model(folder_, "a/r");
  ASSERT_FALSE(both.ok());
  EXPECT_NE(both.error().message.find("a/r/one.gguf or a/r/two.gguf"), std::string::npos);
}

TEST_F(Folder, RemovesOnlyWhatIsInIt) {
  const fs::path outside = folder_.string() + "-outside.gguf";
  std::ofstream(outside) << "precious";
  fs::create_symlink(outside, folder_ / "link.gguf");
  fs::create_directory_symlink(folder_.parent_path(), folder_ / "up");
  for (const std::string& bad : {"../" + outside.filename().string(), outside.string(), std::string("link.gguf"), std::string("up/x.gguf"), std::string("."),
                                std::string("a"), std::string("a/r"), std::string("a/r/notes.txt"), std::string(".hidden/y.gguf")}) {
    EXPECT_FALSE(remove_model(folder_, bad).ok()) << bad;
  }
  EXPECT_TRUE(fs::exists(outside));
  EXPECT_EQ(*remove_model(folder_, "b/only/x.gguf"), 5u);
  EXPECT_FALSE(fs::exists(folder_ / "b"));
  EXPECT_EQ(*remove_model(folder_, "c/check"), 10u);
  EXPECT_EQ(*remove_model(folder_, "d/half.gguf"), 5u);
  EXPECT_FALSE(fs::exists(folder_ / "d"));
  EXPECT_TRUE(fs::exists(folder_ / "a/r/notes.txt"));
  fs::remove(outside);
}

}  // namespace
}  // namespace sluice::hub
