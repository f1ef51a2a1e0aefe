#pragma once

#include <cstdint>

namespace steadyrun::agent {

// SIGKILLs every direct child of this process; the number of them. Only direct
// children: they cannot be reaped by anybody else, so their pids are safe, and
// the children they leave become ours (the shim is a subreaper) for the next
// call. Stopped ones die too.
int KillChildren();

// Field 22 of /proc/<pid>/stat; 0 if there is no such process.
std::uint64_t StartTicks(int pid);

}  // namespace steadyrun::agent
