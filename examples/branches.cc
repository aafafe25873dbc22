// One beginning, three stories: the beginning is read once, each branch goes on from its state, and the one that is kept lives on in a file.
// usage: branches [MODEL] [FOLDER]   (the model inside the library if left out)
#include <sluice/sluice.h>

#include <cstdio>
#include <string>

namespace {

int fail(const std::string& what) {
  std::fprintf(stderr, "branches: %s\n", what.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string model_path = argc > 1 ? argv[1] : "", folder = argc > 2 ? argv[2] : "/tmp";
  auto model = sluice::Model::open({.path = model_path, .memory = model_path.empty() ? "512M" : "", .context = 1024});
  if (!model.ok()) return fail(model.error());

  sluice::Conversation story = model->conversation();
  if (auto said = story.append("Once upon a time there was a fox who found a lantern in the snow."); !said.ok()) return fail(said.error());
  if (auto read = story.read(); !read.ok()) return fail(read.error());

  sluice::GenerateOptions options{.max_tokens = 24, .stop = {"\n\n"}};
  options.on_piece = [](const sluice::Piece& piece) {
    std::fwrite(piece.text.data(), 1, piece.text.size(), stdout);
    return std::fflush(stdout) == 0;
  };
  sluice::Conversation last = story.fork();
  for (options.sampling.seed = 1; options.sampling.seed <= 3; ++options.sampling.seed) {
    last = story.fork();
    std::printf("%d:", static_cast<int>(options.sampling.seed));
    const auto answer = last.generate(options);
    if (!answer.ok()) return fail(answer.error());
    std::printf("\n   (%d of %d tokens known before)\n", static_cast<int>(answer->reused_tokens), static_cast<int>(answer->prompt_tokens));
  }

  const std::string file = folder + "/branches.story";
  if (auto saved = last.save(file); !saved.ok()) return fail(saved.error());
  auto restored = model->restore(file);
  if (!restored.ok()) return fail(restored.error());
  std::printf("and on:");
  const auto more = restored->generate(options);
  if (!more.ok()) return fail(more.error());
  std::printf("\n   (%d of %d tokens known before)\n", static_cast<int>(more->reused_tokens), static_cast<int>(more->prompt_tokens));
  return 0;
}
