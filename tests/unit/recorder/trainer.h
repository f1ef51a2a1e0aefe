#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A small training program in C against agent/c/steadyrun.h. A header of its
 * own, since in C++ the layout's struct names and the library's calls collide.
 */
int trainer_attach(void);
int trainer_step(int64_t step, float loss); /* The action due. */
void trainer_checkpoint(int64_t step, const char* path);
uint32_t trainer_enter(uint32_t phase);
void trainer_leave(uint32_t outer);
void trainer_fast_steps(int64_t from, int64_t count);
void trainer_finish(const char* sha256);
void trainer_named(int64_t step, const char* name, float value);
int64_t trainer_resume_step(void);
uint32_t trainer_communicator(const char* group);
void trainer_collective(uint32_t communicator);

#ifdef __cplusplus
}
#endif
