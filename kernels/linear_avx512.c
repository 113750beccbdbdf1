/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cells_avx512.h"
#include "kernels/layout.h"
#include "kernels/levels.h"

#include <assert.h>

#include "kernels/linear.inc"

void choir_linear_fill_avx512(choir_kernels *kernels)
{
    fill(kernels);
}
