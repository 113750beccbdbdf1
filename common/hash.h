/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), and SipHash-2-4 for tables whose keys come from outside; by libsodium. */
#ifndef CHOIR_COMMON_HASH_H
#define CHOIR_COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { CHOIR_SHA256_BYTES = 32, CHOIR_SHA256_HEX = 65 };

/* The running state of one hash: plain data, copy it to fork a hash. */
typedef struct choir_sha256 {
    uint64_t opaque[16];
} choir_sha256;

void choir_sha256_init(choir_sha256 *hash);
void choir_sha256_update(choir_sha256 *hash, const void *bytes, size_t length);
void choir_sha256_final(choir_sha256 *hash, uint8_t digest[CHOIR_SHA256_BYTES]);
/* 64 lower-case hex digits and a NUL. */
void choir_sha256_hex(const uint8_t digest[CHOIR_SHA256_BYTES], char text[CHOIR_SHA256_HEX]);

/* A secret of this process: without it nobody can make strings whose hashes collide. */
typedef struct choir_hash_key {
    uint8_t bytes[16];
} choir_hash_key;

void choir_hash_key_make(choir_hash_key *key); /* random */
uint64_t choir_hash_keyed(const choir_hash_key *key, const void *bytes, size_t length);

#endif
