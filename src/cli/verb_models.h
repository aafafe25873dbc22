// The verbs of the local folder of models.
#pragma once

#include <string>

namespace sluice::cli {

struct PullVerbOptions {
  std::string source;
  std::string sha256;
  bool json = false;
};
int pull_model(const PullVerbOptions& options);

struct ListVerbOptions {
  bool json = false;
};
int list_models(const ListVerbOptions& options);

struct RemoveVerbOptions {
  std::string name;
};
int remove_model(const RemoveVerbOptions& options);

}  // namespace sluice::cli
