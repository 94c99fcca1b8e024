//! Bytes and FLOPs of each operation.
