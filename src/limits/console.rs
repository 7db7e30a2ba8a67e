//! Bounds of the console, and of others who look into the audit log from afar.

use std::time::Duration;

/// People who are logged in to the console at one time, each with a token of some KiB.
pub const CONSOLE_SESSIONS_MAX: usize = 1024;
/// Browsers that one person is logged in with; the one that was used least lately gives way.
pub const CONSOLE_SESSIONS_PER_PERSON_MAX: usize = 8;
/// How long nobody may touch the console before its session is over.
pub const CONSOLE_IDLE_MAX: Duration = Duration::from_mins(30);
/// How long a session lasts at most; it never outlives its token.
pub const CONSOLE_SESSION_LIFETIME_MAX: Duration = Duration::from_hours(12);
/// How long somebody may take at the provider's login page.
pub const CONSOLE_LOGIN_LIFETIME: Duration = Duration::from_mins(10);
/// Logins that talk to the provider at one time: anybody may begin one.
pub const CONSOLE_LOGINS_MAX: usize = 16;
/// How long what the provider says of itself is believed.
pub const CONSOLE_DISCOVERY_LIFETIME: Duration = Duration::from_mins(10);
/// How long the provider may take for one answer.
pub const CONSOLE_PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a form of the console; its longest text is a reason.
pub const CONSOLE_FORM_BYTES_MAX: usize = 16 * 1024;
/// Rows of a table of the console; for more there are filters.
pub const CONSOLE_ROWS_MAX: usize = 200;
/// Bytes of a recording that the player is given: a browser holds all of it, and some four times as much for its own sake.
pub const CONSOLE_PLAYED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Lines of a recording that are shown as text in a page; all of them are one link away.
pub const CONSOLE_TRANSCRIPT_LINES_MAX: usize = 2000;
/// Commands on one page: what one likes to scroll through.
pub const CONSOLE_COMMANDS_MAX: usize = 50;
/// Bytes of the audit log that are read for one page of commands: some 30,000 events, in a fraction of a second. What is not
/// among them is one link further back.
pub const CONSOLE_COMMANDS_READ_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of the audit log that are looked through for the requests of one command; a shell that ended hours after it began
/// has both its ends in so much of most logs.
pub const CONSOLE_COMMAND_READ_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Pages that read the audit log at one time, each in a thread of its own; others are asked to try again.
pub const CONSOLE_LOG_READERS_MAX: usize = 2;

/// Programs that are sent events or an answer on record at one time; others are asked to try again.
pub const AUDIT_STREAMS_MAX: usize = 8;
/// Programs that follow the log at one time.
pub const AUDIT_FOLLOWERS_MAX: usize = 16;
/// How many of them one operator may have.
pub const AUDIT_FOLLOWERS_PER_OPERATOR_MAX: usize = 4;
/// After so long without a line they are sent an empty one, by which one sees that nobody is there any more.
pub const AUDIT_FOLLOWED_SILENCE_MAX: Duration = Duration::from_secs(20);
/// Lines, or blocks of an answer, that wait for each of them: then reading waits.
pub const AUDIT_STREAM_WAITING_MAX: usize = 16;
/// Bytes of the log that are read before one asks whether somebody still listens.
pub const AUDIT_STREAM_BYTES: u64 = 4 * 1024 * 1024;
