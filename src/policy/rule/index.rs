//! Which rules may match a request, found without looking at the others.
//!
//! For every criterion, the rules are kept as bits by the names that they give for it, or by what such names begin with.
//! A request looks its own names up, and what is left of all criteria are the candidates. They may be too many and are
//! never too few: whether one matches is for [`Rule::matches`] alone to say, so nothing is decided here.

use std::collections::BTreeMap;

use super::super::matcher::{Reach, plain};
use super::{Asked, Rule, SubjectsSource};

/// The rules of a policy by what they name.
#[derive(Debug)]
pub(in crate::policy) struct Index {
    subjects: Subjects,
    clusters: Names,
    verbs: Names,
    api_groups: Names,
    resources: Names,
    namespaces: Names,
    resource_names: Names,
    urls: Names,
}

/// The rules by the subjects that they name; one of them is enough.
#[derive(Debug)]
struct Subjects {
    /// Those that name nobody and are about everybody.
    open: Vec<u64>,
    /// Those for roles, whichever.
    roles: Vec<u64>,
    users: Names,
    groups: Names,
    agents: Names,
}

/// The rules by what they name for one criterion.
#[derive(Debug)]
struct Names {
    /// Those that no name rules out: they give none, or one that begins with anything.
    open: Vec<u64>,
    /// Those that count as soon as they are touched, as by a request that gives no name and is about all.
    touched: Vec<u64>,
    /// In the order of their texts.
    keys: Vec<Key>,
}

/// The rules that give one name.
#[derive(Debug)]
struct Key {
    text: String,
    /// Those that are about this name.
    whole: Run,
    /// Those that are about names that begin so.
    begin: Run,
    /// The longest of the other keys that this one begins with and that have any rules under `begin`.
    shorter: Option<usize>,
}

/// Rules as bits, without the empty words before and behind them: few rules give the same name.
#[derive(Debug, Default)]
struct Run {
    first: usize,
    words: Vec<u64>,
}

impl Index {
    pub(in crate::policy) fn of(rules: &[Rule]) -> Self {
        // A rule for resources matches no other path, and the other way round.
        let resources = |rule: &Rule| rule.source.non_resource_urls.is_empty();
        let urls = |rule: &Rule| !rule.source.names_resources();
        Self {
            subjects: Subjects::of(rules),
            clusters: Names::of(rules, |_| true, |rule| &rule.source.clusters),
            verbs: Names::of(rules, |_| true, |rule| &rule.source.verbs),
            api_groups: Names::of(rules, resources, |rule| &rule.source.api_groups),
            resources: Names::of(rules, resources, |rule| &rule.source.resources),
            namespaces: Names::of(rules, resources, |rule| &rule.source.namespaces),
            resource_names: Names::of(rules, resources, |rule| &rule.source.resource_names),
            urls: Names::of(rules, urls, |rule| &rule.source.non_resource_urls),
        }
    }

    /// The numbers of the rules that may match, in order. Not for reviews, which ask about more than they name.
    pub(in crate::policy) fn candidates(
        &self,
        asked: &Asked<'_>,
    ) -> impl Iterator<Item = usize> + use<> {
        let info = asked.info;
        let mut left = self.subjects.find(asked);
        self.clusters.narrow(&mut left, [asked.cluster]);
        // A kubelet's session may be in any pod: what rules oblige to there counts, whatever else they name.
        if !info.may_be_kubelet_session() {
            let verbs = [asked.verb].into_iter().chain(asked.also);
            self.verbs.narrow(&mut left, verbs);
            if info.is_resource_request {
                self.api_groups.narrow(&mut left, [&*info.api_group]);
                let resource = info.qualified_resource();
                self.resources.narrow(&mut left, [&*resource]);
                self.namespaces.narrow_to(&mut left, &info.namespace);
                let name = info.object_name();
                self.resource_names.narrow_to(&mut left, name);
            } else {
                self.urls.narrow(&mut left, [&*info.path]);
            }
        }
        numbers(left)
    }
}

impl Subjects {
    fn of(rules: &[Rule]) -> Self {
        let subjects: fn(&Rule) -> Option<&SubjectsSource> = |rule| rule.source.subjects.as_ref();
        let named = |names: fn(&SubjectsSource) -> &Vec<String>| {
            let about = |rule| subjects(rule).is_some_and(|of| !names(of).is_empty());
            Names::of(rules, about, |rule| {
                subjects(rule).map_or(&[], |of| names(of))
            })
        };
        Self {
            open: bits(rules, |rule| subjects(rule).is_none()),
            roles: bits(rules, |rule| rule.roles() != 0),
            users: named(|subjects| &subjects.users),
            groups: named(|subjects| &subjects.groups),
            agents: named(|subjects| &subjects.agents),
        }
    }

    fn find(&self, asked: &Asked<'_>) -> Vec<u64> {
        let identity = asked.identity;
        let mut found = self.open.clone();
        if asked.roles != 0 {
            add(&mut found, &self.roles);
        }
        self.users.find([identity.username()], &mut found);
        let groups = identity.groups().iter().map(String::as_str);
        self.groups.find(groups, &mut found);
        let agent = identity.agent().map(|agent| agent.name.as_str());
        self.agents.find(agent, &mut found);
        found
    }
}

impl Names {
    /// Of the rules that the criterion is about.
    fn of<'r>(
        rules: &'r [Rule],
        about: impl Fn(&'r Rule) -> bool,
        names: impl Fn(&'r Rule) -> &'r [String],
    ) -> Self {
        let begins_with_anything = |name: &String| plain(name) == ("", false);
        let is_open = |rule| names(rule).is_empty() || names(rule).iter().any(begins_with_anything);
        let mut given = BTreeMap::<&str, [Run; 2]>::new();
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| about(rule)) {
            let named = names(rule).iter().map(|name| plain(name));
            for (text, is_whole) in named.filter(|name| *name != ("", false)) {
                let [whole, begin] = given.entry(text).or_default();
                if is_whole { whole } else { begin }.push(number);
            }
        }
        Self {
            open: bits(rules, |rule| about(rule) && is_open(rule)),
            touched: bits(rules, |rule| {
                about(rule) && rule.least_reach() == Reach::Touches
            }),
            keys: keys(given),
        }
    }

    /// Adds the rules that may be about one of these names.
    fn find<'n>(&self, names: impl IntoIterator<Item = &'n str>, found: &mut [u64]) {
        add(found, &self.open);
        for name in names {
            // Whatever the name begins with stands before it, and so that this key begins with it, too.
            let behind = self.keys.partition_point(|key| *key.text <= *name);
            let mut at = behind.checked_sub(1);
            while let Some(key) = at.and_then(|at| self.keys.get(at)) {
                if key.text == name {
                    key.whole.add_to(found);
                }
                if name.starts_with(&key.text) {
                    key.begin.add_to(found);
                }
                at = key.shorter;
            }
        }
    }

    /// Keeps the rules that may be about one of these names.
    fn narrow<'n>(&self, left: &mut [u64], names: impl IntoIterator<Item = &'n str>) {
        let mut found = vec![0; left.len()];
        self.find(names, &mut found);
        keep(left, &found);
    }

    /// The same for a request that may give no name.
    fn narrow_to(&self, left: &mut [u64], name: &str) {
        if !name.is_empty() {
            return self.narrow(left, [name]);
        }
        let mut found = self.open.clone();
        add(&mut found, &self.touched);
        keep(left, &found);
    }
}

impl Run {
    /// With one more rule, which is none of those before the last.
    fn push(&mut self, number: usize) {
        let (word, bit) = (number / BITS, 1 << (number % BITS));
        if self.words.is_empty() {
            self.first = word;
        }
        self.words.resize(word - self.first + 1, 0);
        if let Some(last) = self.words.last_mut() {
            *last |= bit;
        }
    }

    fn add_to(&self, found: &mut [u64]) {
        if let Some(found) = found.get_mut(self.first..) {
            add(found, &self.words);
        }
    }
}

/// What was given, each with the next shorter one to look at.
fn keys(given: BTreeMap<&str, [Run; 2]>) -> Vec<Key> {
    // Of the key before: itself where names may begin with it, and the shorter ones.
    let mut beginnings: Vec<(usize, &str)> = Vec::new();
    let mut keys = Vec::with_capacity(given.len());
    for (number, (text, [whole, begin])) in given.into_iter().enumerate() {
        while beginnings
            .pop_if(|(_, other)| !text.starts_with(*other))
            .is_some()
        {}
        let shorter = beginnings.last().map(|(number, _)| *number);
        if !begin.words.is_empty() {
            beginnings.push((number, text));
        }
        let text = text.to_owned();
        keys.push(Key {
            text,
            whole,
            begin,
            shorter,
        });
    }
    keys
}

const BITS: usize = u64::BITS as usize;

/// The rules of which this is true.
fn bits<'r>(rules: &'r [Rule], is_one: impl Fn(&'r Rule) -> bool) -> Vec<u64> {
    let word = |rules: &'r [Rule]| {
        let ones = rules.iter().enumerate().filter(|(_, rule)| is_one(rule));
        ones.fold(0, |word, (bit, _)| word | 1 << bit)
    };
    rules.chunks(BITS).map(word).collect()
}

fn add(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

fn keep(left: &mut [u64], found: &[u64]) {
    for (left, found) in left.iter_mut().zip(found) {
        *left &= found;
    }
}

/// The rules that bits stand for.
fn numbers(words: Vec<u64>) -> impl Iterator<Item = usize> {
    let numbers = |(number, mut word): (usize, u64)| {
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
            word &= word - 1;
            Some(number * BITS + bit)
        })
    };
    words.into_iter().enumerate().flat_map(numbers)
}

#[cfg(test)]
mod tests;
