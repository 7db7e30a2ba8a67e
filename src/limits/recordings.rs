//! What recordings, the index of sessions and looking for them may take.

use std::time::Duration;

/// The default of `recording.maxBytes`: bytes of one recording. Past it a marker is written and the
/// rest is only counted.
pub const RECORDING_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;
/// The default of `recording.partBytes`: bytes of one file of a recording. Past it the next one begins.
pub const RECORDING_PART_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;
/// Bytes of one session that may wait for the disk. Past it the session is not read further; what was
/// read already (one buffer each way) still comes on top.
pub const RECORDING_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Bytes waiting for the disk from which on a session counts as one that prints a lot: it gets blocks, which are
/// written as soon as they are full instead of at the next flush.
pub const RECORDING_WRITE_BYTES: usize = 64 * 1024;
/// Bytes of such a block. The larger it is, the less a write costs for each byte: half of it costs a third more.
pub const RECORDING_BLOCK_BYTES: usize = 1024 * 1024;
/// Bytes of a session with blocks that may wait for the disk: one block is written while the next one fills.
pub const RECORDING_BULK_BYTES_MAX: usize = 2 * RECORDING_BLOCK_BYTES;
/// Blocks of all sessions together: what a crowd of them may hold besides its queues. Who gets none is written in
/// smaller pieces.
pub const RECORDING_BLOCKS_MAX: usize = 64;
/// Time between two flushes of everything that waits, but for blocks that are being filled, which may wait twice
/// as long: what a `kill -9` may cost, with room to spare below the second that is promised.
pub const RECORDING_FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// Time a recording may take to open, the disk included. Past it the recorder counts as not working.
pub const RECORDING_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `recording.responseBytes`: masked bytes that are kept of one answer. More than anybody reads; the
/// list of 1,000 pods has three times as much.
pub const RESPONSE_BYTES_DEFAULT: u64 = 1024 * 1024;
/// The most that `recording.responseBytes` may be: whoever looks at an answer holds it in memory.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an answer that is read again: the largest, and the mark where it was cut.
pub const RESPONSE_READ_BYTES_MAX: u64 = RESPONSE_BYTES_MAX as u64 + 1024;
/// Bytes of an answer that gather before they are compressed and written. As many again may be with the writer.
pub const RESPONSE_BLOCK_BYTES: usize = 64 * 1024;
/// Time after which what gathered of a watch or a log is written, however little it is.
pub const RESPONSE_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Answers whose next block waits for the writer; further ones wait for a place.
pub const RESPONSE_QUEUE_MAX: usize = 256;
/// Time a best-effort recorder may hold its session up. Past it the recording is given up.
pub const RECORDING_STALL_MAX: Duration = Duration::from_secs(10);
/// Pieces of lines that wait for one who follows a live session; more are skipped, with a marker.
pub const RECORDING_FOLLOW_CHUNKS_MAX: usize = 64;
/// Typed bytes that wait for their echo; more are masked.
pub const RECORDING_TYPED_BYTES_MAX: usize = 4 * 1024;
/// Time within which a typed byte must be echoed to be kept.
pub const RECORDING_ECHO_TIMEOUT: Duration = Duration::from_millis(250);
/// Bytes that are read of a recording's header line or sidecar when it is listed.
pub const RECORDING_HEADER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Changes that wait for the index; past it the index is compared with the files instead.
pub const INDEX_QUEUE_MAX: usize = 1024;
/// Rows of the index that are written in one transaction: others may write between two of them.
pub const INDEX_BATCH: usize = 256;
/// Time to wait for whoever else writes the index.
pub const INDEX_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at whether the index missed something.
pub const INDEX_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two attempts to use an index that cannot be used.
pub const INDEX_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Sessions of one list when nobody says how many.
pub const SESSIONS_LISTED_DEFAULT: usize = 500;
/// Sessions of one list at most: it is held in memory.
pub const SESSIONS_LISTED_MAX: usize = 10_000;
/// Bytes of its command that a session has in lists: there may be thousands, and a command has as many as a request.
pub const SESSIONS_LISTED_COMMAND_BYTES_MAX: usize = 1024;
/// Places that a search of recordings tells when nobody says how many; at most it is [`SESSIONS_LISTED_MAX`].
pub const SEARCH_HITS_DEFAULT: usize = 1000;
/// Searches at one time: each takes a core while it runs, and the sessions need them too. Further ones are refused.
pub const SEARCHES_MAX: usize = 2;
/// Bytes of recordings after which one search ends, at the next recording: some minutes of work.
pub const SEARCH_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// News of a search that wait for a slow client; then the search waits.
pub const SEARCH_NEWS_MAX: usize = 64;
/// Characters of the text that is searched for.
pub const SEARCH_CHARS_MAX: usize = 1000;
/// Bytes of a call to the sessions API.
pub const SESSIONS_CALL_BYTES_MAX: usize = 16 * 1024;
/// Characters of the reason for ending a session; its user reads it in a terminal.
pub const KILL_REASON_CHARS_MAX: usize = 300;
/// Names that are kept of a copied archive; further members are only counted.
pub const RECORDING_COPY_NAMES_MAX: usize = 32;
/// Bytes of a long name in an archive; a longer one is skipped.
pub const RECORDING_COPY_NAME_BYTES_MAX: u64 = 4096;
/// Forwarded connections that are followed at one time; more are counted but have no line of their own.
pub const RECORDING_CONNECTIONS_MAX: usize = 1024;

/// Bytes of one line of a recording that is read; a longer one counts as damaged.
pub const RECORDING_LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of output that an HTML export holds: a browser keeps all of it in memory.
pub const RECORDING_HTML_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Characters of one line of a transcript; a longer one is continued on the next.
pub const RECORDING_TRANSCRIPT_LINE_MAX: usize = 16 * 1024;
/// Columns over which the cursor of a transcript moves without printing: few bytes must not become much text.
pub const RECORDING_TRANSCRIPT_COLUMNS_MAX: usize = 1000;
