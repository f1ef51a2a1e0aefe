"""Steadyrun in the training process: pure standard library.

    import steadyrun

    run = steadyrun.init()
    for i in range(run.resume.step + 1 if run.resume else 1, steps + 1):
        loss, norm = train_one_step()
        action = run.step(i, loss=loss, grad_norm=norm, tokens=tokens)
        if action and action.save:
            with run.phase("checkpoint"):
                path = save(run.checkpoint_dir, i)
            run.checkpoint_saved(i, path)
        if action and action.stop:
            break
    run.finish()

Promises: nothing here raises into the training code, blocks it or opens a
socket; without an agent every call does nothing. One thread looks once a
second whether the rank advances, and tells where it stands if it does not
(STEADYRUN_STANDSTILL=0: no thread). What went wrong is counted (`run.errors`)
and shown by `steadyrun doctor`.

Steps count from 1, so that step N done means N steps done.
"""

from steadyrun._hash import parameter_hash
from steadyrun._run import Action, Resume, Run, init

__all__ = ["Action", "Resume", "Run", "init", "parameter_hash"]
__version__ = "0.1.0"
