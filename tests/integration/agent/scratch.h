#pragma once

#include <cstddef>
#include <string>

namespace steadyrun::agent {

// A directory of a test's own, removed with it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const {
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

// A small file system in memory, so that a disk can be filled. Needs root.
class SmallDisk {
 public:
  explicit SmallDisk(std::size_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_mounted() const { return is_mounted_; }
  const std::string& path() const { return scratch_.path(); }
  // Takes every free byte with a file, and gives it back.
  void Fill();
  void Free();

 private:
  Scratch scratch_;
  bool is_mounted_ = false;
};

}  // namespace steadyrun::agent
