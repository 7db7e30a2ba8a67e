//! Commands from requests that come the latest first, until there are enough.

use std::collections::HashMap;

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
    /// Where the command of a run is.
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

    /// With so many requests of each.
    #[must_use]
    pub fn of_each(mut self, requests: usize) -> Self {
        self.most_of_each = requests;
        self
    }

    /// With every request of each, until there are so many of all together.
    #[must_use]
    pub fn whole(mut self, requests: usize) -> Self {
        self.left = requests;
        self.of_each(requests)
    }

    /// Takes the request before; not if it would be one too many, or begin one command too many.
    pub fn push(&mut self, mut request: Request) -> bool {
        request.discovery &= !self.ungrouped;
        let run = request.run().filter(|_| !self.ungrouped);
        let place = run.as_ref().and_then(|run| self.places.get(run)).copied();
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
