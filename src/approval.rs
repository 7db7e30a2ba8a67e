//! Has a human said yes to exactly this?
//!
//! [`digest`] says what *this* is, [`person`] who may say yes, [`state`] what becomes of a question: pure.
//! A yes may also be asked for ahead of time: then it gives a [`grant`] of a role.
//! [`ledger`] keeps it in the database of [`store`], and [`desk`] is where the gateway asks and people
//! answer.

pub mod desk;
pub mod digest;
pub mod grant;
pub mod ledger;
pub mod person;
pub mod state;
pub mod store;
pub mod waiting;

pub use desk::{Admission, Change, Desk, News, Standing};
pub use digest::{Case, Digest};
pub use grant::{Ahead, Grant, Grants};
pub use person::{Person, Unfit};
pub use state::{Admits, Answer, Approval, Asked, Found, NotAnswered, Shown, State, Verdict};
pub use store::{FILE, Store, StoreError};
pub use waiting::Answered;
