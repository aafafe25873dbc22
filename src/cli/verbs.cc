#include "cli/verbs.h"
namespace sluice::cli {
int main_with(int, char**) { return 0; }
}
