//! Commands from events that come the latest first, until there are enough.

use std::collections::{HashMap, HashSet};

use super::{Command, Filter, Request, Run, Seen};

/// Gathers the latest commands. What it holds is bounded by how much of a log it is given.
#[derive(Debug)]
pub struct Recent {
    filter: Filter,
    most: usize,
    /// What was told as far as it has come: the events before that are earlier stages of it.
    told: HashSet<String>,
    /// The latest first, those that only asked what the API has among them.
    commands: Vec<Command>,
    /// Where the command of a run is.
    places: HashMap<Run, usize>,
    /// How many ask for something.
    asking: usize,
}

impl Recent {
    /// Of those that match, at most so many.
    pub fn new(filter: Filter, most: usize) -> Self {
        Self {
            filter,
            most,
            told: HashSet::new(),
            commands: Vec::new(),
            places: HashMap::new(),
            asking: 0,
        }
    }

    /// Takes the event before; not if it would begin one command too many.
    pub fn push(&mut self, seen: Seen) -> bool {
        let mut request = Request::from(seen);
        request.discovery |= request.is_look_at_console();
        if self.told.contains(&request.audit_id) {
            return true;
        }
        let matches = self.filter.matches(&request);
        let run = request.run();
        let place = run.as_ref().and_then(|run| self.places.get(run)).copied();
        if matches && place.is_none() && self.asking >= self.most {
            return false;
        }
        self.told.insert(request.audit_id.clone());
        if !matches {
            return true;
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
