//! The keyboard of the terminal, a key at a time.

use std::io::{self, IsTerminal as _, Stdin};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::time::Instant;

use crate::recording::replay::player::{Key, keys};

/// Standard input without line editing and echo, until this is dropped.
pub(super) struct Keyboard {
    input: Stdin,
    before: Termios,
}

impl Keyboard {
    /// Nothing when standard input is no terminal. `raw_output` is for what a terminal was recorded
    /// with, where a line feed does not return the carriage.
    pub(super) fn open(raw_output: bool) -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        // Without ISIG, Ctrl-C is a key, and the terminal is put back in order before the end.
        raw.local_modes -=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        if raw_output {
            raw.output_modes -= OutputModes::OPOST;
        }
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        Ok(Some(Self { input, before }))
    }

    /// Waits for keys, at most this long; returns what was pressed, or nothing when the time is over.
    pub(super) fn read(&self, wait: Option<Duration>) -> io::Result<Vec<Key>> {
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let left = deadline.map(|deadline| deadline.duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut waiting = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut waiting, left.as_ref()) {
                Ok(0) => return Ok(Vec::new()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut bytes = [0; 64];
            // Past the standard library's buffer, in which `poll` would not see a key.
            let read = rustix::io::read(&self.input, &mut bytes)?;
            if read == 0 {
                return Ok(vec![Key::Quit]); // the terminal is gone
            }
            let pressed = keys(bytes.get(..read).unwrap_or_default());
            if !pressed.is_empty() {
                return Ok(pressed);
            }
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to put back.
        let _gone = tcsetattr(&self.input, OptionalActions::Drain, &self.before).is_err();
    }
}
