//! Commands from requests that come the latest first: until there are enough, or all of one.

use std::collections::HashMap;

use jiff::Timestamp;

use super::keeping::Keeping;
use super::{Command, Request, Run};
use crate::limits;

/// Gathers the latest commands. What it holds is bounded by how much it is given.
#[derive(Debug)]
pub struct Recent {
    most: usize,
    /// How many requests are kept of each.
    most_of_each: usize,
    /// How many more are taken, of all together.
    left: usize,
    /// Each request stands for itself.
    ungrouped: bool,
    /// The latest first, those that only asked what the API has among them.
    commands: Vec<Keeping>,
    /// Where the command of a run is, the earliest that was met.
    places: HashMap<Run, usize>,
    /// How many ask for something.
    asking: usize,
}

impl Recent {
    /// At most so many, each with the requests that a list has of it.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            most_of_each: limits::AUDIT_COMMAND_REQUESTS_MAX,
            left: usize::MAX,
            ungrouped: false,
            commands: Vec::new(),
            places: HashMap::new(),
            asking: 0,
        }
    }

    /// Of requests instead of commands, each by itself; those that only ask what the API has too.
    #[must_use]
    pub fn ungrouped(mut self) -> Self {
        self.ungrouped = true;
        self
    }

    /// With every request of each, until there are so many of all together.
    #[must_use]
    pub fn whole(mut self, requests: usize) -> Self {
        self.left = requests;
        self.most_of_each = requests;
        self
    }

    /// Takes the request before; not if it would be one too many, or begin one command too many.
    pub fn push(&mut self, mut request: Request) -> bool {
        request.discovery &= !self.ungrouped;
        let run = request.run().filter(|_| !self.ungrouped);
        let place = run.as_ref().and_then(|run| self.places.get(run)).copied();
        let place = place.filter(|place| {
            let command = self.commands.get(*place);
            command.is_some_and(|command| command.reaches(&request))
        });
        if (place.is_none() && self.asking >= self.most) || self.left == 0 {
            return request.discovery; // which would not be told anyway
        }
        self.left -= usize::from(!request.discovery);
        let place = place.unwrap_or_else(|| {
            self.commands.push(Keeping::of(&request, self.most_of_each));
            let place = self.commands.len() - 1;
            self.places.extend(run.map(|run| (run, place)));
            place
        });
        if let Some(command) = self.commands.get_mut(place) {
            let asked = command.asks();
            command.push(request);
            self.asking += usize::from(!asked && command.asks());
        }
        true
    }

    /// The commands, the latest first, each with its requests in the order in which they came. Those that only asked what the
    /// API has are left out.
    pub fn finish(self) -> Vec<Command> {
        let commands = self.commands.into_iter();
        commands
            .filter(Keeping::asks)
            .map(Keeping::finish)
            .collect()
    }
}

/// Gathers one command, from the requests of its run.
#[derive(Debug)]
pub struct Whole {
    /// When one of its requests came.
    came: Timestamp,
    /// How many are kept.
    most: usize,
    command: Option<Keeping>,
}

impl Whole {
    /// The command of a request that came then, with at most so many requests.
    pub fn new(came: Timestamp, most: usize) -> Self {
        Self {
            came,
            most,
            command: None,
        }
    }

    /// Takes the request before; whether one before that may belong to it.
    pub fn push(&mut self, request: Request) -> bool {
        match &mut self.command {
            Some(command) if command.reaches(&request) => command.push(request),
            Some(command) if command.has(self.came) => return false,
            // It is a later one of the same run.
            command => {
                let begun = command.insert(Keeping::of(&request, self.most));
                begun.push(request);
            }
        }
        true
    }

    /// Whether requests from before then, which it was not given, can belong to it.
    pub fn may_begin_before(&self, then: Timestamp) -> bool {
        let command = self.command.as_ref();
        command.is_some_and(|command| command.may_begin_before(then))
    }

    /// Whether a request of this run belongs to it.
    pub fn has(&self, request: &Request) -> bool {
        let command = self.command.as_ref();
        command.is_some_and(|command| command.has(request.received))
    }

    /// The command, if it asked for something else than what the API has.
    pub fn finish(self) -> Option<Command> {
        let command = self.command.filter(|command| command.has(self.came));
        command.filter(Keeping::asks).map(Keeping::finish)
    }
}
