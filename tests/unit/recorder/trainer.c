#include "tests/unit/recorder/trainer.h"

#include <stdio.h>

#include "agent/c/steadyrun.h"

static struct srun_run run;

int trainer_attach(void) { return srun_init(&run); }

int trainer_step(int64_t step, float loss) {
  struct srun_values values = srun_no_values();
  struct srun_due due;
  values.loss = loss;
  due = srun_step(&run, step, &values);
  if (due.stop) return SRUN_ACTION_SAVE_STOP;
  return due.save ? SRUN_ACTION_SAVE : SRUN_ACTION_NONE;
}

void trainer_checkpoint(int64_t step, const char* path) {
  const uint32_t outer = srun_enter(&run, SRUN_PHASE_CHECKPOINT);
  srun_checkpoint_saved(&run, step, path, 0);
  srun_leave(&run, outer);
}

uint32_t trainer_enter(uint32_t phase) { return srun_enter(&run, phase); }

void trainer_leave(uint32_t outer) { srun_leave(&run, outer); }

void trainer_finish(const char* sha256) { srun_finish(&run, sha256); }

void trainer_named(int64_t step, const char* name, float value) {
  struct srun_values values = srun_no_values();
  values.named[0].name = srun_metric(&run, name);
  values.named[0].value = value;
  values.named_count = 1;
  (void)srun_step(&run, step, &values);
}

int64_t trainer_resume_step(void) { return run.resume_step; }

void trainer_fast_steps(int64_t from, int64_t count) {
  struct srun_values values = srun_no_values();
  int64_t step;
  values.loss = 1.0f;
  for (step = from; step < from + count; ++step) {
    (void)srun_step(&run, step, &values);
  }
}

uint32_t trainer_communicator(const char* group) {
  return srun_communicator(&run, group);
}

void trainer_collective(uint32_t communicator) {
  srun_collective(&run, communicator);
}
