/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lanes_neon.h"
#include "kernels/levels.h"

#include <assert.h>

#include "kernels/attention.inc"

void choir_attention_fill_neon(choir_kernels *kernels)
{
    fill(kernels);
}
