//! Every bound in one place, each with its unit, its reason and what happens when it is passed.
//!
//! Invariant 6 of the design: memory per stream is bounded by a constant from this file, whatever
//! size a body has and however slow a client is.

mod approvals;
mod callers;
mod conditions;
mod console;
mod recordings;

mod path;

use std::time::Duration;

pub use self::path::*;

pub use approvals::*;
pub use callers::*;
pub use conditions::*;
pub use console::*;
pub use recordings::*;

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

// -- JSON and masking --

/// Nesting levels the JSON scanner follows. Kubernetes objects stay below 100; one bit a level is
/// kept for each stream. A deeper body is refused.
pub const JSON_DEPTH_MAX: usize = 512;

/// Bytes of one unescaped object key kept for comparison. A longer key equals no key that a field
/// path can name and is met by wildcards only.
pub const JSON_KEY_BYTES_MAX: usize = 1024;

/// Bytes (as escaped on the wire) of an embedded JSON document held until its end. Kubernetes allows
/// 256 KiB for all annotations of an object. A larger value is masked as a whole.
pub const EMBEDDED_JSON_BYTES_MAX: usize = 512 * 1024;

/// Bytes of objects and arrays, or of messages of protobuf, without anything to mask that a stream remembers while documents
/// come without a pause, and as much again for each level of documents in documents: Pods of one workload have most
/// variables, probes and arguments in common.
pub const FAMILIAR_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one of them: longer ones mostly say something of one Pod.
pub const FAMILIAR_CONTAINER_BYTES_MAX: usize = 256;

/// Levels of JSON inside JSON that are followed. A deeper one is masked as a whole.
pub const EMBEDDED_JSON_DEPTH_MAX: u8 = 3;

/// Distinct masked paths a response reports to the audit event; more are only counted.
pub const MASKED_PATHS_MAX: usize = 64;

/// Bytes of one reported path; a longer one is cut and ends in `...`.
pub const MASKED_PATH_BYTES_MAX: usize = 512;

/// Segments of a field path in a mask rule. A longer one is a configuration error.
pub const FIELD_PATH_SEGMENTS_MAX: usize = 32;

/// Bytes behind a lead-in such as `https://user:` that wait until it is known whether they are a
/// credential; longer ones are taken for one. Passwords in URLs are tokens of about 100 bytes.
pub const CREDENTIAL_HELD_BYTES_MAX: usize = 1024;

/// Bytes behind `-----BEGIN PRIVATE KEY-----` that are masked when no end comes, log prefixes counted.
/// The PEM of an RSA key of 16,384 bits has 12.7 KB.
pub const PRIVATE_KEY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an upstream error that are read to keep its reason. A larger one is replaced by a
/// `Status` made from the HTTP code alone.
pub const ERROR_STATUS_BYTES_MAX: usize = 256 * 1024;

/// Bytes inflated at a time from a compressed upstream body, so that a compressed bomb costs time
/// but never memory.
pub const INFLATE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a protobuf object, an event of a watch, an item of a list or a short list that are held
/// while it is rewritten. etcd stores at most 1.5 MiB an object, and the API server takes 3 MiB; what is
/// larger is refused, but a larger list passes item by item.
pub const PROTOBUF_OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of what stands around the object in a protobuf body: its version and kind. Real ones have
/// about 40; more is refused.
pub const PROTOBUF_ENVELOPE_BYTES_MAX: usize = 1024;

/// Spans up to this size are copied together into one output chunk instead of leaving as slices:
/// a frame for every few bytes costs more than the copy.
pub const SMALL_SPAN_BYTES_MAX: usize = 1024;

/// Layers of base64, hexadecimal and gzip that are undone when a value of a write is searched for a
/// placeholder. A Helm release that installs a Secret with a kubeconfig has seven; a value with more
/// is refused.
pub const PLACEHOLDER_DECODINGS_MAX: u8 = 12;

/// Bytes of inflated text, those of every layer counted, that are searched for one body of a write: some
/// tenths of a second of one core. The largest Helm release (1 MiB compressed) inflates to an eighth of it
/// and is searched as a value and with the whole body; a body with more is refused.
pub const PLACEHOLDER_SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Levels of messages in a protobuf body that are followed. Objects of Kubernetes have about a dozen.
pub const PROTOBUF_DEPTH_MAX: usize = 32;

/// Bytes of values, those on every level counted, that a protobuf body is searched for placeholders
/// in, and the fields of an answer's object that no table knows for known values: eight times the largest body. A body
/// that would need more is refused, such a field hidden.
pub const PROTOBUF_SEARCH_BYTES_MAX: usize = 24 * 1024 * 1024;

// -- upstream --

/// Size of a kubeconfig, token, key or certificate file, in bytes. Real ones are a few KiB; a larger
/// file is a mistake and is reported as one.
pub const CREDENTIAL_FILE_BYTES_MAX: u64 = 1 << 20;
// -- records and the control listener --

/// Events waiting for the audit thread. Past it, requests wait: the disk slows them, memory does not grow.
pub const AUDIT_QUEUE_LINES_MAX: usize = 1024;
/// Bytes after which the audit thread writes what has gathered; more stay in the queue for the next write.
pub const AUDIT_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one annotation; the rest is cut and marked with `…`.
pub const AUDIT_ANNOTATION_BYTES_MAX: usize = 4 * 1024;
/// Characters kept of a header the client writes freely (User-Agent, Kubectl-Command); the rest is cut.
pub const AUDIT_CLAIM_CHARS_MAX: usize = 512;
/// Bytes kept of a request target; the rest is cut. Exec commands are longer than one would think.
pub const AUDIT_TARGET_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a line of the audit log when it is read again. The gateway writes far shorter ones: of what
/// callers send, headers are bounded and everything else is cut.
pub const AUDIT_LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a seal when it is read again; one has less than 500.
pub const AUDIT_SEAL_BYTES_MAX: u64 = 4 * 1024;
/// Bytes after which a segment of the audit log is full, if the configuration says nothing: about 60,000
/// events, read again in a tenth of a second at each start.
pub const AUDIT_SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Time after which it is full, if the configuration says nothing: a day is what people ask for.
pub const AUDIT_SEGMENT_AGE_DEFAULT: Duration = Duration::from_hours(24);
/// Events of the audit log that are sent at once: as many as the API server's audit webhook sends.
pub const AUDIT_SHIPPED_EVENTS_MAX: usize = 400;
/// Bytes after which no further event joins them; collectors take a few MiB.
pub const AUDIT_SHIPPED_BYTES_MAX: usize = 1024 * 1024;
/// Commands that `portcullis audit ls` lists if nothing is said: what one likes to scroll through.
pub const AUDIT_COMMANDS_LISTED_DEFAULT: usize = 100;
/// Commands that it lists at most, each with up to [`AUDIT_COMMAND_REQUESTS_MAX`] requests of about 1 KiB.
pub const AUDIT_COMMANDS_LISTED_MAX: usize = 10_000;
/// Requests kept of one command in a list and on a page of the console; more are counted. `kubectl delete` of a namespace's
/// pods is one command.
pub const AUDIT_COMMAND_REQUESTS_MAX: usize = 200;
/// Requests kept of each kind (how grave the decision is, and whether it changes something) before others are left out for
/// them: there are eight kinds, so all of these are fewer than are kept of one command.
pub const AUDIT_COMMAND_KIND_REQUESTS_MIN: usize = 20;
const _: () = assert!(8 * AUDIT_COMMAND_KIND_REQUESTS_MIN < AUDIT_COMMAND_REQUESTS_MAX);
/// Time without an event after which a request begins another command, whatever session its client claims. A run of `kubectl edit`
/// is silent while somebody types, and `kubectl proxy` is one run all day.
pub const AUDIT_COMMAND_SILENCE_MAX: Duration = Duration::from_mins(30);
/// Requests that `portcullis audit show` keeps of its command, and `portcullis replay` of a whole run, of about 1 KiB each.
pub const AUDIT_RUN_REQUESTS_MAX: usize = 100_000;
/// Bytes of the id of a request; the gateway makes UUIDs.
pub const AUDIT_ID_BYTES_MAX: usize = 64;
/// Lines of the transcript of one session within a run of many; `portcullis replay ID` has them all.
pub const REPLAY_TRANSCRIPT_LINES_MAX: usize = 10_000;
/// Requests that have begun and are not over while the log is read: more than a gateway has streams.
pub const AUDIT_OPEN_REQUESTS_MAX: usize = 100_000;
/// Bytes of one line that a command reads back: URI, annotations and names are far less together.
pub const AUDIT_LINE_BYTES_READ_MAX: u64 = 1024 * 1024;
/// Bytes of a request body that is read whole, to be checked before it is sent: the API server's own
/// limit (`k8s.io/apiserver/pkg/server/config.go`). Past it: 413.
pub const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Time a request body may take to arrive: the API server's own request timeout. Past it: 408.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Connections to the control listener at one time; more are closed at once.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;
/// Time a request head on the control listener may take.
pub const CONTROL_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client of the control listener may take nothing of what is written to it. There are few places, health is
/// asked for at the same address, and some of what is served there asks for no login.
pub const CONTROL_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

// -- identity: what a token and its issuer may cost --

/// The longest bearer token, in bytes, before anything is decoded; a longer one is answered 401.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest `kid`, in bytes; it is only ever compared, and a longer one is answered 401.
pub const KEY_ID_BYTES_MAX: usize = 256;
/// How deeply the JSON of a token or a key set may nest; deeper is refused.
pub const TOKEN_JSON_DEPTH_MAX: usize = 16;
/// The longest user or agent name, in bytes with its prefix; a longer one is refused, not cut.
pub const USERNAME_BYTES_MAX: usize = 256;
/// The longest group name, in bytes with its prefix: room for an LDAP distinguished name.
pub const GROUP_BYTES_MAX: usize = 1024;
/// The most groups of one user; more are refused, because a cut list could lose a denied group.
pub const GROUPS_MAX: usize = 512;
/// All group names of one user together, in bytes: they become headers of every upstream request.
pub const GROUPS_BYTES_MAX: usize = 16 * 1024;
/// The longest uid or extra value, in bytes.
pub const EXTRA_BYTES_MAX: usize = 1024;
/// The most values of one extra attribute.
pub const EXTRA_VALUES_MAX: usize = 64;
/// The longest delegation chain (`act` in `act`); a longer one is answered 401.
pub const ACTORS_MAX: usize = 8;
/// The default of an issuer's `maxTokenLifetime`.
pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_hours(24);
/// The default of an issuer's `clockSkew`.
pub const CLOCK_SKEW_DEFAULT: Duration = Duration::from_secs(30);
/// The largest `clockSkew`; a larger one would keep ended tokens alive and is a configuration error.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);
/// Verified tokens that are remembered; the oldest half is forgotten when it is passed.
pub const TOKEN_CACHE_ENTRIES_MAX: usize = 32 * 1024;
/// The largest discovery document or key set, in bytes; a larger one counts as a failed fetch.
pub const ISSUER_DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// How long one fetch from an issuer may take, connection and body together.
pub const ISSUER_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The most keys in a key set; a larger set counts as a failed fetch.
pub const ISSUER_KEYS_MAX: usize = 128;
/// How often keys are read again: a key that its issuer removed stops working within this time.
pub const ISSUER_KEYS_REFRESH: Duration = Duration::from_mins(5);
/// The pause between fetches that unknown `kid`s cause, so that forged tokens cannot flood an issuer.
pub const ISSUER_KEYS_REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// How long the last good keys are used while an issuer does not answer; then its tokens are refused.
pub const ISSUER_KEYS_STALE_MAX: Duration = Duration::from_hours(6);
/// Unknown `kid`s that are remembered per issuer, so that repeating one causes no further fetch.
pub const UNKNOWN_KEY_IDS_MAX: usize = 256;
// -- policy --

/// Rules of the masks of one policy: a set of them is one word of 128 bits.
pub const POLICY_MASKS_MAX: usize = 128;
/// Masks that one policy defines; what is left of that word belongs to the built-in ones. More is a
/// configuration error.
pub const POLICY_OWN_MASKS_MAX: usize = 64;
/// Mask plans kept per policy, one per set of masks that occurs. Beyond it a plan is compiled per request.
pub const POLICY_MASK_PLANS_MAX: usize = 1024;
/// Open SPDY streams of an exec or attach; five exist. More ends the session.
pub const SPDY_REMOTE_COMMAND_STREAMS_MAX: usize = 8;
/// Open SPDY streams of a port-forward, two for each connection. More ends the session.
pub const SPDY_PORT_FORWARD_STREAMS_MAX: usize = 512;
/// Pings and other frames without content that one side may send at once. More ends the session.
pub const SESSION_EMPTY_FRAMES_BURST: u32 = 1024;
/// The same in the long run; clients ping every 5 to 60 seconds. More ends the session.
pub const SESSION_EMPTY_FRAMES_PER_SECOND: u32 = 64;
/// Bytes of a WebSocket message: what the API server takes. Passed on in slices. More ends the session.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Frames of one WebSocket message. More ends the session.
pub const WEBSOCKET_FRAGMENTS_MAX: u32 = 1024;
/// Bytes of a fragmented message from a client, which must be joined. More ends the session.
pub const WEBSOCKET_JOINED_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a resize message or of the final status that are kept to be read, and of a status that is held
/// until it is complete because it is rewritten. The rest still passes.
pub const SESSION_STATUS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one terminal size in JSON; real ones have 25. More is passed on but not read.
pub const SESSION_RESIZE_BYTES_MAX: usize = 1024;
/// Bytes of a frame that are filled with zeroes, so that a client within it can be told of the session's
/// end. Frames have 32 KiB at most; within a longer one the client is cut off without a word.
pub const SESSION_FILL_BYTES_MAX: usize = 64 * 1024;
/// Bytes read at once of what a client sends over the WebSocket of a watch or a log: pings and a Close, the rest
/// is ignored.
pub const WEBSOCKET_IGNORED_READ_BYTES: usize = 1024;
/// Bytes read at once from either end of a session.
pub const SESSION_READ_BYTES: usize = 16 * 1024;
/// How long bytes of a command's output may be held back because they may be part of a value that is masked.
/// Echo that is this late is not felt; a value printed more slowly passes in pieces.
pub const TEXT_HOLD_MAX: Duration = Duration::from_millis(20);
/// How long a session may pass no byte at all: Kubernetes' own limit. Longer ends the session.
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_hours(4);
/// How long the other direction may still deliver its last bytes when one end has gone.
pub const SESSION_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long we try to tell both ends that the gateway ends the session.
pub const SESSION_ENDING_TIMEOUT: Duration = Duration::from_secs(2);

/// Open streams on one upstream HTTP/2 connection. The API server allows 100; staying below leaves it
/// room for streams that we have ended and it has not. When passed, a further connection is opened.
pub const UPSTREAM_STREAMS_MAX: usize = 80;

/// HTTP/2 connections of one kind to one cluster: 40,960 open watches. When passed, requests are
/// refused with 503.
pub const UPSTREAM_CONNECTIONS_MAX: usize = 512;

/// HTTP/1.1 connections kept between exchanges; further ones are closed after their exchange.
pub const UPSTREAM_HTTP1_IDLE_MAX: usize = 32;

/// Bytes of one long-running answer that may wait in memory for a slow client: a burst of watch
/// events. When full, the API server stops sending that stream and, if it lasts, ends it.
pub const UPSTREAM_LONG_STREAM_WINDOW: u32 = 128 * 1024;

/// The same for answers that end by themselves. Larger, because lists are: it is what a list may have
/// under way for each round trip.
pub const UPSTREAM_SHORT_STREAM_WINDOW: u32 = 1024 * 1024;

/// Bytes of one request body that wait for the API server to take them.
pub const UPSTREAM_SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Decoded size of an answer's header list; a larger one breaks the exchange. Warnings are its bulk.
pub const UPSTREAM_HEADER_BYTES_MAX: u32 = 128 * 1024;

/// Read buffer of an upstream HTTP/1.1 connection, and so the largest head of an answer.
pub const UPSTREAM_HTTP1_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Header lines of a message; more are refused.
pub const HEADERS_MAX: usize = 128;

/// How long an unused upstream connection is kept: below the API server's 90 s, so that we never send
/// into its closing.
pub const UPSTREAM_IDLE: Duration = Duration::from_mins(1);

/// How often an API server that has answered nothing meanwhile is connected to, to see whether it is
/// there: how long `/readyz` may be behind, besides the time that connecting takes.
pub const UPSTREAM_REACH_POLL: Duration = Duration::from_secs(5);

/// How often idle connections are looked for.
pub const UPSTREAM_IDLE_POLL: Duration = Duration::from_secs(5);

/// How long name look-up, TCP and TLS may take together; then 503.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one of several addresses may take, so that a dead one leaves time for the next.
pub const UPSTREAM_ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the head of a short request's answer may take: a little more than the API server gives
/// itself (60 s). Then 504. Long-running requests have no such bound.
pub const UPSTREAM_HEAD_TIMEOUT: Duration = Duration::from_secs(65);

/// How long an HTTP/1.1 connection may take to be ready again after a clean exchange.
pub const UPSTREAM_REUSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a connection is asked, at the least, how many streams its server allows.
pub const UPSTREAM_SETTINGS_POLL: Duration = Duration::from_secs(5);

/// How often one request may be put on a connection: once, and again where the API server provably did
/// not process it.
pub const UPSTREAM_ATTEMPTS_MAX: usize = 3;

/// How often credential files are read for changes. Kubernetes swaps symbolic links, which file events
/// see badly.
pub const CREDENTIAL_POLL: Duration = Duration::from_secs(10);

/// HTTP/2 PING after this much silence, on both sides of the gateway.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A PING unanswered for this long ends the connection: a dead peer is noticed within 45 s.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP keep-alive: the first probe after this much silence.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// TCP keep-alive: the following probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Least time between two readings of a cluster's credential: many 401 answers at once cause one.
pub const CREDENTIAL_REREAD_PAUSE: Duration = Duration::from_secs(1);

// -- configuration and policy files; beyond any of these the file is refused --

/// Bytes of one configuration or policy file.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;
/// YAML events that aliases may replay in one file: a bomb ends here.
pub const CONFIG_ALIAS_EVENTS_MAX: usize = 10_000;
/// Rules of one policy, all files together. The index of them grows with the rules times the names that they give.
pub const POLICY_RULES_MAX: usize = 2_000;

// -- defaults of the section `listener`; docs/config.md has the bounds --

/// Connections at one time.
pub const LISTENER_CONNECTIONS_DEFAULT: usize = 20_000;
/// Connections of one client address at one time.
pub const LISTENER_CONNECTIONS_PER_ADDRESS_DEFAULT: usize = 2_000;
/// HTTP/2 streams of one connection at one time: what the API server itself allows.
pub const LISTENER_STREAMS_DEFAULT: usize = 250;
/// Bytes of a request's headers.
pub const LISTENER_HEADER_BYTES_DEFAULT: usize = 64 * 1024;
/// Time for a TLS handshake.
pub const LISTENER_HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time for a request's headers.
pub const LISTENER_HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time that open requests get after SIGTERM.
pub const LISTENER_DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How often the content of policy files is compared; a change comes into force within this time.
pub const CONFIG_POLL: Duration = Duration::from_secs(10);
// -- listener --

/// Hex digits of a chunk's size in a request: more is refused. Bodies are bounded far below it.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 8;

/// HTTP/2 control frames (PING, SETTINGS, `RST_STREAM`, ...) a client may send at once; then the
/// connection is closed. A controller that cancels its watches sends a few hundred.
pub const CONTROL_FRAMES_BURST: u32 = 1000;

/// How many of them are forgiven each second.
pub const CONTROL_FRAMES_PER_SECOND: u32 = 100;

/// Bytes read at a time while a request's head or chunk line is judged.
pub const LISTENER_READ_BYTES: usize = 8 * 1024;

/// Connections the system keeps waiting for us to accept.
pub const LISTENER_BACKLOG: u32 = 1024;

/// How long accepting pauses after an error, such as no free file descriptor.
pub const LISTENER_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection without open requests is kept, as the API server does it.
pub const LISTENER_IDLE: Duration = Duration::from_secs(90);

/// How long a client may take nothing of what is written to it. It is generous, because a human who
/// pages through `kubectl logs -f` does just that and memory is bounded anyway; then the connection is
/// closed.
pub const LISTENER_WRITE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long a client whose request was refused unread may go on sending, so that it gets to read why;
/// then the connection is closed under it.
pub const LISTENER_FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of it that are dropped in that time; past it the connection is closed at once.
pub const LISTENER_FAREWELL_BYTES: usize = 1024 * 1024;

/// hyper's smallest buffer for a head.
pub const HTTP1_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// Bytes of an answer that wait for its head to leave with them: one TLS record.
pub const ANSWER_AT_ONCE_BYTES: u64 = 16 * 1024;

/// HTTP/2 streams a client may reset before they are accepted; then GOAWAY (CVE-2023-44487).
pub const LISTENER_PENDING_RESETS_MAX: usize = 20;

/// HTTP/2 streams a client may make us reset by errors; then GOAWAY (CVE-2025-8671).
pub const LISTENER_LOCAL_RESETS_MAX: usize = 128;

/// Bytes of one request body that may wait in memory.
pub const LISTENER_STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of all request bodies of one HTTP/2 connection that may wait in memory.
pub const LISTENER_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one answer that wait for a slow client to take them.
pub const LISTENER_SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long after a refused WebSocket the same over SPDY belongs to its story. kubectl tries again at once;
/// it may take a slow TLS handshake.
pub const STORY_WINDOW: Duration = Duration::from_secs(10);

/// Refused attempts that are remembered for it; past it the oldest is forgotten, and its retry becomes
/// a story of its own.
pub const STORIES_MAX: usize = 1024;

/// Bytes of known values per cluster, before their other forms: their index takes about ten times as
/// much. Enough for 100,000 passwords beside 5,000 private keys.
pub const KNOWN_VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Secrets in one page when the gateway reads all of them. A Secret has at most 1 MiB of data.
pub const KNOWN_VALUES_PAGE: u32 = 40;
/// Bytes of one page; 40 Secrets of 1 MiB, as base64, are less.
pub const KNOWN_VALUES_PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of events of the watch that wait to be read: one Secret with twice its limit.
pub const KNOWN_VALUES_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long one watch of Secrets lasts, as client-go's do.
pub const KNOWN_VALUES_WATCH: Duration = Duration::from_mins(8);
/// Pauses before Secrets are read again after something went wrong.
pub const KNOWN_VALUES_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest of them.
pub const KNOWN_VALUES_RETRY_MAX: Duration = Duration::from_secs(30);
/// How soon a changed Secret is masked elsewhere, besides the time its index takes.
pub const KNOWN_VALUES_RENEW_PAUSE: Duration = Duration::from_millis(500);

/// How long values of a Secret that passed in an answer are known after it passed last, where no watch tells
/// of its end: what is read once a day stays known.
pub const KNOWN_VALUES_PASSED_LIFE: Duration = Duration::from_hours(24);
/// How often it is looked whose time is over.
pub const KNOWN_VALUES_PASSED_SWEEP: Duration = Duration::from_mins(1);
/// Bytes that one Secret which passed takes beside its name and values, about; they count as if they were of a
/// value, so that callers who make Secrets without end find an end.
pub const KNOWN_VALUES_PASSED_ENTRY_BYTES: usize = 256;
/// Bytes of a Secret that can be learned while it passes: one of 1 MiB as base64, with its metadata. That much
/// is held of one stream.
pub const KNOWN_VALUES_PASSED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The shortest value that can be known, in bytes; shorter ones stand in texts by chance.
pub const KNOWN_VALUE_BYTES_MIN: usize = 8;
