//! How requests, streams and clusters are told apart.

/// How a request came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Policy allowed it and the API server answered.
    Allowed,
    /// Policy denied it.
    Denied,
    /// Policy holds it until somebody says yes.
    Held,
    /// It was malformed or carried no valid identity.
    Refused,
    /// The API server or the gateway could not do its part.
    Failed,
}

/// What ends a stream before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The caller's token ran out.
    Expired,
    /// The caller's token was revoked.
    Revoked,
    /// The policy in force no longer allows it, or masks more.
    Policy,
    /// The gateway is going down.
    Drain,
    /// Somebody's yes to a class of requests ended or was taken back.
    Approval,
    /// An operator blocked the caller.
    Blocked,
    /// The caller's budget of bytes is used up.
    Budget,
}

/// Where the audit log is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// A program that takes what the API server's audit webhook sends.
    Webhook,
    /// An OpenTelemetry collector.
    Otlp,
}

/// Whether a cluster can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Its API server answers.
    Usable,
    /// There is no connection to it.
    Unreachable,
    /// It does not accept the gateway's credential.
    Rejected,
}
