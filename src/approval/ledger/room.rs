//! How many questions there may be: what nobody can fill for others.

use jiff::{SignedDuration, Timestamp};

use crate::approval::digest::Digest;
use crate::approval::person::Person;
use crate::approval::store::{StoreError, Work};
use crate::limits;

/// Too many questions are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// Of this caller.
    OfCaller,
    /// Of all agents of the same human.
    OfAgents,
    /// Of this caller within an hour, whether they are open or over. Requests that join one are not counted: each question
    /// has room for few.
    InAnHour,
    /// So many of all that who has one open asks no other.
    Busy,
    /// Of all.
    InAll,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Whether too many questions are open to ask another.
///
/// A human and their agents are counted apart, so that neither takes the other's room; and from the half on whoever
/// has one open asks no other, so that few who ask a lot leave room for many who ask once.
pub(super) fn is_full(
    work: &Work<'_>,
    caller: &Person,
    now: Timestamp,
) -> Result<Option<TooMany>, StoreError> {
    super::sweep(work, now)?;
    let caller_key = caller_key(caller);
    let hour_ago = now.saturating_sub(HOUR).unwrap_or(Timestamp::MIN);
    let lately: u32 = work
        .prepare_cached("SELECT count(*) FROM approvals WHERE asked > ?1 AND caller = ?2")?
        .query_row((hour_ago.as_microsecond(), caller_key.as_str()), |row| {
            row.get(0)
        })?;
    if lately >= limits::APPROVALS_ASKED_PER_HOUR_MAX {
        return Ok(Some(TooMany::InAnHour));
    }
    // The same human is whom their issuer calls so, or everybody: as in `Person::is_same_human`.
    let mut count = work.prepare_cached(
        "SELECT count(*), count(*) FILTER (WHERE caller = ?1),
           count(*) FILTER (WHERE (approval ->> '$.caller.agent' IS NOT NULL) = ?2
             AND (approval ->> '$.caller.user' = ?3
               OR approval ->> '$.caller.issuer' = ?4 AND approval ->> '$.caller.subject' = ?5))
         FROM approvals WHERE state = 'asked'",
    )?;
    let is_agent = caller.agent.is_some();
    let own = (
        caller_key.as_str(),
        is_agent,
        &caller.user,
        &caller.issuer,
        &caller.subject,
    );
    let (all, of_caller, of_side): (u32, u32, u32) =
        count.query_row(own, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(if of_caller >= limits::APPROVALS_OPEN_PER_CALLER_MAX {
        Some(TooMany::OfCaller)
    } else if is_agent && of_side >= limits::APPROVALS_OPEN_OF_AGENTS_MAX {
        Some(TooMany::OfAgents)
    } else if !is_agent && of_side >= limits::APPROVALS_OPEN_PER_CALLER_MAX {
        Some(TooMany::OfCaller)
    } else if all >= limits::APPROVALS_OPEN_MAX {
        Some(TooMany::InAll)
    } else if all >= limits::APPROVALS_OPEN_BUSY && of_side > 0 {
        Some(TooMany::Busy)
    } else {
        None
    })
}

/// What the questions of one caller are counted by: a human's agents count for themselves.
pub(super) fn caller_key(caller: &Person) -> Digest {
    Digest::of(&[
        &caller.issuer,
        &caller.subject,
        caller.agent.as_deref().unwrap_or_default(),
    ])
}
