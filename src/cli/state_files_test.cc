// `sluice state list|show|verify|export|delete` over snapshots as the disk tier writes them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/verbs.h"
#include "engine/snapshot_file.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

class StateFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-states-XXXXXX";
    root_ = ::mkdtemp(name);
    folder_ = root_ / "states" / "0000000000000001-0000000000000002-1";
    fs::create_directories(folder_);
    write(0xaa01, 0, 0, 100);
    write(0xaa02, 0xaa01, 100, 164);
    write(0xbb03, 0xaa01, 100, 130);
    options_.folder = (root_ / "states").string();
    options_.json = true;
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(uint64_t id, uint64_t parent, uint64_t from, uint64_t to) {
    engine::SnapshotInfo info;
    info.binding = {1, 2, 256, 500, 1};
    info.tenant = 3;
    info.id = id;
    info.parent = parent;
    info.from = from;
    info.to = to;
    for (uint64_t i = from; i < to; ++i) info.tokens.push_back(static_cast<int32_t>(i % 50));
    const std::vector<std::byte> page(256, std::byte{7}), state(500, std::byte{9});
    const std::vector<const std::byte*> pages(info.page_count(), page.data());
    const std::span<const std::byte> parts[] = {state};
    char file[64];
    std::snprintf(file, sizeof file, "%016x-%016x.snap", 3u, static_cast<unsigned>(id));
    ASSERT_TRUE(engine::write_snapshot(folder_ / file, info, pages, parts).ok());
  }
  // What `verb` prints, parsed; its exit status in status_.
  nlohmann::json call(int (*verb)(const StateFilesOptions&)) {
    testing::internal::CaptureStdout();
    status_ = verb(options_);
    return nlohmann::json::parse(testing::internal::GetCapturedStdout(), nullptr, false);
  }

  fs::path root_, folder_;
  StateFilesOptions options_;
  int status_ = -1;
};

TEST_F(StateFiles, ListNamesEveryStateAndWhatItGoesOnFrom) {
  const nlohmann::json out = call(state_list);
  EXPECT_EQ(status_, 0);
  ASSERT_EQ(out["states"].size(), 3u);
  EXPECT_EQ(out["states"][0]["id"], "000000000000aa01");
  EXPECT_TRUE(out["states"][0]["parent"].is_null());
  EXPECT_EQ(out["states"][1]["parent"], "000000000000aa01");
  EXPECT_EQ(out["states"][1]["to"], 164);
  EXPECT_EQ(out["states"][1]["tenant"], 3);
}

TEST_F(StateFiles, ShowGivesThePathAndAllTokens) {
  options_.id = "000000000000aa02";
  const nlohmann::json out = call(state_show);
  EXPECT_EQ(out["tokens"].size(), 164u);
  EXPECT_EQ(out["path"].size(), 2u);
  options_.id = "000000000000aa";  // two begin so
  testing::internal::CaptureStderr();
  EXPECT_EQ(state_show(options_), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("more than one"), std::string::npos);
}

TEST_F(StateFiles, VerifyFindsOneFlippedBitAndExits1) {
  EXPECT_EQ(call(state_verify)["damaged"].size(), 0u);
  EXPECT_EQ(status_, 0);
  const fs::path file = folder_ / "0000000000000003-000000000000bb03.snap";
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(fs::file_size(file) - 3));
  stream.put('\x42');
  stream.close();
  EXPECT_EQ(call(state_verify)["damaged"].size(), 1u);
  EXPECT_EQ(status_, 1);
}

TEST_F(StateFiles, ExportTakesTheParentsAlong) {
  options_.id = "000000000000bb03";
  options_.out = (root_ / "elsewhere").string();
  EXPECT_EQ(call(state_export)["states"], 2);
  options_.folder = options_.out;
  EXPECT_EQ(call(state_verify)["states"], 2);
  EXPECT_EQ(status_, 0);
}

TEST_F(StateFiles, DeleteTakesWhatGoesOnFromIt) {
  options_.id = "000000000000aa01";
  EXPECT_EQ(call(state_delete)["deleted"], 3);
  EXPECT_EQ(call(state_list)["states"].size(), 0u);
}

TEST_F(StateFiles, AFolderThatIsNotThereIsNamed) {
  options_.folder = "/nowhere/states";
  testing::internal::CaptureStderr();
  EXPECT_EQ(state_list(options_), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("/nowhere/states"), std::string::npos);
}

}  // namespace
}  // namespace sluice::cli
