//! Approvals in the database: each function is one step within one transaction ([`super::store`]).

mod room;

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::digest::Digest;
use super::grant::{Ahead, Grants};
use super::person::Person;
use super::state::{
    self, Admits, Answer, Approval, Asked, NotAnswered, Shown, State, Verdict, later,
};
use super::store::{StoreError, Work};
use crate::identity::Identity;
use crate::limits;
use crate::policy::{Askable, Hold};

pub use room::TooMany;

/// A held request, to be looked up or asked about.
#[derive(Clone, Debug)]
pub struct Held {
    /// The digest of exactly this request.
    pub digest: Digest,
    /// What a wider yes has to be for.
    pub class: Digest,
    /// Which invocation of a client it is from, as far as it says so.
    pub command: Option<Digest>,
    /// Who asks.
    pub caller: Person,
    /// Where to.
    pub cluster: String,
    /// The rule that holds it.
    pub rule: String,
    /// Why, in its author's words.
    pub message: Option<String>,
    /// Its terms.
    pub terms: Hold,
    /// What an approver sees of it.
    pub shown: Shown,
    /// The audit id of the request that is there now.
    pub audit_id: String,
}

/// A role, asked for ahead of time.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who asks.
    pub caller: Person,
    /// Their digest.
    pub holder: Digest,
    /// What for.
    pub ahead: Ahead,
    /// Where the role is defined, as `POLICY/ROLE`.
    pub rule: String,
    /// Who may say yes, and how long the question lives.
    pub terms: Hold,
}

impl Wish {
    /// What somebody asks for who may.
    #[must_use]
    pub fn of(identity: &Identity, ahead: Ahead, role: &Askable) -> Self {
        Self {
            caller: Person::from(identity),
            holder: Digest::of_caller(identity),
            ahead,
            rule: role.id.clone(),
            terms: Hold {
                approvers: role.approvers.clone(),
                wait: None,
                expires: Hold::EXPIRES,
                same_class: None,
            },
        }
    }
}

/// What became of a held request.
#[derive(Clone, Debug)]
pub enum Found {
    /// Somebody said yes, and this use of it is on the disk.
    Admitted(Box<Approval>, Admits),
    /// It was asked, as a question of its own or as a part of one.
    Asked(Box<Approval>),
    /// It was asked before and waits for an answer.
    Waits(Box<Approval>),
    /// Somebody said no, a while ago.
    Denied(Box<Approval>),
    /// It was not asked, because too much is.
    Refused(TooMany),
}

/// Uses a yes for the request if there is one; asks if nobody has yet.
pub fn consult(
    work: &Work<'_>,
    held: &Held,
    id: String,
    now: Timestamp,
) -> Result<Found, StoreError> {
    for mut approval in of_class(work, &held.class)? {
        if let Some(Admits::Until(until)) = approval.admits(now)
            && let Some(admits) = approval.take(&held.digest, &held.audit_id, now)
        {
            debug_assert_eq!(admits, Admits::Until(until));
            return Ok(Found::Admitted(Box::new(approval), admits));
        }
    }
    let mut stands = None;
    for mut approval in of_digest(work, &held.digest)? {
        approval.settle(now);
        if let Some(admits) = approval.take(&held.digest, &held.audit_id, now) {
            save(work, &approval)?;
            return Ok(Found::Admitted(Box::new(approval), admits));
        }
        match approval.state {
            State::Asked => stands = Some(Found::Waits(Box::new(approval))),
            State::Denied if now < approval.expires && stands.is_none() => {
                stands = Some(Found::Denied(Box::new(approval)));
            }
            _ => {}
        }
    }
    match stands {
        Some(found) => Ok(found),
        None => ask(work, held, id, now),
    }
}

/// Joins the question of the same command, or asks a new one.
fn ask(work: &Work<'_>, held: &Held, id: String, now: Timestamp) -> Result<Found, StoreError> {
    let request = Asked {
        digest: held.digest.clone(),
        at: now,
        shown: held.shown.clone(),
        used_by: None,
    };
    if held.command.is_some() {
        for mut approval in of_class(work, &held.class)? {
            if approval.command == held.command && approval.join(request.clone(), now) {
                save(work, &approval)?;
                return Ok(Found::Asked(Box::new(approval)));
            }
        }
    }
    if let Some(why) = room::is_full(work, &held.caller, now)? {
        return Ok(Found::Refused(why));
    }
    let approval = Approval {
        id,
        caller: held.caller.clone(),
        cluster: held.cluster.clone(),
        rule: held.rule.clone(),
        message: held.message.clone(),
        terms: held.terms.clone(),
        class: held.class.clone(),
        command: held.command.clone(),
        grant: None,
        requests: vec![request],
        asked: now,
        expires: later(now, held.terms.expires),
        state: State::Asked,
        answers: Vec::<Answer>::new(),
    };
    save(work, &approval)?;
    forget(work)?;
    Ok(Found::Asked(Box::new(approval)))
}

/// Asks for a role, and says whether that is new: what is asked for already, or was denied and stands so, is not asked
/// again.
pub fn wish(
    work: &Work<'_>,
    wish: Wish,
    id: String,
    now: Timestamp,
) -> Result<Result<(Approval, bool), TooMany>, StoreError> {
    let mut found = work.prepare_cached(
        "SELECT approval FROM approvals WHERE class = ?1 AND expires > ?2
           AND state IN ('asked', 'approved', 'denied') ORDER BY asked, id",
    )?;
    let rows = found.query_map((wish.holder.as_str(), now.as_microsecond()), |row| {
        row.get::<_, String>(0)
    })?;
    let mut given = 0;
    for text in rows {
        let approval = read(&text?, now)?;
        if approval.grant.as_ref() == Some(&wish.ahead) && approval.terms.binds_like(&wish.terms) {
            return Ok(Ok((approval, false)));
        }
        given += u32::from(approval.state == State::Approved);
    }
    if given >= limits::APPROVALS_OPEN_PER_CALLER_MAX {
        return Ok(Err(TooMany::OfCaller));
    }
    if let Some(why) = room::is_full(work, &wish.caller, now)? {
        return Ok(Err(why));
    }
    let approval = Approval {
        id,
        caller: wish.caller,
        cluster: String::new(),
        rule: wish.rule,
        message: None,
        class: wish.holder,
        command: None,
        grant: Some(wish.ahead),
        requests: Vec::new(),
        asked: now,
        expires: later(now, wish.terms.expires),
        terms: wish.terms,
        state: State::Asked,
        answers: Vec::new(),
    };
    save(work, &approval)?;
    forget(work)?;
    Ok(Ok((approval, true)))
}

/// The roles that are given at `now`.
pub fn grants(work: &Work<'_>, now: Timestamp) -> Result<Grants, StoreError> {
    let mut found = work.prepare_cached(
        "SELECT approval FROM approvals WHERE state = 'approved' AND expires > ?1",
    )?;
    let rows = found.query_map([now.as_microsecond()], |row| row.get::<_, String>(0))?;
    let mut grants = Vec::new();
    for text in rows {
        grants.extend(read(&text?, now)?.granted(now).map(Arc::new));
    }
    Ok(Grants::new(grants, now))
}

/// Takes a role away.
pub fn revoke(
    work: &Work<'_>,
    id: &str,
    (by, is_operator): (Person, bool),
    reason: String,
    now: Timestamp,
) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
    change(work, id, now, |approval| {
        approval.revoke(by, is_operator, reason, now)
    })
}

/// One approval as it stands at `now`.
pub fn get(work: &Work<'_>, id: &str, now: Timestamp) -> Result<Option<Approval>, StoreError> {
    let text: Option<String> = work
        .prepare_cached("SELECT approval FROM approvals WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    text.map(|text| read(&text, now)).transpose()
}

/// The approvals as they stand at `now`, the latest first; with `open`, only those that are not over.
pub fn list(
    work: &Work<'_>,
    open: bool,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Approval>, StoreError> {
    let sql = if open {
        "SELECT approval FROM approvals WHERE state IN ('asked', 'approved') AND expires > ?1
         ORDER BY asked DESC, id LIMIT ?2"
    } else {
        "SELECT approval FROM approvals WHERE ?1 IS NOT NULL ORDER BY asked DESC, id LIMIT ?2"
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = work.prepare_cached(sql)?;
    let rows = found.query_map((now.as_microsecond(), limit), |row| row.get::<_, String>(0))?;
    rows.map(|text| read(&text?, now)).collect()
}

/// The questions that wait at `now`.
pub fn asked(work: &Work<'_>, limit: usize, now: Timestamp) -> Result<Vec<Approval>, StoreError> {
    let open = list(work, true, usize::MAX, now)?.into_iter();
    Ok(open
        .filter(|approval| approval.state == State::Asked)
        .take(limit)
        .collect())
}

/// Takes somebody's answer.
pub fn answer(
    work: &Work<'_>,
    id: &str,
    by: Person,
    (verdict, reason, seen): (Verdict, String, usize),
    now: Timestamp,
) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
    change(work, id, now, |approval| {
        approval.answer(by, verdict, (reason, seen), now)
    })
}

/// Takes a question back.
pub fn withdraw(
    work: &Work<'_>,
    id: &str,
    by: &Person,
    now: Timestamp,
) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
    change(work, id, now, |approval| approval.withdraw(by, now))
}

/// Gives a use back that nothing came of; `None` when there is none to be given back.
pub fn give_back(
    work: &Work<'_>,
    id: &str,
    (digest, audit_id): (&Digest, &str),
    now: Timestamp,
) -> Result<Option<Approval>, StoreError> {
    let Some(mut approval) = get(work, id, now)? else {
        return Ok(None);
    };
    if !approval.give_back(digest, audit_id, now) {
        return Ok(None);
    }
    save(work, &approval)?;
    Ok(Some(approval))
}

/// Adds what was found out about a request after it was asked; `None` when it is not there any more.
pub fn add_context(
    work: &Work<'_>,
    id: &str,
    digest: &Digest,
    found: state::Found,
    now: Timestamp,
) -> Result<Option<Approval>, StoreError> {
    let Some(mut approval) = get(work, id, now)? else {
        return Ok(None);
    };
    let mut requests = approval.requests.iter_mut();
    let Some(request) = requests.find(|request| request.digest == *digest) else {
        return Ok(None);
    };
    request.shown.context = found.context;
    request.shown.diff = found.diff;
    save(work, &approval)?;
    Ok(Some(approval))
}

fn change(
    work: &Work<'_>,
    id: &str,
    now: Timestamp,
    step: impl FnOnce(&mut Approval) -> Result<(), NotAnswered>,
) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
    let Some(mut approval) = get(work, id, now)? else {
        return Ok(None);
    };
    let result = step(&mut approval);
    if result.is_ok() {
        save(work, &approval)?;
    }
    Ok(Some(result.map(|()| approval)))
}

/// Those of a class that are not over, the oldest first.
fn of_class(work: &Work<'_>, class: &Digest) -> Result<Vec<Approval>, StoreError> {
    let mut found = work.prepare_cached(
        "SELECT approval FROM approvals WHERE class = ?1 AND state IN ('asked', 'approved')
         ORDER BY asked, id",
    )?;
    let rows = found.query_map([class.as_str()], |row| row.get::<_, String>(0))?;
    rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
}

/// Those with a request, the oldest first, that still say something about it.
fn of_digest(work: &Work<'_>, digest: &Digest) -> Result<Vec<Approval>, StoreError> {
    let mut found = work.prepare_cached(
        "SELECT approval FROM approvals
         WHERE id IN (SELECT approval FROM approval_requests WHERE digest = ?1)
           AND state IN ('asked', 'approved', 'denied')
         ORDER BY asked, id",
    )?;
    let rows = found.query_map([digest.as_str()], |row| row.get::<_, String>(0))?;
    rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
}

fn read(text: &str, now: Timestamp) -> Result<Approval, StoreError> {
    let mut approval: Approval = serde_json::from_str(text)?;
    approval.settle(now);
    Ok(approval)
}

fn save(work: &Work<'_>, approval: &Approval) -> Result<(), StoreError> {
    work.prepare_cached(
        "INSERT INTO approvals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires = excluded.expires,
           approval = excluded.approval",
    )?
    .execute((
        &approval.id,
        approval.state.as_str(),
        room::caller_key(&approval.caller).as_str(),
        approval.class.as_str(),
        approval.command.as_ref().map(Digest::as_str),
        approval.asked.as_microsecond(),
        approval.expires.as_microsecond(),
        serde_json::to_string(approval)?,
    ))?;
    let mut insert =
        work.prepare_cached("INSERT OR IGNORE INTO approval_requests VALUES (?1, ?2)")?;
    for request in &approval.requests {
        insert.execute((request.digest.as_str(), &approval.id))?;
    }
    Ok(())
}

/// Writes down whose time is over, so that they no longer count as open.
fn sweep(work: &Work<'_>, now: Timestamp) -> Result<(), StoreError> {
    let over: Vec<String> = work
        .prepare_cached(
            "SELECT approval FROM approvals WHERE state IN ('asked', 'approved') AND expires <= ?1",
        )?
        .query_map([now.as_microsecond()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for text in over {
        save(work, &read(&text, now)?)?;
    }
    Ok(())
}

/// Removes the oldest that are over, when there are too many.
fn forget(work: &Work<'_>) -> Result<(), StoreError> {
    work.prepare_cached(
        "DELETE FROM approvals WHERE id IN (
           SELECT id FROM approvals WHERE state NOT IN ('asked', 'approved')
           ORDER BY asked DESC, id LIMIT -1 OFFSET ?1)",
    )?
    .execute([limits::APPROVALS_KEPT_MAX])?;
    Ok(())
}

#[cfg(test)]
mod tests;
