/* Nanoseconds of srun_step() in C, back to back and paced; run by sdk_step.py
 * with STEADYRUN_RECORDER naming a recorder. */

#include <stdio.h>

#include "agent/c/steadyrun.h"

enum { kBatches = 400, kBatch = 1000, kPaced = 2000 };

static int Compare(const void* a, const void* b) {
  const double left = *(const double*)a;
  const double right = *(const double*)b;
  return (left > right) - (left < right);
}

static double Now(void) { return (double)srun_clock_ns(CLOCK_MONOTONIC); }

int main(void) {
  static double samples[kPaced];
  struct srun_run run;
  if (!srun_init(&run)) {
    fprintf(stderr, "no recorder\n");
    return 1;
  }
  struct srun_values values = srun_no_values();
  values.loss = 2.5f;
  values.grad_norm = 1.5f;
  values.tokens = 512;
  int64_t step = 0;
  for (int batch = 0; batch < kBatches; ++batch) {
    const double began = Now();
    for (int i = 0; i < kBatch; ++i) (void)srun_step(&run, ++step, &values);
    samples[batch] = (Now() - began) / kBatch;
  }
  qsort(samples, kBatches, sizeof samples[0], Compare);
  printf("{\"back_to_back_ns\": %.0f, \"back_to_back_p99_ns\": %.0f, ",
         samples[kBatches / 2], samples[kBatches * 99 / 100]);

  double following = Now();
  for (int i = 0; i < kPaced; ++i) {
    while (Now() < following) {
    }
    const double began = Now();
    (void)srun_step(&run, ++step, &values);
    samples[i] = Now() - began;
    following = began + 500000;
  }
  /* Two clock readings are in each sample, as in Python's. */
  qsort(samples, kPaced, sizeof samples[0], Compare);
  printf("\"paced_ns\": %.0f, \"paced_p99_ns\": %.0f}\n", samples[kPaced / 2],
         samples[kPaced * 99 / 100]);
  return 0;
}
