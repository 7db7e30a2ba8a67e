//! Bounds of the path of an answer's bytes, from the API server's socket to the client's.

/// Bytes of one chunk's extensions, and of all trailers, in an answer over HTTP/1.1. Kubernetes sends neither;
/// they are dropped, and more break the answer off.
pub const HTTP1_ANSWER_EXTRA_BYTES_MAX: usize = 8 * 1024;

/// Bytes read ahead of TLS on an upstream connection: four of its records (RFC 8446 §5.1). The buffer is held
/// only while something is in it.
pub const UPSTREAM_READ_AHEAD_BYTES: usize = 64 * 1024;

/// Bytes of an answer that are handed on as one frame when they are there at once: with the head and the tail
/// of a chunk, four full TLS records to the client. Nothing waits for more.
pub const UPSTREAM_FRAME_BYTES: usize = 64 * 1024 - 64;

/// Frames of HTTP/2 from this size on are handed on as they are; smaller ones that are there at once are
/// copied together, because each frame costs the client a record and a system call.
pub const UPSTREAM_SMALL_FRAME_BYTES: usize = 16 * 1024;

/// Lists, watches and logs of one cluster that have an HTTP/1.1 connection of their own, which costs a third
/// of the CPU time of a stream of HTTP/2. Further ones share connections: a connection takes about 20 KiB, and
/// thousands of idle watches gain nothing by it.
pub const UPSTREAM_DIRECT_MAX: usize = 64;

/// Such connections that are being opened at one time. In a storm of watches the others share connections at
/// once instead of waiting for a handshake each.
pub const UPSTREAM_DIRECT_DIALS_MAX: usize = 16;

/// Connections of their own that are opened at once after a quiet time, and a second in the long run. Watches that begin and end
/// more often than this share connections: for each a handshake would be most of what it costs.
pub const UPSTREAM_DIRECT_DIALS_BURST: u32 = 64;
/// See [`UPSTREAM_DIRECT_DIALS_BURST`].
pub const UPSTREAM_DIRECT_DIALS_PER_SECOND: u32 = 4;

/// What such a connection carries to be worth its handshake: another may then be opened in its place, as for watches that send
/// all objects first and are asked for again and again.
pub const UPSTREAM_DIRECT_DIAL_BYTES: usize = 512 * 1024;

/// Such connections that are kept between two answers; further ones are closed.
pub const UPSTREAM_DIRECT_IDLE_MAX: usize = 8;

/// Interim answers (1xx) before the real one; more break the exchange.
pub const UPSTREAM_INTERIM_ANSWERS_MAX: usize = 8;

/// Bytes of frames that one HTTP/2 connection gathers while its task runs: four full TLS records. When full they
/// leave at once; a client that takes nothing stops its connection there.
pub const LISTENER_GATHERED_BYTES: usize = 64 * 1024;

/// Window of an upstream HTTP/2 connection: HTTP/2's largest. Memory is bounded by the windows of its
/// streams, which together are far below it, so a stream nobody reads stops itself and never its
/// neighbours. h2 derives from it how much bookkeeping unread small frames may cost (half of it, 256
/// bytes a frame) before it ends the whole connection; with this and 128 KiB streams that would take
/// 80 stuck clients whose events are two bytes long.
pub const UPSTREAM_CONNECTION_WINDOW: u32 = (1 << 31) - 1;
