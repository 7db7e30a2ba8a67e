//! Counts the HTTP/2 frames that cost the gateway work and the client nothing.
//!
//! h2 bounds what it stores; this bounds how often it is made to act (threats D-04 to D-06): `PING`,
//! `SETTINGS`, `PRIORITY`, `RST_STREAM`, `CONTINUATION`, unknown and empty `DATA` frames draw on a
//! budget that fills with time. `WINDOW_UPDATE` does not: honest clients send one for every few KiB.

use std::time::Instant;

use crate::limits;

const FRAME_HEAD_BYTES: usize = 9;
const PREFACE_BYTES: u64 = 24;
const END_STREAM: u8 = 1;

/// Follows the frames a client sends.
#[derive(Debug)]
pub(super) struct FrameMeter {
    /// Bytes of the preface or of a payload still to come.
    skip: u64,
    head: [u8; FRAME_HEAD_BYTES],
    filled: usize,
    budget: u32,
    /// Since when the budget has been filling.
    since: Instant,
}

/// The client sends more control frames than any honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flood;

impl FrameMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            skip: PREFACE_BYTES,
            head: [0; FRAME_HEAD_BYTES],
            filled: 0,
            budget: limits::CONTROL_FRAMES_BURST,
            since: now,
        }
    }

    /// Reads on, wherever the bytes are cut.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let count = bytes
                    .len()
                    .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.head.get_mut(self.filled) {
                *slot = first;
            }
            self.filled += 1;
            bytes = rest;
            if self.filled == FRAME_HEAD_BYTES {
                self.filled = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: Instant) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = u64::from(length);
        let free = match kind {
            0 => length > 0 || flags & END_STREAM != 0, // DATA
            1 | 7 | 8 => true,                          // HEADERS, GOAWAY, WINDOW_UPDATE
            _ => false,
        };
        if free {
            return Ok(());
        }
        if self.budget == 0 {
            self.refill(now);
        }
        self.budget = self.budget.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_millis();
        let earned = elapsed * u128::from(limits::CONTROL_FRAMES_PER_SECOND) / 1000;
        if earned > 0 {
            self.budget = u32::try_from(earned)
                .unwrap_or(u32::MAX)
                .min(limits::CONTROL_FRAMES_BURST);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// How many of these frames pass at one moment.
    fn passing(one: &[u8], cut: usize) -> usize {
        let now = tokio::time::Instant::now().into_std();
        let mut meter = FrameMeter::new(now);
        meter.read(PREFACE, now).unwrap();
        let most = 3 * limits::CONTROL_FRAMES_BURST as usize;
        (0..most)
            .take_while(|_| one.chunks(cut).all(|piece| meter.read(piece, now).is_ok()))
            .count()
    }

    #[test]
    fn control_frames_draw_on_the_budget_wherever_they_are_cut() {
        let burst = limits::CONTROL_FRAMES_BURST as usize;
        for one in [
            frame(6, 0, &[0; 8]),
            frame(4, 0, &[]),
            frame(4, 1, &[]),
            frame(2, 0, &[0; 5]),
            frame(3, 0, &[0; 4]),
            frame(9, 0, &[0; 300]),
            frame(0x0c, 0, b"unknown"),
            frame(0, 0, &[]),
        ] {
            for cut in [1, 4, 9, 400] {
                assert_eq!(passing(&one, cut), burst, "{one:?}");
            }
        }
    }

    #[test]
    fn honest_frames_are_free() {
        for one in [
            frame(0, 0, b"x"),
            frame(0, 1, &[]),
            frame(1, 4, b"hh"),
            frame(8, 0, &[0, 0, 0, 1]),
        ] {
            assert_eq!(passing(&one, 5), 3 * limits::CONTROL_FRAMES_BURST as usize);
        }
    }

    #[test]
    fn the_budget_fills_with_time() {
        let start = tokio::time::Instant::now().into_std();
        let mut meter = FrameMeter::new(start);
        meter.read(PREFACE, start).unwrap();
        let ping = frame(6, 0, &[0; 8]);
        while meter.read(&ping, start).is_ok() {}
        let later = start + Duration::from_secs(1);
        let mut meter = FrameMeter {
            budget: 0,
            skip: 0,
            filled: 0,
            ..meter
        };
        let passed = (0..10_000)
            .take_while(|_| meter.read(&ping, later).is_ok())
            .count();
        assert_eq!(passed, limits::CONTROL_FRAMES_PER_SECOND as usize);
    }
}
