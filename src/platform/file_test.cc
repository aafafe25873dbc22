#include "platform/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "platform/clock.h"
#include "platform/memory.h"

namespace sluice::platform {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  size_t entries() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }

  fs::path folder_;
};

std::string text_of(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

std::string slurp(const fs::path& path) {
  const auto text = read_whole_file(path, 1u << 20);
  return text.ok() ? *text : text.error().message;
}

TEST_F(FileTest, MapsTheBytesOfAFile) {
  auto file = MappedFile::open(write("a", "hello"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(text_of(*file), "hello");
  EXPECT_EQ(file->identity().size, 5u);
  MappedFile moved = std::move(*file);
  EXPECT_EQ(text_of(moved), "hello");
  moved.advise_will_need();
  moved.advise_huge_pages();
  EXPECT_EQ(*identify_file(folder_ / "a"), moved.identity());
}

TEST_F(FileTest, AnEmptyFileIsEmptyAndNotAnError) {
  const auto file = MappedFile::open(write("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST_F(FileTest, LinksAreFollowed) {
  write("blob", "model");
  fs::create_symlink("blob", folder_ / "link");
  const auto file = MappedFile::open(folder_ / "link");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(text_of(*file), "model");
}

// M13: only regular files are opened, and none of these blocks.
TEST_F(FileTest, M13DevicesFoldersPipesAndSocketsAreRefused) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = (folder_ / "socket").string();
  name.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  fs::create_symlink("/dev/zero", folder_ / "link_to_device");
  fs::create_symlink("nowhere", folder_ / "dangling");
  fs::create_symlink("loop", folder_ / "loop");
  const std::vector<std::pair<fs::path, std::string>> cases = {
      {"/dev/zero", "a character device"},
      {"/dev/random", "a character device"},
      {folder_, "a folder"},
      {folder_ / "pipe", "a pipe"},
      {folder_ / "socket", "a socket"},
      {folder_ / "link_to_device", "a character device"},
      {folder_ / "dangling", "No such file"},
      {folder_ / "loop", "Too many levels"},
      {folder_ / "missing", "No such file"},
      {fs::path(std::string("a\0b", 3)), "NUL"},
  };
  for (const auto& [path, reason] : cases) {
    const auto mapped = MappedFile::open(path);
    ASSERT_FALSE(mapped.ok()) << path;
    EXPECT_NE(mapped.error().message.find(reason), std::string::npos) << mapped.error().message;
    EXPECT_FALSE(read_whole_file(path, 100).ok()) << path;
    EXPECT_FALSE(identify_file(path).ok()) << path;
  }
  ::close(socket);
}

TEST_F(FileTest, WholeReadsAreBounded) {
  const fs::path path = write("ten", "0123456789");
  EXPECT_EQ(*read_whole_file(path, 10), "0123456789");
  const auto refused = read_whole_file(path, 9);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, path.string() + " has 10 bytes, the limit is 9");
  EXPECT_EQ(*read_whole_file(write("none", ""), 0), "");
  EXPECT_TRUE(read_whole_file("/proc/self/status", 1u << 20).ok());  // says size 0, has text
  EXPECT_FALSE(read_whole_file("/proc/self/status", 10).ok());
}

TEST_F(FileTest, AnAtomicFileAppearsOnlyAtCommit) {
  const fs::path path = write("package", "old");
  uint64_t told = 0;
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  file->set_progress([&](uint64_t bytes) { told = bytes; });
  ASSERT_TRUE(file->reserve(1000).ok());
  ASSERT_TRUE(file->write("....new").ok());
  ASSERT_TRUE(file->write_at(0, std::as_bytes(std::span("very", 4))).ok());
  EXPECT_EQ(told, 7u);
  EXPECT_EQ(slurp(path), "old");
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(slurp(path), "verynew");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, AnAtomicFileThatIsDroppedLeavesNothing) {
  const fs::path path = write("package", "old");
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
    EXPECT_EQ(entries(), 2u);
  }
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, AtomicFilesFailWithTheReason) {
  EXPECT_FALSE(AtomicFile::create(folder_ / "no_such_folder" / "x").ok());
  EXPECT_FALSE(AtomicFile::create("/proc/x").ok());
  fs::create_directory(folder_ / "taken");
  auto file = AtomicFile::create(folder_ / "taken");
  ASSERT_TRUE(file.ok());
  const Status status = file->commit();
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("directory"), std::string::npos) << status.error().message;
}

TEST_F(FileTest, AFullDiskIsAnErrorAndLeavesNoFile) {
  // A device that is always full stands in for the disk: /dev/full cannot be renamed over, so only the limit of this process is used.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_NE(::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    auto file = AtomicFile::create(folder_ / "big");
    ASSERT_TRUE(file.ok());
    const Status status = file->write(std::string(10000, 'x'));
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("File too large"), std::string::npos) << status.error().message;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(entries(), 0u);
}

TEST(Memory, MappingsAreZeroedAndAligned) {
  for (const auto pages : {AnonymousMapping::Pages::kNormal, AnonymousMapping::Pages::kHuge}) {
    auto mapping = AnonymousMapping::map(3'000'000, pages);
    ASSERT_TRUE(mapping.ok());
    const uintptr_t alignment = pages == AnonymousMapping::Pages::kHuge ? 2u << 20 : 4096;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(mapping->bytes().data()) % alignment, 0u);
    EXPECT_EQ(mapping->bytes().size(), 3'000'000u);
    mapping->bytes()[8192] = std::byte{7};
    mapping->touch();
    EXPECT_EQ(mapping->bytes()[8192], std::byte{7});
    mapping->release(8000, 20000);
    EXPECT_EQ(mapping->bytes()[8192], std::byte{0});
    const AnonymousMapping moved = std::move(*mapping);
    EXPECT_EQ(moved.bytes()[2'999'999], std::byte{0});
  }
  EXPECT_FALSE(AnonymousMapping::map(UINT64_MAX, AnonymousMapping::Pages::kHuge).ok());
  EXPECT_FALSE(AnonymousMapping::map(1ull << 62, AnonymousMapping::Pages::kNormal).ok());
}

TEST(Memory, TouchedPagesShowInTheResidentSize) {
  const uint64_t before = process_memory().resident_anonymous_bytes;
  const auto mapping = AnonymousMapping::map(64u << 20, AnonymousMapping::Pages::kNormal);
  ASSERT_TRUE(mapping.ok());
  EXPECT_LT(process_memory().resident_anonymous_bytes, before + (32u << 20));
  mapping->touch();
  const ProcessMemory after = process_memory();
  EXPECT_GE(after.resident_anonymous_bytes, before + (60u << 20));
  EXPECT_GE(after.resident_peak_bytes, after.resident_anonymous_bytes);
  EXPECT_GT(available_memory_bytes(), 0u);
}

TEST(Memory, LinesOfProcAreReadWhole) {
  EXPECT_EQ(proc_kilobytes("VmPeak:\t 9 kB\nVmRSS:\t     12 kB\n", "VmRSS"), 12u * 1024);
  EXPECT_FALSE(proc_kilobytes("VmRSSX: 12 kB\nVmRSS", "VmRSS").has_value());
  EXPECT_FALSE(proc_kilobytes("VmRSS: many", "VmRSS").has_value());
}

TEST(Clock, GoesForward) {
  const uint64_t first = now_ns();
  EXPECT_GE(now_ns(), first);
}

}  // namespace
}  // namespace sluice::platform
