//! Bounds on what an image may ask of us. QEMU's own limits where it has them (block/qcow2.h).

/// Largest virtual disk: 64 TiB.
pub const VIRTUAL_SIZE: u64 = 64 << 40;
/// qcow2 cluster sizes: 512 B to 2 MiB, as QEMU.
pub const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Largest active L1 table: 32 MiB, as QEMU.
pub const L1_BYTES: u64 = 32 << 20;
/// Largest refcount table: 8 MiB, as QEMU. It is not read, but an image that declares more is refused.
pub const REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// Largest number of internal snapshots, as QEMU. They are not read either.
pub const SNAPSHOTS: u32 = 65_536;
/// Mappings (24 bytes each) of a qcow2 image held in memory at a time.
pub const WINDOW_MAPPINGS: usize = 1 << 19;
/// Bytes read from a qcow2 image at a time.
pub const READ_BYTES: usize = 2 << 20;
/// Unmapped bytes between two mappings that are read and dropped rather than sought over.
pub const READ_GAP: u64 = 64 << 10;
/// Window of a zstd frame in a qcow2 cluster: a cluster is at most 2 MiB (2^21).
pub const ZSTD_WINDOW_LOG: u32 = 22;
/// Files in a seed image, and their bytes together.
pub const SEED_FILES: usize = 8;
/// Bytes of all files of a seed image.
pub const SEED_BYTES: usize = 64 << 20;
