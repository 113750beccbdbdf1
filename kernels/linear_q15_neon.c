/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/blocks.h"
#include "kernels/cells_neon.h"
#include "kernels/format_q15.h"
#include "kernels/layout.h"

#include <assert.h>

#include "kernels/unpack.inc"

#include "kernels/linear.inc"

void choir_linear_q15_fill_neon(choir_kernels *kernels)
{
    fill(kernels);
}
