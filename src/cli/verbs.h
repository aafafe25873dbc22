#pragma once
namespace sluice::cli {
int main_with(int argc, char** argv);
}
