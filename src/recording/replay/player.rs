//! When what is due, and what the keys do.

use std::time::Duration;

/// What a reader of a recording presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Space: stops, goes on.
    Pause,
    /// `.`: shows the next output, and stops.
    Step,
    /// `q`, Ctrl-C: ends.
    Quit,
    /// `+`: twice as fast.
    Faster,
    /// `-`: half as fast.
    Slower,
    /// `<`, left: five seconds back.
    Back,
    /// `>`, right: five seconds on.
    Forward,
    /// `n`: to the next place with the text that is searched for.
    Next,
}

/// How far [`Key::Back`] and [`Key::Forward`] jump, in recorded time.
pub const JUMP: Duration = Duration::from_secs(5);

/// The keys in what a terminal sent; what is none is left out.
#[must_use]
pub fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            b' ' => Key::Pause,
            b'.' => Key::Step,
            b'q' | 0x03 => Key::Quit,
            b'+' | b'=' => Key::Faster,
            b'-' => Key::Slower,
            b'<' | b',' => Key::Back,
            b'>' => Key::Forward,
            b'n' => Key::Next,
            0x1b => {
                let is_end = |byte: &u8| (b'@'..=b'~').contains(byte);
                let Some((b'[' | b'O', body)) = after.split_first() else {
                    continue;
                };
                let end = body.iter().position(is_end).map_or(body.len(), |at| at + 1);
                let (sequence, after) = body.split_at(end);
                rest = after;
                match sequence {
                    b"C" => Key::Forward,
                    b"D" => Key::Back,
                    _ => continue,
                }
            }
            _ => continue,
        };
        found.push(key);
    }
    found
}

/// How fast a recording is played, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    speed: f64,
    idle_limit: Option<Duration>,
    position: Duration,
    paused: bool,
    stepping: bool,
}

impl Player {
    /// At the beginning. A pause longer than `idle_limit` (before the speed) is made shorter.
    #[must_use]
    pub fn new(speed: f64, idle_limit: Option<Duration>) -> Self {
        Self {
            speed,
            idle_limit,
            position: Duration::ZERO,
            paused: false,
            stepping: false,
        }
    }

    /// How long to wait before what happened at `at` is shown; nothing means until a key is pressed.
    #[must_use]
    pub fn wait(&self, at: Duration) -> Option<Duration> {
        if self.stepping {
            return Some(Duration::ZERO);
        }
        if self.paused {
            return None;
        }
        let gap = at.saturating_sub(self.position);
        let gap = self.idle_limit.map_or(gap, |limit| gap.min(limit));
        Some(Duration::try_from_secs_f64(gap.as_secs_f64() / self.speed).unwrap_or(Duration::MAX))
    }

    /// What happened at `at` has been shown.
    pub fn shown(&mut self, at: Duration, visible: bool) {
        self.position = at;
        if visible {
            self.stepping = false;
        }
    }

    /// Where it stands, in recorded time.
    #[must_use]
    pub fn position(&self) -> Duration {
        self.position
    }

    /// Goes to another place.
    pub fn jump(&mut self, to: Duration) {
        self.position = to;
    }

    /// Whether it waits for a key.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// Does what a key says about pace; the others are up to the caller.
    pub fn press(&mut self, key: Key) {
        match key {
            Key::Pause => {
                self.paused = !self.paused;
                self.stepping = false;
            }
            Key::Step => (self.paused, self.stepping) = (true, true),
            Key::Faster => self.speed = (self.speed * 2.0).min(1024.0),
            Key::Slower => self.speed = (self.speed / 2.0).max(1.0 / 64.0),
            Key::Quit | Key::Back | Key::Forward | Key::Next => {}
        }
    }
}

/// Reads a time in a recording: `90`, `1.5`, `1:30`, `1:02:03.5`, `1m30s`.
#[must_use]
pub fn parse_time(text: &str) -> Option<Duration> {
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return Duration::try_from(span).ok();
    }
    let fields: Vec<&str> = text.split(':').collect();
    let (seconds, rest) = fields.split_last()?;
    if rest.len() > 2 || !seconds.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let seconds: f64 = seconds.parse().ok()?;
    let mut minutes = 0_u64;
    for field in rest {
        minutes = minutes.checked_mul(60)?.checked_add(field.parse().ok()?)?;
    }
    if !rest.is_empty() && seconds >= 60.0 {
        return None;
    }
    Duration::try_from_secs_f64(seconds)
        .ok()?
        .checked_add(Duration::from_secs(minutes.checked_mul(60)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keys_are_told_from_what_else_terminals_send() {
        assert_eq!(
            keys(b" .q\x03+-<>n"),
            [
                Key::Pause,
                Key::Step,
                Key::Quit,
                Key::Quit,
                Key::Faster,
                Key::Slower,
                Key::Back,
                Key::Forward,
                Key::Next
            ]
        );
        assert_eq!(keys(b"\x1b[D\x1bOC"), [Key::Back, Key::Forward]);
        // Other keys, also with a `q` or a space in their sequence, press nothing.
        assert_eq!(keys(b"\x1b[A\x1b[1;5Cx\x1b\x1b[3 q\xff\x1b["), []);
    }

    #[test]
    fn waiting_knows_speed_idle_limit_pause_and_step() {
        let mut player = Player::new(2.0, Some(3 * SECOND));
        assert_eq!(player.wait(SECOND), Some(SECOND / 2));
        player.shown(SECOND, true);
        assert_eq!(player.wait(100 * SECOND), Some(SECOND * 3 / 2));
        player.press(Key::Faster);
        assert_eq!(player.wait(3 * SECOND), Some(SECOND / 2));
        player.press(Key::Slower);
        player.press(Key::Slower);
        assert_eq!(player.wait(3 * SECOND), Some(2 * SECOND));
        player.press(Key::Pause);
        assert_eq!(player.wait(3 * SECOND), None);
        player.press(Key::Step);
        assert_eq!(player.wait(3 * SECOND), Some(Duration::ZERO));
        player.shown(2 * SECOND, false); // a size, say: nothing to see yet
        assert_eq!(player.wait(3 * SECOND), Some(Duration::ZERO));
        player.shown(3 * SECOND, true);
        assert_eq!(player.wait(4 * SECOND), None);
        player.press(Key::Pause);
        assert_eq!(player.wait(4 * SECOND), Some(SECOND));
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90", 90_000),
            ("1.5", 1500),
            ("1:30", 90_000),
            ("1:02:03.5", 3_723_500),
            ("1m30s", 90_000),
            ("0", 0),
        ] {
            let expected = Some(Duration::from_millis(millis));
            assert_eq!(parse_time(text), expected, "{text}");
        }
        for text in ["", "-1", "x", "1:60", "1:2:3:4", "inf", "nan", "1e400", ":"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
