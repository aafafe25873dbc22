// The program: parses the command line and calls a verb (cli/verbs.h).
#include "cli/verbs.h"

int main(int argc, char** argv) { return sluice::cli::main_with(argc, argv); }
