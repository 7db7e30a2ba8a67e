//! Looks for a text in many recordings, one after the other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Catalog, Session};
use crate::limits;
use crate::recording::replay::search::{Hit, hits};
use crate::recording::replay::transcript::Needle;
use crate::recording::replay::{ReadError, files};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quest {
    /// The text, within one line of what the terminal showed or of what was typed.
    pub text: String,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    pub ignore_case: bool,
    /// How many places are told at most.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

fn default_limit() -> usize {
    limits::SEARCH_HITS_DEFAULT
}

/// What is told while it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum News {
    /// It stands here.
    Hit(Hit),
    /// This recording was left out.
    Unreadable {
        /// Which.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The last news: everything was looked at, but for what this says.
    Over(Rest),
}

/// What was not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rest {
    /// There are as many places as were asked for; there may be more.
    pub full: bool,
    /// Only the sessions that began at this time or later were searched: more is not done at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Where it is looked for.
#[derive(Clone, Debug)]
pub struct Haystack {
    /// The sessions, the latest first.
    pub sessions: Vec<Session>,
    /// Whether there are older ones.
    pub more: bool,
    /// Bytes of recordings after which no further one is searched.
    pub most: u64,
}

/// Who is told.
pub struct Audience<'a> {
    /// Takes news; false when nobody is there any more.
    pub tell: &'a mut dyn FnMut(News) -> bool,
    /// Whether somebody still is.
    pub listens: &'a dyn Fn() -> bool,
}

impl Catalog {
    /// Looks for a text in these sessions, in their order. The audience also gets the end, unless it has left.
    pub fn search(&self, hay: &Haystack, quest: &Quest, audience: &mut Audience<'_>) {
        let needle = Needle::new(&quest.text, quest.ignore_case);
        let mut rest = Rest::default();
        let (mut room, mut bytes) = (quest.limit, 0_u64);
        let mut before = None;
        for session in hay.sessions.iter().filter(|session| session.recorded) {
            rest.full = room == 0;
            if bytes >= hay.most {
                rest.since = before;
            }
            if rest != Rest::default() || !(audience.listens)() {
                break;
            }
            bytes = bytes.saturating_add(session.recorded_bytes);
            before = Some(session.metadata.started);
            let news = match self.hits(session, &needle, room, audience.listens) {
                Ok(hits) => hits.into_iter().map(News::Hit).collect(),
                // The others are worth searching all the same.
                Err(error) => vec![News::Unreadable {
                    id: session.metadata.id.clone(),
                    why: error.to_string(),
                }],
            };
            for news in news {
                room = room.saturating_sub(usize::from(matches!(news, News::Hit(_))));
                if !(audience.tell)(news) {
                    return;
                }
            }
        }
        if hay.more && rest == Rest::default() {
            rest.since = hay.sessions.last().map(|oldest| oldest.metadata.started);
        }
        (audience.tell)(News::Over(rest));
    }

    fn hits(
        &self,
        session: &Session,
        needle: &Needle,
        room: usize,
        wants: &dyn Fn() -> bool,
    ) -> Result<Vec<Hit>, ReadError> {
        let parts = self.parts(&session.metadata.id)?;
        hits(&session.metadata, files::open(parts), needle, room, wants)
    }
}
