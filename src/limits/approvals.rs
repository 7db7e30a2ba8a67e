//! Bounds of what waits for a human's yes.

use std::time::Duration;

use jiff::SignedDuration;

/// Jobs that wait for the database of approvals: more than 64 are a disk that does not keep up, and each of
/// them is a request that is held open.
pub const STATE_QUEUE_MAX: usize = 1024;
/// How long the database waits for another process that looks into it.
pub const STATE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions that one caller may have open: enough for a busy hour, too few to bury another one's.
pub const APPROVALS_OPEN_PER_CALLER_MAX: u32 = 16;
/// Questions that all agents of one human may have open together, so that a human has 32 with theirs: agents that
/// ask without end leave their human's own alone.
pub const APPROVALS_OPEN_OF_AGENTS_MAX: u32 = 16;
/// Questions from which on only those may ask who have none open. The other half is a reserve: to fill it takes 64
/// different humans with an agent each, and whoever is busy cannot shut out who is not.
pub const APPROVALS_OPEN_BUSY: u32 = 128;
/// Questions that may be open in all: nobody reads more.
pub const APPROVALS_OPEN_MAX: u32 = 256;
/// Questions that one caller may ask within an hour, however they end: approvers are told of each.
pub const APPROVALS_ASKED_PER_HOUR_MAX: u32 = 120;
/// Requests that one question may be about: what fits on a screen.
pub const APPROVAL_REQUESTS_MAX: usize = 16;
/// Approvals that are kept when they are over; the audit log has all of them.
pub const APPROVALS_KEPT_MAX: u32 = 10_000;
/// How far a clock may be set back before a yes that was given "later" counts no more.
pub const APPROVAL_CLOCK_STEP_MAX: SignedDuration = SignedDuration::from_secs(60);
/// News that somebody who waits may be behind before they look for themselves.
pub const APPROVAL_NEWS_MAX: usize = 256;
/// How many people may have to say yes to one question.
pub const HOLD_APPROVERS_MAX: usize = 5;
/// How long a request may be held open: longer than proxies on the way keep a silent connection is of no use.
pub const HOLD_WAIT_MAX: Duration = Duration::from_mins(10);
/// The shortest life of a question: somebody has to see it.
pub const HOLD_EXPIRES_MIN: Duration = Duration::from_secs(10);
/// The longest: who said yes remembers why.
pub const HOLD_EXPIRES_MAX: Duration = Duration::from_hours(24);
/// The shortest time for which a class is admitted.
pub const HOLD_CLASS_MIN: Duration = Duration::from_secs(10);
/// The longest; for more there are rules.
pub const HOLD_CLASS_MAX: Duration = Duration::from_hours(8);
/// Bytes of one text of a held request that approvers see; longer ones are cut, and say so.
pub const APPROVAL_SHOWN_BYTES_MAX: usize = 8 * 1024;
/// Characters of the reason of an answer.
pub const APPROVAL_REASON_CHARS_MAX: usize = 256;
/// Approvals that are looked through for one list.
pub const APPROVALS_LISTED_MAX: usize = 1000;
/// How often somebody who watches is told what is open although nothing happened.
pub const APPROVALS_WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// Messages that wait for one webhook.
pub const WEBHOOK_QUEUE_MAX: usize = 256;
/// Bytes of an answer of an OpenTelemetry collector; a longer one is not read.
pub const OTLP_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long one try to tell a webhook may take.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Approvals of which it is remembered what webhooks were told.
pub const WEBHOOK_TOLD_MAX: usize = 4096;
/// Lines about the object of a held request that approvers see.
pub const APPROVAL_CONTEXT_LINES_MAX: usize = 64;
/// Bytes of what a held write changes, as a diff; more than anybody reads.
pub const APPROVAL_DIFF_BYTES_MAX: usize = 16 * 1024;
/// Bytes of YAML, before or after, that are compared for it: twice the largest objects people write.
pub const APPROVAL_COMPARED_BYTES_MAX: usize = 512 * 1024;
/// Bytes of that object; etcd takes no larger ones.
pub const APPROVAL_CONTEXT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Those who watch approvals at one time; there are twice as many connections, and health needs some.
pub const APPROVALS_WATCHERS_MAX: usize = 32;
/// How often one person, and their agents, may do so at the same time. Over HTTP/1.1 browsers open six connections to a
/// host: with all of them taken by tabs that follow, no further page would load.
pub const APPROVALS_WATCHERS_PER_PERSON_MAX: usize = 4;
/// Roles of a policy: which of them somebody has is one number's bits.
pub const POLICY_ROLES_MAX: usize = 64;
/// The shortest time for which a role can be asked for.
pub const GRANT_MIN: Duration = Duration::from_secs(10);
/// The longest that a policy can give one for; for more there are groups.
pub const GRANT_MAX: Duration = Duration::from_hours(24);
/// What a refusal proposes to ask for, if the role allows it.
pub const GRANT_SUGGESTED: Duration = Duration::from_hours(1);
/// Roles that a refusal names: its text has to fit into 1 KiB.
pub const ROLES_SUGGESTED_MAX: usize = 3;
