// The interactive chat's parts: the tree of messages, the states kept for it, and the commands as a person types them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/chat_store.h"
#include "cli/chat_tree.h"
#include "cli/golden_support.h"
#include "engine/sampler.h"
#include "platform/cpu.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

fs::path scratch(const std::string& name) { return fs::temp_directory_path() / (name + std::to_string(getpid())); }

TEST(ChatTree, EditsBranchesAndUndoKeepWhatWasSaid) {
  ChatTree tree;
  tree.say("system", "be brief");
  tree.say("user", "one");
  tree.say("assistant", "eins");
  tree.say("user", "two\nlines");
  tree.say("assistant", "zwei");
  ASSERT_TRUE(tree.before(2).ok());
  EXPECT_EQ(tree.end(), 1u);
  tree.say("user", "ONE");
  tree.say("assistant", "EINS");
  EXPECT_EQ(tree.path(), (std::vector<uint32_t>{1, 6, 7}));
  EXPECT_EQ(tree.path_json()[1]["content"], "ONE");
  ASSERT_TRUE(tree.branch(3).ok());
  EXPECT_EQ(tree.path(), (std::vector<uint32_t>{1, 2, 3}));
  ASSERT_TRUE(tree.undo().ok());
  EXPECT_EQ(tree.end(), 1u);
  EXPECT_FALSE(tree.undo().ok());
  EXPECT_FALSE(tree.before(3).ok());
  EXPECT_FALSE(tree.before(8).ok());
  EXPECT_FALSE(tree.branch(8).ok());
  ASSERT_TRUE(tree.branch(7).ok());
  EXPECT_EQ(tree.drawing(),
            "*   1 system: be brief\n"
            "      2 user: one\n"
            "      3 assistant: eins\n"
            "      4 user: two ...\n"
            "      5 assistant: zwei\n"
            "  *   6 user: ONE\n"
            "  *   7 assistant: EINS\n");
}

TEST(ChatTree, SavesAndLoadsAndRefusesWhatIsNoChat) {
  ChatTree tree;
  tree.say("user", "one");
  tree.say("assistant", "eins");
  ASSERT_TRUE(tree.before(1).ok());
  tree.say("user", "other");
  const fs::path path = scratch("sluice_chat_");
  ASSERT_TRUE(tree.save(path).ok());
  const Result<ChatTree> again = ChatTree::load(path);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->drawing(), tree.drawing());
  for (const char* text : {"", "[]", "{}", R"({"sluice_chat": 1})", R"({"sluice_chat": 1, "messages": [], "end": 1})",
                           R"({"sluice_chat": 1, "messages": [{"role": "user", "content": "x", "parent": 1}], "end": 1})"}) {
    std::ofstream(path) << text;
    EXPECT_FALSE(ChatTree::load(path).ok()) << text;
  }
  fs::remove(path);
}

TEST(ChatStore, GoesBackToTheNearestStateWithTheBitsOfAColdStart) {
  const fs::path path = fs::path(SLUICE_SOURCE_DIR) / "models/sluice-jamba.gguf";
  Result<TestModel> model = TestModel::open(path, {.isa = platform::best_isa(), .kv_type = kernels::KvType::kF16});
  ASSERT_TRUE(model.ok()) << model.error().message;
  auto session = model->session(1024), cold = model->session(1024);
  auto store = ChatStore::create(model->runtime(), 1024, 64 << 20);
  ASSERT_TRUE(store.ok()) << store.error().message;
  std::vector<int32_t> prompt(700);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(engine::uniform(1, 1, i) * 400);
  const auto turn = [&](const std::vector<int32_t>& ids) {
    (*store)->resume(*session, ids);
    const size_t reused = session->tokens().size();
    EXPECT_TRUE((*store)->read(*session, ids, [](uint64_t) { return true; }).ok());
    (*store)->keep(*session, engine::Kind::kAnswerEnd);
    const std::vector<float> logits(session->logits().begin(), session->logits().end());
    cold->reset();
    EXPECT_TRUE(cold->feed(ids, {}).ok());
    EXPECT_TRUE(std::equal(logits.begin(), logits.end(), cold->logits().begin())) << "reused " << reused;
    return reused;
  };
  EXPECT_EQ(turn(prompt), 0u);
  auto edited = prompt;
  edited[600] += 1;
  EXPECT_GE(turn(edited), 400u);
  EXPECT_EQ(turn(prompt), 699u);
  edited.push_back(5);
  EXPECT_EQ(turn(edited), 700u);
  EXPECT_FALSE(ChatStore::create(model->runtime(), 1024, 1000).ok());
}

TEST(ChatCommands, AsAPersonTypesThem) {
  if (std::system("command -v script >/dev/null 2>&1") != 0) GTEST_SKIP() << "needs script(1) for a terminal";
  const fs::path chat = scratch("sluice_saved_chat_"), typed = scratch("sluice_typed_");
  std::ofstream(typed) << "Say one word\n/tree\n/edit 1 Say two words\n/tree\n/undo\n/undo\n/branch 99\n/save " << chat.string() << "\n/load " << chat.string()
                       << "\n/nonsense\n/quit\n";
  const std::string command = "script -qec '" SLUICE_BINARY " run -n 6 --ctx 512' /dev/null < " + typed.string();
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string out;
  char buffer[4096];
  for (size_t n = fread(buffer, 1, sizeof buffer, pipe); n > 0; n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << out;
  const auto has = [&](const char* text) { return out.find(text) != std::string::npos; };
  EXPECT_TRUE(has("1 user: Say one word")) << out;
  EXPECT_TRUE(has("3 user: Say two words")) << out;
  EXPECT_TRUE(has("there is nothing to undo")) << out;
  EXPECT_TRUE(has("there is no message 99")) << out;
  EXPECT_TRUE(has("/nonsense is no command")) << out;
  EXPECT_TRUE(fs::exists(chat)) << out;
  EXPECT_TRUE(fs::exists(chat.string() + ".state")) << out;
  fs::remove(chat);
  fs::remove(chat.string() + ".state");
  fs::remove(typed);
}

}  // namespace
}  // namespace sluice::cli
