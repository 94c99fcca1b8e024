// What one optimizer step keeps in device memory, so that the host launches a whole step without waiting for any of
// it; mirrored by src/device/step.rs.
#pragma once
#include "prim.h"

struct StepRecord {
    // Written by the host before each step, or when training starts.
    double rate;             // before the multipliers of the segments
    double beta1, beta2, eps;
    double clip;             // largest norm; 0: no clipping
    double decay_scale[2];   // on the decay of segments, and of those whose decay follows the rate
    uint64_t seed, step;     // key and part of the counter of the step's random numbers
    // Written by adamw_step. The host gives the first value of `applied`, from a checkpoint.
    double norm, abs_sum;    // of the gradients, before clipping
    double clip_factor;      // on every gradient
    double correction1;      // 1 / (1 - beta1^applied)
    double correction2;      // 1 / sqrt(1 - beta2^applied)
    uint64_t applied;        // updates that were not skipped, this one included
    int32_t skip;            // 1: the norm is not finite, and adamw leaves everything as it is
    int32_t reserved;
};

// A tensor in the flat buffers: row i is `cols` elements from offset + i * ld. offset and ld are multiples of 4; a
// tensor without gaps is one row.
struct AdamSegment {
    int64_t offset, ld;
    int64_t master;          // adamw_bf16: element of w32 where its master weights begin, -1: it has none
    int32_t rows, cols;
    double rate_multiplier;
    double weight_decay;     // decoupled, times the rate
    int32_t decay_follows_rate;   // which decay_scale
    int32_t reserved;
};

// The work of one block: the `index`-th tile of a segment.
struct AdamTile {
    int32_t segment, index;
};

// Streams of Philox: the upper byte of the counter says who draws.
constexpr uint64_t STREAM_ADAMW = uint64_t(1) << 56;

static_assert(sizeof(StepRecord) == 128 && sizeof(AdamSegment) == 56 && sizeof(AdamTile) == 8, "the layout in Rust");
