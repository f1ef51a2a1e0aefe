#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace steadyrun::replay {

// The folder of real curves and logs: $STEADYRUN_DATA, else shared/data beside
// the repository (tests run in its root). It may be absent.
inline std::filesystem::path DataFolder() {
  if (const char* folder = std::getenv("STEADYRUN_DATA")) return folder;
  return std::filesystem::current_path().parent_path() / "shared" / "data";
}
inline bool HasData() { return std::filesystem::exists(DataFolder()); }

// Files of a folder below it whose name ends so, in order.
inline std::vector<std::filesystem::path> DataFiles(const std::string& folder,
                                                    const std::string& end) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(DataFolder() / folder, error)) {
    if (entry.is_regular_file() &&
        entry.path().filename().string().ends_with(end)) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace steadyrun::replay

#define SKIP_WITHOUT_DATA()                                               \
  if (!steadyrun::replay::HasData()) {                                    \
    GTEST_SKIP() << "no real data in " << steadyrun::replay::DataFolder() \
                 << "; set STEADYRUN_DATA to the folder that holds it";   \
  }
