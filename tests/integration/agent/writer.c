/* A training stand-in that writes its flight recorder: `writer STEPS MS`.
 * Saves a checkpoint when it is told to. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/c/steadyrun.h"

int main(int argc, char** argv) {
  const long steps = argc > 1 ? atol(argv[1]) : 10;
  const long step_ms = argc > 2 ? atol(argv[2]) : 10;
  struct srun_run run;
  srun_init(&run);
  for (int64_t i = run.resume_step < 0 ? 1 : run.resume_step + 1; i <= steps;
       ++i) {
    const struct timespec pause = {step_ms / 1000, (step_ms % 1000) * 1000000L};
    nanosleep(&pause, NULL);
    struct srun_values values = srun_no_values();
    values.loss = 1.0f / (float)i;
    values.grad_norm = 0.5f;
    values.tokens = 128;
    const struct srun_due due = srun_step(&run, i, &values);
    if (due.save) {
      char path[4096];
      snprintf(path, sizeof path, "%s-step-%ld-rank-%s", run.checkpoint_dir,
               (long)i, getenv("RANK"));
      FILE* const file = fopen(path, "w");
      if (file == NULL) return 3;
      fprintf(file, "weights of step %ld\n", (long)i);
      fclose(file);
      srun_checkpoint_saved(&run, i, path, 0);
    }
    if (due.stop) break;
  }
  srun_finish(&run,
              "00ff00ff00ff00ff00ff00ff00ff00ff"
              "00ff00ff00ff00ff00ff00ff00ff00ff");
  return 0;
}
