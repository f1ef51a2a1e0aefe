#pragma once

namespace steadyrun::agent {

// The agent is small beside a training that wants the memory.

// Few malloc arenas, freed memory given back. Call once, first in main().
void KeepHeapSmall();

// Unmaps the code this process has run so far. What is still needed is mapped
// again from the page cache when it is next run: some hundred page faults, less
// than a millisecond. What only starting up needed (most of the large
// libraries, of which the kernel maps 16 pages around each one used) is no
// longer resident.
void GiveBackCode();

}  // namespace steadyrun::agent
