//! Entries that are put into kubeconfig files, without harm to what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::document::Node;
use super::files::{Lock, chain, default_file, has_comments, read, replace};
use crate::cli::output::note;

/// Entries to put in.
#[derive(Debug, Default)]
pub(super) struct Addition {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// `clusters`, `contexts`, `users`.
    list: &'static str,
    /// `cluster`, `context`, `user`.
    inner: &'static str,
    name: String,
    value: Node,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Written {
    /// The contexts that are now there, by file.
    pub(super) contexts: BTreeMap<PathBuf, Vec<String>>,
    /// The current context that was changed.
    pub(super) context_before: Option<String>,
}

impl Addition {
    pub(super) fn add(&mut self, list: &'static str, inner: &'static str, name: &str, value: Node) {
        self.entries.push(Entry {
            list,
            inner,
            name: name.to_owned(),
            value,
        });
    }

    /// The context that is meant when none is named.
    pub(super) fn first_context(&self) -> &str {
        self.entries
            .iter()
            .find(|entry| entry.list == "contexts")
            .map_or("", |entry| &entry.name)
    }

    /// Puts everything into one file.
    pub(super) fn put_into(&self, file: &mut Node) {
        for entry in &self.entries {
            entry.put_into(file);
        }
    }

    /// Merges into the files that kubectl would read: an entry that is there is changed where it is, a
    /// new one goes where kubectl would put it. An entry that says something else is only replaced with
    /// `overwrite`. Nothing is written unless everything can be.
    pub(super) fn write(
        &self,
        explicit: Option<&Path>,
        overwrite: bool,
        switch: bool,
    ) -> anyhow::Result<Written> {
        let files = chain(explicit)?;
        // One order for everybody, and each lock once: two who change the same files never wait for
        // each other.
        let usual = default_file(&files)?;
        let _locks = lock(&files, usual)?;
        let before: Vec<Node> = files
            .iter()
            .map(|file| read(file))
            .collect::<Result<_, _>>()?;
        let mut after = before.clone();
        let mut contexts: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for entry in &self.entries {
            let place = before.iter().position(|file| entry.find(file).is_some());
            let place = place.unwrap_or(usual);
            let (Some(file), Some(node)) = (files.get(place), after.get_mut(place)) else {
                continue;
            };
            let known = entry.find(node);
            ensure!(
                overwrite || known.is_none_or(|known| *known == entry.value),
                "there is another {} {:?} in {}; replace it with --overwrite, or choose another --name",
                entry.inner,
                entry.name,
                file.display()
            );
            entry.put_into(node);
            if entry.list == "contexts" {
                let names = contexts.entry(file.clone()).or_default();
                names.push(entry.name.clone());
            }
        }
        let current = before
            .iter()
            .position(|file| file.text_at("current-context").is_some());
        let mut context_before = None;
        if switch || current.is_none() {
            let place = current.unwrap_or(usual);
            let file = after.get_mut(place).context("a file is missing")?;
            let old = file.text_at("current-context").map(str::to_owned);
            context_before = old.filter(|old| old != self.first_context());
            file.set("current-context", Node::text(self.first_context()));
        }
        write_changed(&files, &before, &after)?;
        Ok(Written {
            contexts,
            context_before,
        })
    }
}

/// Locks the files that are there, and the one that new entries go into. All do that in one order, so
/// two who change the same files never wait for each other.
fn lock(files: &[PathBuf], usual: usize) -> anyhow::Result<Vec<Lock>> {
    let mut wanted: Vec<&PathBuf> = files
        .iter()
        .enumerate()
        .filter(|(place, file)| *place == usual || file.exists())
        .map(|(_, file)| file)
        .collect();
    wanted.sort();
    wanted.into_iter().map(|file| Lock::take(file)).collect()
}

/// Writes what is different now; every text is made before the first file is touched.
fn write_changed(files: &[PathBuf], before: &[Node], after: &[Node]) -> anyhow::Result<()> {
    let mut texts = Vec::new();
    for ((file, before), after) in files.iter().zip(before).zip(after) {
        if before != after {
            texts.push((file, after.render()?));
        }
    }
    for (file, text) in texts {
        if has_comments(file) {
            note(&format!("the comments in {} are gone", file.display()));
        }
        replace(file, &text)?;
    }
    Ok(())
}

impl Entry {
    fn find<'a>(&self, file: &'a Node) -> Option<&'a Node> {
        file.named(self.list, self.inner, &self.name)
    }

    fn put_into(&self, file: &mut Node) {
        file.set_named(self.list, self.inner, &self.name, self.value.clone());
    }
}
