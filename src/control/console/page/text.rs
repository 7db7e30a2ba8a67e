//! Texts that somebody else wrote, for people to read: nothing in them may hide or run backwards (threats H-03).

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// A text on one line, with everything in it visible.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// What has no picture of its own, or changes the direction or place of others.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text of several lines, each of them visible.
pub(in super::super) fn block(text: &str) -> Markup {
    html! {
        pre tabindex="0" { @for line in text.lines() { (visible(line)) "\n" } }
    }
}

/// A unified diff.
pub(in super::super) fn diff(text: &str) -> Markup {
    let class = |line: &str| match line.chars().next() {
        Some('+') => "add",
        Some('-') => "del",
        Some('@') => "hunk",
        _ => "same",
    };
    html! {
        pre.diff tabindex="0" {
            @for line in text.lines() { span class=(class(line)) { (visible(line)) "\n" } }
        }
    }
}

/// A moment, as how far it is from now.
pub(in super::super) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let apart = at.duration_since(now);
    let words = if apart.is_negative() {
        format!("{} ago", length(-apart))
    } else {
        format!("in {}", length(apart))
    };
    html! { time datetime=(at.to_string()) title=(at.to_string()) { (words) } }
}

/// A moment, to be compared with other logs.
pub(in super::super) fn clock(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) { (at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()) } }
}

/// A length of time in its largest unit that is not zero: `45 s`, `12 min`, `3 h`, `2 days`.
pub(in super::super) fn length(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", (seconds + 30) / 60),
        5400..172_800 => format!("{} h", (seconds + 1800) / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes, for people.
pub(in super::super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_wrote_can_neither_hide_nor_become_markup() {
        let text = "<b>\u{202e}x\u{200b}\n+<script>alert(1)</script>\u{1b}[2J";
        for markup in [block(text), diff(text)] {
            let html = markup.into_string();
            assert!(!html.contains("<b>") && !html.contains("<script"), "{html}");
            assert!(html.contains("&lt;script&gt;"), "{html}");
            for shown in ["\\u{202e}", "\\u{200b}", "\\u{1b}"] {
                assert!(html.contains(shown), "{html}");
            }
        }
    }

    #[test]
    fn times_are_in_words() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, words) in [
            (-45, "45 s ago"),
            (-600, "10 min ago"),
            (7200, "in 2 h"),
            (200_000, "in 2 days"),
        ] {
            let at = now + SignedDuration::from_secs(seconds);
            let shown = moment(at, now).into_string();
            assert!(shown.contains(words), "{shown}");
        }
    }
}
