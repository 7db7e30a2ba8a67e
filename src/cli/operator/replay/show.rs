//! Plays a recording: the loop around the reader, the filter and the keys.

use std::io::{self, Write};
use std::time::Duration;

use super::terminal::Keyboard;
use crate::recording::replay::filter::{Filter, visible};
use crate::recording::replay::player::{JUMP, Key, Player};
use crate::recording::replay::{Flaws, Moment, ReadError, Reader};
use crate::wire::asciicast::{EXIT, MARKER, OUTPUT};

/// A recording that is being played.
pub(super) struct Show<'a> {
    open: &'a dyn Fn() -> Result<Reader, ReadError>,
    reader: Reader,
    next: Option<Moment>,
    player: Player,
    filter: Filter,
    keep_escapes: bool,
    found: Vec<Duration>,
    /// It is one of many things that are played.
    of_run: bool,
    /// Whoever looks has enough.
    quits: bool,
    out: &'a mut dyn Write,
}

/// What ended a wait.
enum Woken {
    Due,
    Jump(Duration),
    /// This is left, and nothing else.
    Leave,
    Quit,
}

impl<'a> Show<'a> {
    /// At the beginning. `open` reads the recording once more, for jumps back; `found` are the places
    /// that were searched for.
    pub(super) fn new(
        open: &'a dyn Fn() -> Result<Reader, ReadError>,
        reader: Reader,
        player: Player,
        keep_escapes: bool,
        found: Vec<Duration>,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            open,
            reader,
            next: None,
            player,
            filter: Filter::default(),
            keep_escapes,
            found,
            of_run: false,
            quits: false,
            out,
        }
    }

    /// As a part of a run, which tells its keys itself.
    pub(super) fn of_run(mut self) -> Self {
        self.of_run = true;
        self
    }

    /// The player as it was left, and whether whoever looks has enough.
    pub(super) fn left(self) -> (Player, bool) {
        (self.player, self.quits)
    }

    /// What was wrong with what was read.
    pub(super) fn flaws(&self) -> Flaws {
        self.reader.flaws()
    }

    /// Writes everything since `from` at once; how many characters an open control string hides.
    pub(super) fn write_all(&mut self, from: Duration) -> anyhow::Result<u64> {
        while let Some(moment) = self.take()? {
            if moment.at >= from {
                self.put(&moment)?;
            }
        }
        self.finish()
    }

    /// Plays from `start` on; how many characters an open control string hides.
    pub(super) fn play(&mut self, start: Duration) -> anyhow::Result<u64> {
        let tty = self.reader.metadata().is_none_or(|it| it.tty);
        self.banner()?;
        let keyboard = Keyboard::open(tty)?;
        self.jump(start)?;
        let played = self.play_on(keyboard.as_ref());
        let hidden = self.finish();
        drop(keyboard);
        played?;
        hidden
    }

    fn play_on(&mut self, keyboard: Option<&Keyboard>) -> anyhow::Result<()> {
        while let Some(moment) = self.take()? {
            let Some(keyboard) = keyboard else {
                std::thread::sleep(self.player.wait(moment.at).unwrap_or_default());
                self.put(&moment)?;
                continue;
            };
            match self.wait(keyboard, moment.at)? {
                Woken::Due => self.put(&moment)?,
                Woken::Jump(to) => {
                    self.next = Some(moment);
                    self.jump(to)?;
                }
                Woken::Leave => break,
                Woken::Quit => {
                    self.quits = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits until what happened at `at` is due, and does what keys say meanwhile.
    fn wait(&mut self, keyboard: &Keyboard, at: Duration) -> anyhow::Result<Woken> {
        loop {
            let keys = keyboard.read(self.player.wait(at))?;
            if keys.is_empty() {
                return Ok(Woken::Due);
            }
            let here = self.player.position();
            for key in keys {
                match key {
                    Key::Quit => return Ok(Woken::Quit),
                    Key::Back => return Ok(Woken::Jump(here.saturating_sub(JUMP))),
                    Key::Forward => return Ok(Woken::Jump(here.saturating_add(JUMP))),
                    Key::Next if self.of_run => return Ok(Woken::Leave),
                    Key::Next => {
                        if let Some(place) = self.found.iter().find(|place| **place > here) {
                            return Ok(Woken::Jump(*place));
                        }
                    }
                    key => self.player.press(key),
                }
            }
        }
    }

    /// Draws what there is at `to`. Going back draws everything before it again: what a terminal
    /// shows depends on all of it.
    fn jump(&mut self, to: Duration) -> anyhow::Result<()> {
        if to < self.player.position() {
            let mut cleared = String::new();
            self.filter.reset(&mut cleared);
            cleared.push_str("\u{1b}[H\u{1b}[2J");
            self.out.write_all(cleared.as_bytes())?;
            self.reader = (self.open)()?;
            self.next = None;
        }
        while let Some(moment) = self.take()? {
            if moment.at > to {
                self.next = Some(moment);
                break;
            }
            self.put(&moment)?;
        }
        self.player.jump(to);
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Moment>, ReadError> {
        match self.next.take() {
            Some(moment) => Ok(Some(moment)),
            None => self.reader.next_moment(),
        }
    }

    fn put(&mut self, moment: &Moment) -> io::Result<()> {
        let mut drawn = String::new();
        match moment.code.as_str() {
            OUTPUT => self.filter.push(&moment.data, &mut drawn),
            // How it ended belongs to the picture; on a line of its own.
            EXIT => drawn = format!("\r\n[exit code {}]\r\n", visible(&moment.data)),
            MARKER => drawn = format!("\r\n[{}]\r\n", visible(&moment.data)),
            _ => {}
        }
        if self.keep_escapes && moment.code == OUTPUT {
            let bytes = moment.raw.as_deref().unwrap_or(moment.data.as_bytes());
            self.out.write_all(bytes)?;
        } else {
            self.out.write_all(drawn.as_bytes())?;
        }
        self.out.flush()?;
        self.player.shown(moment.at, !drawn.is_empty());
        Ok(())
    }

    /// Puts the terminal back in order.
    fn finish(&mut self) -> anyhow::Result<u64> {
        let hidden = self.filter.hidden();
        let mut reset = String::new();
        self.filter.reset(&mut reset);
        self.out.write_all(reset.as_bytes())?;
        self.out.flush()?;
        Ok(hidden)
    }

    fn banner(&mut self) -> io::Result<()> {
        if let Some(metadata) = self.reader.metadata() {
            let agent = metadata.agent.as_ref();
            let agent = agent.map_or_else(String::new, |agent| format!(" through {agent}"));
            let banner = format!(
                "{} {} {} by {}{agent} at {}",
                metadata.kind,
                metadata.target(),
                metadata.command_line(),
                metadata.user,
                metadata.started
            );
            writeln!(self.out, "{}", visible(&banner))?;
        }
        if self.of_run {
            return Ok(());
        }
        writeln!(
            self.out,
            "-- space: pause  .: step  + -: speed  < >: jump  n: next match  q: quit --"
        )
    }
}
