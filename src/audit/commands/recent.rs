//! Commands from requests that come the latest first, until there are enough.

use std::collections::HashMap;

use super::{Command, Request, Run};

/// Gathers the latest commands. What it holds is bounded by how much it is given.
#[derive(Debug)]
pub struct Recent {
    most: usize,
    /// Each request stands for itself.
    ungrouped: bool,
    /// The latest first, those that only asked what the API has among them.
    commands: Vec<Command>,
    /// Where the command of a run is.
    places: HashMap<Run, usize>,
    /// How many ask for something.
    asking: usize,
}

impl Recent {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self {
            most,
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

    /// Takes the request before; not if it would begin one command too many.
    pub fn push(&mut self, mut request: Request) -> bool {
        request.discovery &= !self.ungrouped;
        let run = request.run().filter(|_| !self.ungrouped);
        let place = run.as_ref().and_then(|run| self.places.get(run)).copied();
        if place.is_none() && self.asking >= self.most {
            return request.discovery; // which would not be told anyway
        }
        let place = place.unwrap_or_else(|| {
            self.commands.push(Command::of(&request));
            let place = self.commands.len() - 1;
            self.places.extend(run.map(|run| (run, place)));
            place
        });
        if let Some(command) = self.commands.get_mut(place) {
            let asked = !command.requests.is_empty();
            command.push(request);
            self.asking += usize::from(!asked && !command.requests.is_empty());
        }
        true
    }

    /// The commands, the latest first, each with its requests in the order in which they came. Those that only asked what the
    /// API has are left out.
    pub fn finish(self) -> Vec<Command> {
        let asks = |command: &Command| !command.requests.is_empty();
        let mut commands: Vec<Command> = self.commands.into_iter().filter(asks).collect();
        for command in &mut commands {
            command.requests.sort_by_key(|request| request.received);
        }
        commands
    }
}
