//! Bounds of what is kept of callers.

use std::time::Duration;

/// Parts of the table of callers, each with a lock of its own: many more than there are cores.
pub const CALLER_SHARDS: usize = 64;
/// Callers in one part; 8,192 in all, of about 500 bytes each, and 1 KiB more where a budget limits what they do. Further ones are counted together.
pub const CALLERS_PER_SHARD_MAX: usize = 128;
/// How long a caller is remembered who does nothing: longer than anything is counted for.
pub const CALLER_REMEMBERED: Duration = Duration::from_mins(65);
/// Callers who may be blocked at one time; more are a matter for the policy.
pub const BLOCKS_MAX: usize = 1000;
/// Accounts of one name that a block remembers; they are one, unless several issuers give the same names.
pub const BLOCK_SUBJECTS_MAX: usize = 64;
/// Bytes of a name that may be blocked; those of users end at 256.
pub const BLOCK_NAME_BYTES_MAX: usize = 512;
/// Characters of the reason of a block.
pub const BLOCK_REASON_CHARS_MAX: usize = 256;
/// The longest time after which a block ends by itself.
pub const BLOCK_LASTS_MAX: Duration = Duration::from_hours(24 * 366);
/// Budgets of one policy: every request is compared with all of them.
pub const POLICY_BUDGETS_MAX: usize = 64;
/// The largest number of requests in a minute, or deletes in an hour; more is no limit.
pub const BUDGET_NUMBER_MAX: usize = 1_000_000;
/// Different namespaces in an hour: of every caller so many are remembered, in 16 bytes each.
pub const BUDGET_NAMESPACES_MAX: usize = 256;
/// The most bytes in an hour, 1000 TiB.
pub const BUDGET_BYTES_MAX: u64 = 1000 << 40;
/// Names that are told to whoever blocks one that nobody has.
pub const BLOCK_ALIKE_MAX: usize = 5;
