// `sluice run` on a terminal: a person at a pseudo-terminal chats, stops an answer with Ctrl-C, sees a bar while a long thing works, and leaves.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

class Terminal {
 public:
  explicit Terminal(const std::string& arguments) {
    child_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (child_ != 0) return;
    execl("/bin/sh", "sh", "-c", ("exec " SLUICE_BINARY " " + arguments).c_str(), nullptr);
    _exit(127);
  }
  ~Terminal() {
    close(terminal_);
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }
  bool works() const { return child_ > 0; }
  void type(const std::string& keys) { ASSERT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size())); }

  // What the screen says until `words` have come, they included; all there is when the program ends. A minute without them is a failure.
  std::string until(const std::string& words) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    size_t at = std::string::npos;
    while ((at = unread_.find(words)) == std::string::npos && std::chrono::steady_clock::now() < give_up) {
      pollfd ready{terminal_, POLLIN, 0};
      if (poll(&ready, 1, 1000) <= 0) continue;
      char buffer[4096];
      const ssize_t n = read(terminal_, buffer, sizeof buffer);
      if (n <= 0) break;
      unread_.append(buffer, static_cast<size_t>(n));
    }
    if (std::chrono::steady_clock::now() >= give_up) ADD_FAILURE() << "no '" << words << "' within a minute, but: " << unread_;
    const size_t end = at == std::string::npos ? unread_.size() : at + words.size();
    std::string seen = unread_.substr(0, end);
    unread_.erase(0, end);
    return seen;
  }
  int status() {
    until("\x04 the program has ended");
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  int terminal_ = -1;
  pid_t child_ = -1;
  std::string unread_;
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Chat, CtrlCEndsAnAnswerNotTheProgram) {
  // Tokens without end: at this temperature the end of the answer is one token of thousands.
  Terminal terminal("run --raw --ctx 65536 --temp 100 --top-k 0 --top-p 1 --min-p 0 --threads 1");
  if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminal to be had here";
  ASSERT_TRUE(contains(terminal.until("\n> "), "Ctrl-C to stop an answer"));
  terminal.type("Once upon a time\n");
  terminal.until("Once upon a time\r\n");
  terminal.until(" ");  // the answer streams
  terminal.type("\x03");
  const std::string stopped = terminal.until("\n> ");
  EXPECT_TRUE(contains(stopped, "tokens/s]")) << stopped;
  terminal.type("\x03");  // at the prompt it does nothing; whether the prompt is drawn anew depends on whether it is being read yet
  terminal.type("/quit\n");
  EXPECT_EQ(terminal.status(), 0);
}

TEST(Chat, AMessageThatDoesNotFitIsRefusedAndTheChatGoesOn) {
  Terminal terminal("run --ctx 256 -n 4 --threads 1");
  if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminal to be had here";
  terminal.until("\n> ");
  std::string message;
  for (int i = 0; i < 400; ++i) message += "fox ";
  terminal.type(message + "\n");
  EXPECT_TRUE(contains(terminal.until("\n> "), "the context holds 256"));
  terminal.type("Hello\n");
  EXPECT_TRUE(contains(terminal.until("\n> "), "4 new")) << "the refused message is still part of the conversation";
  terminal.type("\x04");  // end of input
  EXPECT_EQ(terminal.status(), 0);
}

TEST(Chat, LongWorkShowsABar) {
  const fs::path package = fs::temp_directory_path() / ("sluice-bar-" + std::to_string(getpid()) + ".sluice");
  Terminal terminal("compile -o " + package.string());
  if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminal to be had here";
  EXPECT_TRUE(contains(terminal.until("100 %"), "compiling ["));
  EXPECT_EQ(terminal.status(), 0);
  fs::remove(package);
}

}  // namespace
}  // namespace sluice::cli
