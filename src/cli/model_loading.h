// What the user named, opened: as library/loading.h does it, and also by the names of the local folder of models; with a bar while it is compiled.
#pragma once

#include <filesystem>
#include <string>

#include "engine/session.h"
#include "library/loading.h"

namespace sluice::cli {

using library::choose_isa;
using library::Fit;
using library::fit;
using library::LoadedModel;
using library::ModelOptions;
using library::names_package;
using library::tokenizer_of;

Result<LoadedModel> load_model(const ModelOptions& options);
// A compiled (not planned) model, from the cache when it is there.
Result<compiler::Model> open_or_compile(const ModelOptions& options);
// With fewer users where not all fit under the cap.
Result<ModelOptions> with_fitting_users(const ModelOptions& options);
Result<weights::Checkpoint> open_checkpoint(const std::string& named);
Result<text::Tokenizer> open_tokenizer(const std::string& named);

// $XDG_STATE_HOME/sluice, or ~/.local/state/sluice: what is worth keeping but can be made again.
std::filesystem::path state_folder();

}  // namespace sluice::cli
