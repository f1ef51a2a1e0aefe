#pragma once

namespace steadyrun {

// Set by CMake from project(VERSION).
#ifdef STEADYRUN_VERSION
inline constexpr const char* kVersion = STEADYRUN_VERSION;
#else
inline constexpr const char* kVersion = "0.0.0-unset";
#endif

}  // namespace steadyrun
