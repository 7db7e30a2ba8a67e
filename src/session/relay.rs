//! The driver of a session: two pumps in one task, and the way it ends.
//!
//! ```text
//! running -> one end is gone ------> the other direction delivers its last bytes -> over
//!         -> deadline, revocation -> both stop between frames -> both ends are told -> over
//! ```

mod shared;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::shared::Shared;
use super::tap::{ProtocolError, Tap, TapError};
use super::{EndReason, Ending, Filters, Session, SessionReport, Side};
use crate::limits;

/// Relays a session until it is over.
///
/// `until` is whatever ends the right to it: expiry, revocation, shutdown. Both sides must be past
/// the upgrade, with nothing of it left to read. With `filters`, the client and the tap get what they
/// let through of a command's output.
pub async fn relay<C, U, E>(
    client: C,
    upstream: U,
    session: Session,
    filters: Option<Filters>,
    until: E,
    tap: &mut dyn Tap,
) -> SessionReport
where
    C: AsyncRead + AsyncWrite + Send,
    U: AsyncRead + AsyncWrite + Send,
    E: Future<Output = Ending> + Send,
{
    let shared = Shared::new(&session, filters, tap);
    let (mut client_reader, mut client_writer) = split(client);
    let (mut upstream_reader, mut upstream_writer) = split(upstream);
    let outcome = {
        let stop = CancellationToken::new();
        let to_upstream = pump(
            Side::Client,
            &mut client_reader,
            &mut upstream_writer,
            &shared,
            &stop,
        );
        let to_client = pump(
            Side::Server,
            &mut upstream_reader,
            &mut client_writer,
            &shared,
            &stop,
        );
        run(
            to_upstream,
            to_client,
            until,
            &shared,
            &stop,
            session.idle_timeout,
        )
        .await
    };
    if let Some(ending) = &outcome.ending {
        shared.note_ending(ending);
        let farewell = async {
            tokio::join!(
                tell(
                    Side::Client,
                    ending,
                    &mut client_writer,
                    &shared,
                    outcome.client_in_step
                ),
                tell(
                    Side::Server,
                    ending,
                    &mut upstream_writer,
                    &shared,
                    outcome.upstream_in_step
                ),
            );
            // Unread bytes would turn the close into a reset, which could overtake the message.
            discard(&mut client_reader).await;
        };
        if timeout(limits::SESSION_ENDING_TIMEOUT, farewell)
            .await
            .is_err()
        {
            tracing::debug!("a session's end could not be told in time");
        }
    }
    shared.report(outcome)
}

/// How the pumps came to rest.
struct Outcome {
    reason: EndReason,
    detail: Option<String>,
    /// Set when the gateway brings the end about and must tell it.
    ending: Option<Ending>,
    /// The client has got whole frames only, so ours may follow.
    client_in_step: bool,
    /// The same for the API server.
    upstream_in_step: bool,
}

/// Why a pump stopped.
#[derive(Debug)]
enum PumpEnd {
    /// The sender ended; everything it sent has been delivered.
    Eof,
    /// The sender was lost.
    ReadFailed,
    /// The receiver was lost.
    WriteFailed,
    /// It was asked to, between two frames.
    Stopped,
    /// The sender broke the protocol.
    Broken(ProtocolError),
    /// The tap lets nothing more pass; the last bytes were neither looked at nor forwarded.
    Refused(TapError),
}

/// Lets both pumps run until the session is over one way or the other.
async fn run<E: Future<Output = Ending>>(
    to_upstream: impl Future<Output = PumpEnd>,
    to_client: impl Future<Output = PumpEnd>,
    until: E,
    shared: &Shared<'_>,
    stop: &CancellationToken,
    idle_timeout: Duration,
) -> Outcome {
    let (mut to_upstream, mut to_client, mut until) =
        (pin!(to_upstream), pin!(to_client), pin!(until));
    let (mut upstream_end, mut client_end): (Option<PumpEnd>, Option<PumpEnd>) = (None, None);
    // Once one end is gone, the other direction has this long.
    let mut drain: Option<Instant> = None;
    let mut first_gone: Option<EndReason> = None;
    let ending = loop {
        let wake = drain.unwrap_or_else(|| {
            shared
                .active()
                .checked_add(idle_timeout)
                .unwrap_or_else(Instant::now)
        });
        tokio::select! {
            biased;
            ending = &mut until, if drain.is_none() => break Some(ending),
            end = &mut to_client, if client_end.is_none() => {
                first_gone.get_or_insert(EndReason::UpstreamGone);
                let gone = !matches!(end, PumpEnd::Eof | PumpEnd::ReadFailed);
                let ending = gateway_ending(&end, Side::Server);
                client_end = Some(end);
                if gone || upstream_end.is_some() {
                    break ending;
                }
                drain.get_or_insert_with(drain_deadline);
            }
            end = &mut to_upstream, if upstream_end.is_none() => {
                first_gone.get_or_insert(EndReason::ClientGone);
                let ending = gateway_ending(&end, Side::Client);
                upstream_end = Some(end);
                if ending.is_some() || client_end.is_some() {
                    break ending;
                }
                drain.get_or_insert_with(drain_deadline);
            }
            () = sleep_until(wake) => {
                if drain.is_some() {
                    break None;
                }
                if shared.active().elapsed() >= idle_timeout {
                    let message = "the session was idle for too long".to_owned();
                    break Some(Ending { reason: EndReason::Idle, message });
                }
            }
        }
    };
    if ending.is_some() {
        stop.cancel();
        let deadline = Instant::now()
            .checked_add(limits::SESSION_ENDING_TIMEOUT)
            .unwrap_or_else(Instant::now);
        while upstream_end.is_none() || client_end.is_none() {
            tokio::select! {
                biased;
                end = &mut to_client, if client_end.is_none() => client_end = Some(end),
                end = &mut to_upstream, if upstream_end.is_none() => upstream_end = Some(end),
                () = sleep_until(deadline) => break,
            }
        }
    }
    outcome(
        ending,
        first_gone,
        client_end.as_ref(),
        upstream_end.as_ref(),
    )
}

fn drain_deadline() -> Instant {
    let now = Instant::now();
    now.checked_add(limits::SESSION_DRAIN_TIMEOUT)
        .unwrap_or(now)
}

/// The end that a pump's end makes the gateway bring about.
fn gateway_ending(end: &PumpEnd, from: Side) -> Option<Ending> {
    match (end, from) {
        (PumpEnd::Broken(error), Side::Client) => Some(Ending {
            reason: EndReason::ClientProtocol,
            message: format!("session ended: {error}"),
        }),
        (PumpEnd::Broken(_), Side::Server) => Some(Ending {
            reason: EndReason::UpstreamProtocol,
            message: "session ended: the API server broke the protocol".to_owned(),
        }),
        (PumpEnd::Refused(error), _) => Some(Ending::refused(error)),
        (PumpEnd::Eof | PumpEnd::ReadFailed | PumpEnd::WriteFailed | PumpEnd::Stopped, _) => None,
    }
}

fn outcome(
    ending: Option<Ending>,
    first_gone: Option<EndReason>,
    client_end: Option<&PumpEnd>,
    upstream_end: Option<&PumpEnd>,
) -> Outcome {
    // A pump that did not come to rest may have left half a frame behind.
    let in_step = |end: Option<&PumpEnd>| {
        matches!(
            end,
            Some(PumpEnd::Stopped | PumpEnd::Broken(_) | PumpEnd::Refused(_))
        )
    };
    let detail = [client_end, upstream_end]
        .into_iter()
        .flatten()
        .find_map(|end| match end {
            PumpEnd::Broken(error) => Some(error.to_string()),
            PumpEnd::Refused(TapError::Ends(_))
            | PumpEnd::Eof
            | PumpEnd::ReadFailed
            | PumpEnd::WriteFailed
            | PumpEnd::Stopped => None,
            PumpEnd::Refused(error) => Some(error.to_string()),
        });
    let reason = match (&ending, client_end) {
        (Some(ending), _) => ending.reason,
        (None, Some(PumpEnd::WriteFailed)) => EndReason::ClientGone,
        (None, _) => first_gone.unwrap_or(EndReason::UpstreamGone),
    };
    Outcome {
        reason,
        detail,
        client_in_step: in_step(client_end),
        upstream_in_step: in_step(upstream_end),
        ending,
    }
}

/// Moves the bytes of one direction. What is read is parsed, and what was understood is written
/// before more is read: that is the back-pressure.
async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    side: Side,
    reader: &mut R,
    writer: &mut W,
    shared: &Shared<'_>,
    stop: &CancellationToken,
) -> PumpEnd {
    let mut input = vec![0; limits::SESSION_READ_BYTES];
    let mut output = Vec::with_capacity(limits::SESSION_READ_BYTES);
    let mut stopping = false;
    loop {
        if let Some(pace) = &shared.pace
            && !stopping
            && !pace.has_room()
        {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = pace.room() => {}
            }
        }
        // Bytes that are there come before the time that has run out: more of them may settle what is held.
        let read = tokio::select! {
            biased;
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                if shared.stop(side) {
                    return PumpEnd::Stopped;
                }
                continue;
            }
            read = reader.read(&mut input) => Some(read),
            () = wait_until(shared.due(side)) => None,
        };
        output.clear();
        let (passed, gone) = take(side, read.as_ref(), &input, &mut output, shared);
        if let Err(end @ PumpEnd::Refused(_)) = passed {
            return end;
        }
        if deliver(writer, &output).await.is_err() {
            if side == Side::Server {
                return PumpEnd::WriteFailed;
            }
            // The API server hears nothing more but may still have the exit status to tell, and the
            // client must be able to get rid of its bytes to read it.
            discard(reader).await;
            return PumpEnd::Eof;
        }
        if let Err(end) = passed {
            return end;
        }
        if let Some(end) = gone {
            if matches!(end, PumpEnd::Eof) {
                // A half-close passes on; that it fails when the receiver is gone too is no news.
                writer.shutdown().await.ok();
            }
            return end;
        }
        if stopping && shared.at_boundary(side) {
            return PumpEnd::Stopped;
        }
        output.shrink_to(limits::SESSION_READ_BYTES);
    }
}

/// Takes what was read, if anything was; whether it could be understood, and whether it was the last.
fn take(
    side: Side,
    read: Option<&io::Result<usize>>,
    input: &[u8],
    output: &mut Vec<u8>,
    shared: &Shared<'_>,
) -> (Result<(), PumpEnd>, Option<PumpEnd>) {
    match read {
        None => (shared.release(output), None),
        Some(Ok(0)) => (shared.finish(side, output), Some(PumpEnd::Eof)),
        Some(Err(_)) => (shared.finish(side, output), Some(PumpEnd::ReadFailed)),
        Some(Ok(count)) => {
            let bytes = input.get(..*count).unwrap_or_default();
            (shared.receive(side, bytes, output), None)
        }
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn deliver<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Reads and forgets until the sender ends.
async fn discard<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut bytes = [0; 1024];
    while reader.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// Tells one end that the session is over, and closes the direction to it.
async fn tell<W: AsyncWrite + Unpin>(
    to: Side,
    ending: &Ending,
    writer: &mut W,
    shared: &Shared<'_>,
    in_step: bool,
) {
    if in_step {
        let bytes = shared.ending(to, ending);
        if let Err(error) = deliver(writer, &bytes).await {
            tracing::debug!(%error, "a session's end could not be told");
        }
    }
    writer.shutdown().await.ok();
}

#[cfg(test)]
mod tests;
