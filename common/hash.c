/* SPDX-License-Identifier: Apache-2.0 */
#include "common/hash.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(choir_sha256), "state fits");
static_assert(crypto_hash_sha256_BYTES == CHOIR_SHA256_BYTES, "digest size");
static_assert(crypto_shorthash_KEYBYTES == sizeof(choir_hash_key), "key size");
static_assert(crypto_shorthash_BYTES == sizeof(uint64_t), "hash size");

/* libsodium's state through memcpy: the opaque words need not have its alignment or type. */
void choir_sha256_init(choir_sha256 *hash)
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    memcpy(hash, &state, sizeof state);
}

void choir_sha256_update(choir_sha256 *hash, const void *bytes, size_t length)
{
    crypto_hash_sha256_state state;
    memcpy(&state, hash, sizeof state);
    crypto_hash_sha256_update(&state, bytes, length);
    memcpy(hash, &state, sizeof state);
}

void choir_sha256_final(choir_sha256 *hash, uint8_t digest[CHOIR_SHA256_BYTES])
{
    crypto_hash_sha256_state state;
    memcpy(&state, hash, sizeof state);
    crypto_hash_sha256_final(&state, digest);
}

void choir_sha256_hex(const uint8_t digest[CHOIR_SHA256_BYTES], char text[CHOIR_SHA256_HEX])
{
    sodium_bin2hex(text, CHOIR_SHA256_HEX, digest, CHOIR_SHA256_BYTES);
}

void choir_hash_key_make(choir_hash_key *key)
{
    randombytes_buf(key->bytes, sizeof key->bytes);
}

uint64_t choir_hash_keyed(const choir_hash_key *key, const void *bytes, size_t length)
{
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, bytes, length, key->bytes);
    return hash;
}
