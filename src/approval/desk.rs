//! Where the gateway asks and people answer: the ledger behind an async face, with news of what changed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::digest::Digest;
use super::grant::Grants;
use super::ledger::{self, Found, Held, TooMany, Wish};
use super::person::Person;
use super::state::{self, Admits, Answer, Approval, NotAnswered, State, Verdict};
use super::store::{Store, StoreError, Work};
use super::waiting::{Answered, Waiting};
use crate::config::live::Live;
use crate::limits;
use crate::metrics::Metrics;
use crate::policy::{Permit, Question};

/// The desk. Cheap to clone. A gateway has one, which knows the roles that are given.
#[derive(Clone, Debug)]
pub struct Desk {
    store: Store,
    news: broadcast::Sender<Change>,
    /// The roles that are given, and news of changes. Only the store's thread writes them, after each commit.
    grants: Arc<Live<Grants>>,
    waiting: Arc<Mutex<Waiting>>,
    metrics: Arc<Metrics>,
}

/// That an approval changed, and how it stood then: it may have changed again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its id.
    pub id: Arc<str>,
    /// Where it stood.
    pub state: State,
    /// How many requests it was about.
    pub requests: usize,
    /// How many people had answered.
    pub answers: usize,
}

/// The proof that somebody said yes to a request, and that this use of the yes is on the disk. Only a
/// [`Desk`] makes one, and without one no [`Question`] becomes a [`Permit`].
#[derive(Clone, Debug)]
pub struct Admission {
    id: String,
    digest: Digest,
    audit_id: String,
    answers: Vec<Answer>,
    until: Option<Timestamp>,
}

/// What the desk says to a held request.
#[derive(Debug)]
pub enum Standing {
    /// It may go on.
    Admitted(Box<Permit>),
    /// It waits for an answer.
    Waits(Box<Approval>),
    /// Somebody said no.
    Denied(Box<Approval>),
    /// Too many questions are open to ask another.
    TooMany(TooMany),
}

impl Desk {
    /// Opens a desk over the database, and reads which roles are given.
    pub async fn open(store: Store, metrics: Metrics) -> Result<Self, StoreError> {
        let most = limits::APPROVALS_OPEN_MAX as usize;
        let (grants, open) = store
            .run(move |work| {
                let now = Timestamp::now();
                Ok((ledger::grants(work, now)?, ledger::asked(work, most, now)?))
            })
            .await?;
        let mut waiting = Waiting::default();
        for approval in open {
            waiting.follow(&approval, Timestamp::now());
        }
        Ok(Self {
            store,
            waiting: Arc::new(Mutex::new(waiting)),
            metrics: Arc::new(metrics),
            news: broadcast::Sender::new(limits::APPROVAL_NEWS_MAX),
            grants: Live::new(Arc::new(grants)),
        })
    }

    /// The roles that are given, and news of changes.
    #[must_use]
    pub fn grants(&self) -> &Arc<Live<Grants>> {
        &self.grants
    }

    /// Tells the metrics what waits and what is given.
    pub fn measure(&self) {
        let now = Timestamp::now();
        let mut waiting = self.waiting.lock();
        for waited in waiting.expire(now) {
            self.metrics.question_over(Answered::Expired, waited);
        }
        let given = self.grants.current().count(now);
        let open = (waiting.count(), waiting.oldest(now));
        self.metrics.approvals(open, given);
    }

    /// The database, for other rooms that keep state in it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Uses a yes for the request if there is one, and asks if nobody has yet.
    pub async fn consult(&self, question: Question, held: Held) -> Result<Standing, StoreError> {
        let id = new_id();
        let (digest, audit_id) = (held.digest.clone(), held.audit_id.clone());
        let found = self
            .change(
                move |work| ledger::consult(work, &held, id, Timestamp::now()),
                |found| match found {
                    Found::Admitted(approval, _) | Found::Asked(approval) => Some(approval),
                    // No news: whoever waits for it would look again, and so without end.
                    Found::Waits(_) | Found::Denied(_) | Found::Refused(_) => None,
                },
            )
            .await?;
        Ok(match found {
            Found::Admitted(approval, admits) => {
                let admission = Admission {
                    id: approval.id,
                    digest,
                    audit_id,
                    answers: approval.answers,
                    until: match admits {
                        Admits::Once => None,
                        Admits::Until(until) => Some(until),
                    },
                };
                Standing::Admitted(Box::new(question.admitted(admission)))
            }
            Found::Asked(approval) | Found::Waits(approval) => Standing::Waits(approval),
            Found::Denied(approval) => Standing::Denied(approval),
            Found::Refused(why) => Standing::TooMany(why),
        })
    }

    /// Follows what changes from now on.
    #[must_use]
    pub fn news(&self) -> News {
        News(self.news.subscribe())
    }

    /// One approval as it stands.
    pub async fn get(&self, id: String) -> Result<Option<Approval>, StoreError> {
        self.store
            .run(move |work| ledger::get(work, &id, Timestamp::now()))
            .await
    }

    /// The latest approvals; with `open`, only those that are not over.
    pub async fn list(&self, open: bool, limit: usize) -> Result<Vec<Approval>, StoreError> {
        self.store
            .run(move |work| ledger::list(work, open, limit, Timestamp::now()))
            .await
    }

    /// Takes somebody's answer, who has seen the first `seen` requests; `None` when there is no such question.
    pub async fn answer(
        &self,
        id: String,
        by: Person,
        answer: (Verdict, String, usize),
    ) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
        self.change(
            move |work| ledger::answer(work, &id, by, answer, Timestamp::now()),
            |result| result.as_ref()?.as_ref().ok(),
        )
        .await
    }

    /// Asks for a role ahead of time. What is asked for already is not asked twice.
    pub async fn wish(&self, wish: Wish) -> Result<Result<Approval, TooMany>, StoreError> {
        let id = new_id();
        let found = self
            .change(
                move |work| ledger::wish(work, wish, id, Timestamp::now()),
                |found| match found {
                    Ok((approval, true)) => Some(approval),
                    Ok((_, false)) | Err(_) => None,
                },
            )
            .await?;
        Ok(found.map(|(approval, _)| approval))
    }

    /// Takes a role away from whoever has it. When this returns, nothing new is admitted by it.
    pub async fn revoke(
        &self,
        id: String,
        by: (Person, bool),
        reason: String,
    ) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
        self.change(
            move |work| ledger::revoke(work, &id, by, reason, Timestamp::now()),
            |result| result.as_ref()?.as_ref().ok(),
        )
        .await
    }

    /// Takes a question back.
    pub async fn withdraw(
        &self,
        id: String,
        by: Person,
    ) -> Result<Option<Result<Approval, NotAnswered>>, StoreError> {
        self.change(
            move |work| ledger::withdraw(work, &id, &by, Timestamp::now()),
            |result| result.as_ref()?.as_ref().ok(),
        )
        .await
    }

    /// Gives a use back that nothing came of: the API server did not switch protocols, or changed nothing.
    pub async fn give_back(&self, admission: &Admission) -> Result<bool, StoreError> {
        let Admission {
            id,
            digest,
            audit_id,
            ..
        } = admission.clone();
        let given = self
            .change(
                move |work| ledger::give_back(work, &id, (&digest, &audit_id), Timestamp::now()),
                Option::as_ref,
            )
            .await?;
        Ok(given.is_some())
    }

    /// Adds what was found out about a request after it was asked.
    pub async fn add_context(
        &self,
        id: String,
        digest: Digest,
        found: state::Found,
    ) -> Result<(), StoreError> {
        self.change(
            move |work| ledger::add_context(work, &id, &digest, found, Timestamp::now()),
            Option::as_ref,
        )
        .await?;
        Ok(())
    }

    /// Resolves when the yes behind an admission was taken back.
    pub async fn taken_back(&self, admission: &Admission) {
        if admission.until.is_none() {
            std::future::pending::<()>().await; // it was used, there is nothing to take back
        }
        let mut news = self.news();
        loop {
            match self.get(admission.id.clone()).await {
                Ok(Some(approval))
                    if !matches!(approval.state, State::Denied | State::Withdrawn) => {}
                // It is over, or was forgotten, for which it has to be over as well.
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "it cannot be seen whether a yes still holds");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            news.about(&admission.id).await;
        }
    }

    /// One step, and the news of it: of every change there is one, in the order in which they happened.
    async fn change<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Work<'_>) -> Result<T, StoreError> + Send + 'static,
        changed: impl FnOnce(&T) -> Option<&Approval> + Send + 'static,
    ) -> Result<T, StoreError> {
        let desk = self.clone();
        self.store
            .run_and_tell(step, move |result| {
                if let Some(approval) = changed(result) {
                    desk.follow(approval);
                }
            })
            .await
    }

    /// Lets what is kept in memory follow one change.
    fn follow(&self, approval: &Approval) {
        let now = Timestamp::now();
        if approval.grant.is_some() {
            let grants = self.grants.current().after(approval, now);
            self.grants.replace(grants);
        }
        if let Some((answered, waited)) = self.waiting.lock().follow(approval, now) {
            self.metrics.question_over(answered, waited);
        }
        // Nobody may be listening.
        let _nobody_listens = self.news.send(Change::of(approval));
    }
}

const RETRY: Duration = Duration::from_secs(5);

/// News of approvals that changed.
#[derive(Debug)]
pub struct News(broadcast::Receiver<Change>);

impl News {
    /// Waits until something may have happened to this approval.
    pub async fn about(&mut self, id: &str) {
        loop {
            match self.0.recv().await {
                Ok(changed) if *changed.id == *id => return,
                Ok(_) => {}
                // What was missed may have been about it.
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// What changed next; `None` when there was more than could be told apart.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(changed) => Some(changed),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Waits until something happened to any of them.
    pub async fn any(&mut self) {
        if matches!(
            self.0.recv().await,
            Err(broadcast::error::RecvError::Closed)
        ) {
            std::future::pending::<()>().await;
        }
    }
}

impl Change {
    fn of(approval: &Approval) -> Self {
        Self {
            id: Arc::from(approval.id.as_str()),
            state: approval.state,
            requests: approval.requests.len(),
            answers: approval.answers.len(),
        }
    }
}

impl Admission {
    /// The approval it came from.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who said yes, when and why.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// When the yes to a whole class ends, and every stream with it.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

/// A new id: ten letters and digits that cannot be mistaken for one another, to be typed by people. Whoever
/// knows one can do nothing with it.
fn new_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 10];
    if rand::fill(&mut bytes).is_err() {
        // Then a time, which is as good as long as it is nobody else's.
        return uuid::Uuid::now_v7().simple().to_string();
    }
    bytes
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte & 31)))
        .map(|letter| char::from(*letter))
        .collect()
}
