/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vocabulary.h"

#include "model/model.h"

choir_status choir_vocabulary_open(const char *path, choir_tokenizer **result)
{
    choir_model *model = NULL;
    *result = NULL;
    if (path == NULL || *path == '\0')
        return choir_fail(CHOIR_EUSAGE, "no model: name a GGUF file with --model FILE");
    choir_status status = choir_model_open_header(path, &model);
    if (status == CHOIR_OK)
        status = choir_tokenizer_create(choir_model_gguf(model), result);
    choir_model_destroy(&model);
    return status;
}
