//! Every bound in one place, each with its unit, its reason and what happens when it is passed.
//!
//! Invariant 6 of the design: memory per stream is bounded by a constant from this file, whatever
//! size a body has and however slow a client is.

// -- sessions: exec, attach, port-forward --

/// Bytes of a SPDY control frame's payload. Real ones have fewer than 100. More ends the session.
pub const SPDY_CONTROL_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of one SPDY header block. Kubernetes sends at most three. More ends the session.
pub const SPDY_HEADERS_MAX: usize = 64;
/// Bytes of one SPDY header name or value. More ends the session.
pub const SPDY_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a decompressed SPDY header block. More ends the session.
pub const SPDY_HEADER_BLOCK_BYTES_MAX: usize = 128 * 1024;
/// Payload bytes of the SPDY DATA frames we build: what Kubernetes' own peers send at most.
pub const SPDY_DATA_FRAME_BYTES: usize = 32 * 1024;

// -- reading a request (room `request`); beyond any of these the request is refused with 400 --

/// Bytes of a request path as sent. Kubernetes names end at 253 bytes; the longest paths are proxied ones.
pub const REQUEST_PATH_BYTES_MAX: usize = 8 * 1024;
/// Segments of a request path. The deepest API path has nine; aggregated APIs go a little deeper.
pub const REQUEST_PATH_SEGMENTS_MAX: usize = 128;
/// Bytes of a query as sent. `kubectl exec -- sh -c <script>` carries the script here.
pub const REQUEST_QUERY_BYTES_MAX: usize = 16 * 1024;
/// Parameters of a query. The API server silently drops *all* of them beyond 10 000, which would hide
/// `watch` and `dryRun` from one of the two readers.
pub const REQUEST_QUERY_PARAMETERS_MAX: usize = 256;
