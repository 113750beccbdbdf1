/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lanes_avx2.h"
#include "kernels/levels.h"

#include <assert.h>

#include "kernels/attention.inc"

void choir_attention_fill_avx2(choir_kernels *kernels)
{
    fill(kernels);
}
