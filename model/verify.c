/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: a scale that is NaN or infinite makes every output of its row worthless. A number is finite
 * unless all bits of its exponent are set, which is tested on the bits as they stand in the file.
 */
#include "common/mem.h"
#include "model/model.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Where the numbers of a block stand: `count` of them, one behind the other. */
typedef struct scales {
    int offset;
    int count;
    int bytes;         /* of one: 1, 2 or 4 */
    uint32_t exponent; /* the bits that are all set in NaN and infinity */
} scales;

static scales scales_of(choir_type type)
{
    enum { E8M0 = 0xff, HALF = 0x7c00, BFLOAT = 0x7f80, FLOAT = 0x7f800000 };
    switch (type) {
    case CHOIR_F32:
        return (scales){0, 1, 4, FLOAT};
    case CHOIR_F16:
        return (scales){0, 1, 2, HALF};
    case CHOIR_BF16:
        return (scales){0, 1, 2, BFLOAT};
    case CHOIR_Q4_0:
    case CHOIR_Q5_0:
    case CHOIR_Q8_0:
    case CHOIR_IQ4_NL:
    case CHOIR_IQ4_XS:
        return (scales){0, 1, 2, HALF};
    case CHOIR_Q4_1: /* d, m */
    case CHOIR_Q5_1:
    case CHOIR_Q4_K: /* d, dmin */
    case CHOIR_Q5_K:
        return (scales){0, 2, 2, HALF};
    case CHOIR_Q2_K: /* d, dmin, the last fields */
        return (scales){choir_type_info_of(type)->block_bytes - 4, 2, 2, HALF};
    case CHOIR_Q3_K: /* d, the last field */
    case CHOIR_Q6_K:
        return (scales){choir_type_info_of(type)->block_bytes - 2, 1, 2, HALF};
    case CHOIR_MXFP4: /* e */
        return (scales){0, 1, 1, E8M0};
    }
    assert(!"a type without a rule");
    return (scales){0};
}

static bool is_finite(const uint8_t *block, const scales *s)
{
    for (int i = 0; i < s->count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, block + s->offset + i * s->bytes, (size_t)s->bytes);
        if ((bits & s->exponent) == s->exponent)
            return false;
    }
    return true;
}

choir_status choir_model_verify_tensor(const choir_model *model, const choir_gguf_tensor *tensor)
{
    const uint8_t *data = choir_model_data(model, tensor);
    if (!data)
        return choir_fail(CHOIR_EUNSUPPORTED, "%s: the file ends before tensor %s",
                          choir_model_path(model), tensor->name);
    const choir_type_info *type = choir_type_info_of(tensor->type);
    const scales s = scales_of(tensor->type);
    const size_t block_bytes = (size_t)type->block_bytes;
    for (size_t i = 0; i < tensor->bytes; i += block_bytes)
        if (!is_finite(data + i, &s))
            return choir_fail(CHOIR_EFORMAT,
                              "%s: tensor %s, row %zu, column %zu: %s is NaN or infinite",
                              choir_model_path(model), tensor->name, i / tensor->row_bytes,
                              i % tensor->row_bytes / block_bytes * (size_t)type->block_elements,
                              type->is_quantized ? "the block's scale" : "the value");
    return CHOIR_OK;
}

choir_status choir_model_verify(const choir_model *model)
{
    choir_status status = choir_model_check_unchanged(model);
    const choir_gguf *gguf = choir_model_gguf(model);
    for (size_t i = 0; status == CHOIR_OK && i < choir_gguf_n_tensors(gguf); i++)
        status = choir_model_verify_tensor(model, choir_gguf_tensor_at(gguf, i));
    return status;
}
