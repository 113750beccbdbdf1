/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/activations.h"

#include "kernels/kernels.h"

#include <strings.h>

static const char *const names[] = {[CHOIR_ACTIVATIONS_Q8] = "q8",
                                    [CHOIR_ACTIVATIONS_MIXED] = "mixed",
                                    [CHOIR_ACTIVATIONS_Q15] = "q15",
                                    [CHOIR_ACTIVATIONS_F32] = "f32"};

const char *choir_activations_name(choir_activations activations)
{
    return names[activations];
}

choir_status choir_activations_parse(const char *name, choir_activations *activations)
{
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcasecmp(name, names[i]) == 0) {
            *activations = (choir_activations)i;
            return CHOIR_OK;
        }
    return choir_fail(CHOIR_EUSAGE, "unknown activations \"%.32s\": q8, mixed, q15 or f32", name);
}

bool choir_activations_is_q15(choir_activations activations, bool is_projection)
{
    return activations == CHOIR_ACTIVATIONS_Q15 ||
           (activations == CHOIR_ACTIVATIONS_MIXED && is_projection);
}

size_t choir_activations_block_bytes(bool is_q15)
{
    return is_q15 ? sizeof(choir_q15) : sizeof(choir_q8);
}
