//! Shows a run: all of it at once, or at its own pace.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::run::lines;
use super::sources::Sources;
use super::terminal::Keyboard;
use super::{Args, Show, answer, told};
use crate::audit::commands::{Command, Request};
use crate::audit::responses::read::{Saw, State};
use crate::recording::replay::Reader;
use crate::recording::replay::filter::visible;
use crate::recording::replay::player::{Key, Player};

/// Lines of an answer or a transcript: about a screen.
const LINES_SHOWN: usize = 20;

/// Where a run is shown.
pub(super) struct Stage<'a> {
    args: &'a Args,
    sources: Sources,
    /// How fast; nothing where everything is written at once.
    pace: Option<Pace>,
    out: &'a mut dyn Write,
}

/// The pace at which it happened.
struct Pace {
    player: Player,
    /// When the run begins, which is the beginning of the player's time.
    began: Timestamp,
    keyboard: Option<Keyboard>,
}

impl<'a> Stage<'a> {
    /// For a run that begins then; at its pace if `plays` says so.
    pub(super) fn new(
        args: &'a Args,
        sources: Sources,
        (plays, began): (bool, Timestamp),
        out: &'a mut dyn Write,
    ) -> anyhow::Result<Self> {
        let mut pace = None;
        if plays {
            writeln!(
                out,
                "-- space: pause  .: next request  + -: speed  q: quit  in a session < >: jump  n: leave it --"
            )?;
            pace = Some(Pace {
                player: super::player(args),
                began,
                keyboard: Keyboard::open(false)?,
            });
        }
        Ok(Self {
            args,
            sources,
            pace,
            out,
        })
    }

    /// Shows one command; false when whoever looks has enough.
    pub(super) fn command(&mut self, command: &Command) -> anyhow::Result<bool> {
        for (number, request) in command.requests.iter().enumerate() {
            if !self.wait(request.received)? {
                return Ok(false);
            }
            if number == 0 {
                told::heading(command, self.out)?;
            }
            if !self.request(request, command)? {
                return Ok(false);
            }
        }
        writeln!(self.out)?;
        self.out.flush()?;
        Ok(true)
    }

    fn request(&mut self, request: &Request, command: &Command) -> anyhow::Result<bool> {
        told::request(request, command, self.out)?;
        match self.sources.saw(request)? {
            Some(saw) => self.answer(request, &saw)?,
            None if request.annotations.contains_key("response") => {
                writeln!(
                    self.out,
                    "    (its answer was kept, and is not there any more)"
                )?;
            }
            None => {}
        }
        self.session(request)
    }

    fn answer(&mut self, request: &Request, saw: &Saw) -> anyhow::Result<()> {
        let form = request.annotations.get("response-type");
        let shown = answer::lines(&saw.bytes, form.map_or("", String::as_str));
        self.block("│", &shown)?;
        let note = match saw.state {
            State::Altered => {
                "THIS IS NOT WHAT WAS KEPT: it has another digest than the audit log says"
            }
            State::Unfinished => "not over, or the gateway ended before it",
            State::Verified if saw.cut => "cut here: the answer was longer than what is kept",
            State::Verified => return Ok(()),
        };
        Ok(writeln!(self.out, "    ({note})")?)
    }

    /// Plays the session at its own pace, or prints what it showed; false when whoever looks has enough.
    fn session(&mut self, request: &Request) -> anyhow::Result<bool> {
        let Some(tape) = self.sources.recording(request)? else {
            if request.annotations.contains_key("recording") {
                writeln!(self.out, "    (its recording is not there any more)")?;
            }
            return Ok(true);
        };
        let open = || Reader::new(tape.parts());
        let mut reader = open()?;
        let Some(pace) = &mut self.pace else {
            let shown = lines(&mut reader)?;
            self.block("┃", &shown)?;
            return Ok(true);
        };
        // The session has a time of its own, and the same speed.
        let mut player = pace.player.clone();
        player.jump(Duration::ZERO);
        let mut show = Show::new(&open, reader, player, false, Vec::new(), self.out).of_run();
        show.play(Duration::ZERO)?;
        let (player, quits) = show.left();
        pace.player = player;
        pace.player.jump(pace.at(request.at));
        writeln!(self.out)?;
        Ok(!quits)
    }

    /// Lines behind a bar, at most as many as one likes to scroll past.
    fn block(&mut self, bar: &str, lines: &[String]) -> anyhow::Result<()> {
        let most = if self.args.whose.full {
            usize::MAX
        } else {
            LINES_SHOWN
        };
        for line in lines.iter().take(most) {
            writeln!(self.out, "    {bar} {}", visible(line).trim_end())?;
        }
        if lines.len() > most {
            let more = lines.len() - most;
            writeln!(
                self.out,
                "    {bar} ... {more} more lines; --full shows them"
            )?;
        }
        Ok(())
    }

    /// Waits as long as they did, but for long pauses; false when whoever looks has enough.
    fn wait(&mut self, until: Timestamp) -> anyhow::Result<bool> {
        let Some(pace) = &mut self.pace else {
            return Ok(true);
        };
        self.out.flush()?;
        pace.wait(until)
    }
}

impl Pace {
    /// A time of the run as the player has it.
    fn at(&self, time: Timestamp) -> Duration {
        Duration::try_from(time.duration_since(self.began)).unwrap_or_default()
    }

    fn wait(&mut self, until: Timestamp) -> anyhow::Result<bool> {
        // What began while a session was played is due.
        let at = self.at(until).max(self.player.position());
        let Some(keyboard) = &self.keyboard else {
            std::thread::sleep(self.player.wait(at).unwrap_or_default());
            self.player.jump(at);
            return Ok(true);
        };
        loop {
            let keys = keyboard.read(self.player.wait(at))?;
            if keys.contains(&Key::Quit) {
                return Ok(false);
            }
            let is_due = keys.is_empty() || keys.contains(&Key::Next);
            for key in keys {
                self.player.press(key);
            }
            if is_due {
                self.player.shown(at, true);
                return Ok(true);
            }
        }
    }
}
