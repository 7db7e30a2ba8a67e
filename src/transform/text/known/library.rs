//! The books of all clusters, and which shelf of them a request is masked with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Book, Passing, Shelf};
use crate::limits::KNOWN_VALUE_BYTES_MIN;
use crate::policy::Permit;
use crate::request::RequestInfo;
use crate::transform::{MaskError, Placeholders};

/// What is learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whether all Secrets are read and followed; otherwise values are learned in passing alone.
    pub watch: bool,
    /// The length in bytes below which values are not known.
    pub minimum_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            watch: true,
            minimum_bytes: KNOWN_VALUE_BYTES_MIN,
        }
    }
}

/// What the gateway knows of the Secrets of every cluster.
#[derive(Default)]
pub struct KnownValues {
    /// Whether all Secrets are read; otherwise what is known has passed.
    watch: bool,
    books: BTreeMap<String, Arc<Book>>,
}

impl KnownValues {
    /// An empty book for each cluster.
    pub fn new<'a>(
        clusters: impl IntoIterator<Item = &'a str>,
        placeholders: &Arc<Placeholders>,
        settings: Settings,
    ) -> Self {
        let book = |cluster: &str| {
            let book = Book::new(Arc::clone(placeholders), settings.minimum_bytes);
            (cluster.to_owned(), Arc::new(book))
        };
        Self {
            watch: settings.watch,
            books: clusters.into_iter().map(book).collect(),
        }
    }

    /// The books, by cluster.
    pub fn books(&self) -> impl Iterator<Item = (&str, &Arc<Book>)> {
        self.books.iter().map(|(name, book)| (name.as_str(), book))
    }

    /// What is refused as long as the Secrets of a cluster have not been read, one line for each.
    pub fn unread(&self) -> impl Iterator<Item = String> {
        let books = self.books.iter().filter(|_| self.watch);
        let unread = books.filter(|(_, book)| !book.is_complete());
        unread.map(|(cluster, _)| {
            format!(
                "the Secrets of cluster `{cluster}` have not been read: requests under the mask known-values are refused; \
                 the gateway's credential needs to list and watch secrets"
            )
        })
    }

    /// Whether all is known that policy demands to mask: until the Secrets of a cluster have been read once
    /// nothing may pass. Without a watch there is nothing to wait for.
    pub fn ready(&self, permit: &Permit) -> Result<(), MaskError> {
        match self.book(permit) {
            Some(book) if self.watch && !book.is_complete() => Err(MaskError::NotLearned),
            _ => Ok(()),
        }
    }

    /// What texts of `namespace` are to be searched for, if policy demands it; the empty namespace is all
    /// of them.
    pub fn shelf(&self, permit: &Permit, namespace: &str) -> Result<Option<Arc<Shelf>>, MaskError> {
        self.ready(permit)?;
        Ok(self.book(permit).map(|book| book.shelf(namespace)))
    }

    /// Who learns from the answer to a request, if it holds Secrets and any rule demands known values.
    pub(in crate::transform) fn passing(
        &self,
        info: &RequestInfo,
        permit: &Permit,
    ) -> Option<Passing> {
        let book = self.books.get(permit.cluster())?;
        book.is_demanded().then(|| Passing::new(info, book))?
    }

    /// The book of the permit's cluster, if policy demands known values to be masked.
    fn book(&self, permit: &Permit) -> Option<&Arc<Book>> {
        let plan = permit.mask()?;
        plan.texts()
            .known_values
            .then(|| self.books.get(permit.cluster()))?
    }
}
