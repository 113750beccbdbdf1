/* SPDX-License-Identifier: Apache-2.0 */
/* From the metadata of a model file to its hyper-parameters. */
#ifndef CHOIR_MODEL_HPARAMS_H
#define CHOIR_MODEL_HPARAMS_H

#include "model/model.h"

/*
 * Reads and checks every field of *hparams but those that only the tensors tell (output_is_shared,
 * has_rope_factors, n_parameters). EFORMAT where keys are missing, of a wrong type, out of range or
 * contradict each other; EUNSUPPORTED where the model needs what docs/numerics.md does not define:
 * also for a key of the architecture that is not known here, since it may change what the model
 * computes. `label` stands in front of the words.
 */
choir_status choir_hparams_read(const choir_gguf *gguf, const char *label,
                                choir_hparams *hparams) CHOIR_MUST_CHECK;

#endif
