/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/lanes_avx512.h"
#include "kernels/levels.h"

#include <assert.h>

#include "kernels/rows.inc"

void choir_rows_fill_avx512(choir_kernels *kernels)
{
    fill(kernels);
}
