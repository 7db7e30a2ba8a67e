//! What of a recording may reach the terminal it is replayed in: drawing, and nothing else.
//!
//! A list of what passes, not of what does not. Passing: text, line and cursor movement, colours,
//! erasing, scrolling, the alternate screen, visibility of the cursor. Everything that writes the
//! clipboard, sets titles or palettes, transfers files, prints, resizes, answers back, or changes what
//! keys and mouse send is dropped. `docs/recording.md` has the list.

use std::fmt::Write as _;

use super::escape::{Scanner, Token};

/// Private modes that only change what is drawn: reverse video, origin, wrap, cursor, alternate
/// screens, synchronized updates.
const MODES: [u16; 9] = [5, 6, 7, 25, 47, 1047, 1048, 1049, 2026];
/// Numbers above are no position in any terminal, and could keep one busy.
const NUMBER_MAX: u32 = 65_535;

/// Passes the drawing on. Only whole sequences leave it, so its output can be interrupted anywhere.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    scanner: Scanner,
    alternate: bool,
    drew: bool,
}

impl Filter {
    /// Filters the next piece of output, wherever it was cut.
    pub fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if let Some(token) = self.scanner.push(c) {
                self.drew = true;
                self.put(&token, out);
            }
        }
    }

    /// Appends what puts the terminal back in order, whatever was drawn.
    pub fn reset(&mut self, out: &mut String) {
        if self.alternate {
            out.push_str("\u{1b}[?1049l");
        }
        if self.drew {
            // Modes that move the cursor are put back between saving and restoring it.
            out.push_str("\u{f}\u{1b}(B\u{1b})B\u{1b}[?2026l\u{1b}[?5l\u{1b}[4l");
            out.push_str("\u{1b}7\u{1b}[r\u{1b}8\u{1b}[?6l\u{1b}8\u{1b}[?7h\u{1b}[?25h\u{1b}[0m");
        }
        *self = Self::default();
    }

    /// How many characters a control string that was never closed has hidden.
    #[must_use]
    pub fn hidden(&self) -> u64 {
        self.scanner.hidden()
    }

    fn put(&mut self, token: &Token, out: &mut String) {
        match token {
            Token::Print(c) => out.push(*c),
            // Backspace to carriage return, and the two character sets.
            Token::Control(c @ 0x08..=0x0f) => out.push(char::from(*c)),
            Token::Control(_) => {}
            Token::Escape(kept, last) => self.escape(kept, *last, out),
            Token::Sequence(kept, last) => self.sequence(kept, *last, out),
        }
    }

    fn escape(&mut self, kept: &str, last: char, out: &mut String) {
        match (kept, last) {
            ("", '7' | '8' | 'D' | 'E' | 'M') | ("(" | ")", '0' | 'A' | 'B') => {
                out.push('\u{1b}');
                out.push_str(kept);
                out.push(last);
            }
            // A full reset would also drop the scrollback and the reader's own settings.
            ("", 'c') => {
                self.reset(out);
                out.push_str("\u{1b}[H\u{1b}[2J");
            }
            _ => {}
        }
    }

    fn sequence(&mut self, kept: &str, last: char, out: &mut String) {
        if let Some(modes) = kept.strip_prefix('?') {
            if matches!(last, 'h' | 'l') {
                self.modes(modes, last, out);
            }
            return;
        }
        let numbers = || kept.split([';', ':']).map(number);
        let drawing = match last {
            '@'..='M' | 'P' | 'S' | 'X' | 'Z' | '`' | 'a' | 'b' | 'd'..='f' | 'm' | 'r' => {
                // Erasing the scrollback erases what the reader did before.
                !matches!(last, 'J') || numbers().all(|it| it.is_some_and(|it| it < 3))
            }
            'T' => !kept.contains([';', ':']), // with more it is mouse tracking
            's' | 'u' => kept.is_empty(),
            'h' | 'l' => kept == "4",
            'p' => {
                if kept == "!" {
                    out.push_str("\u{1b}[!p");
                }
                false
            }
            _ => false,
        };
        if drawing && numbers().all(|number| number.is_some()) {
            out.push_str("\u{1b}[");
            out.push_str(kept);
            out.push(last);
        }
    }

    fn modes(&mut self, modes: &str, last: char, out: &mut String) {
        for mode in modes.split(';') {
            let Some(mode) = number(mode).and_then(|mode| u16::try_from(mode).ok()) else {
                continue;
            };
            if MODES.contains(&mode) {
                if matches!(mode, 47 | 1047 | 1049) {
                    self.alternate = last == 'h';
                }
                // A String takes everything.
                let _infallible = write!(out, "\u{1b}[?{mode}{last}").is_ok();
            }
        }
    }
}

/// A parameter; an empty one is zero.
fn number(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = if text.is_empty() {
        0
    } else {
        text.parse().ok()?
    };
    (number <= NUMBER_MAX).then_some(number)
}

/// Text of somebody else as one line that only shows characters: controls, and what turns the
/// direction of writing, are spelled out.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(text: &str) -> String {
        let (mut filter, mut out) = (Filter::default(), String::new());
        filter.push(text, &mut out);
        out
    }

    #[test]
    fn drawing_passes() {
        for text in [
            "plain \u{e4}\u{1f600}\r\n\t\u{8}",
            "\u{1b}[1;38;5;208mx\u{1b}[38:2::1:2:3my\u{1b}[m",
            "\u{1b}[2J\u{1b}[H\u{1b}[10;20H\u{1b}[K\u{1b}[3A\u{1b}[P\u{1b}[4L\u{1b}[2;20r",
            "\u{1b}7\u{1b}8\u{1b}M\u{1b}(0lqk\u{1b}(B\u{e}\u{f}",
            "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[4h",
        ] {
            assert_eq!(filtered(text), text);
        }
        assert_eq!(filtered("\u{9b}1mx"), "\u{1b}[1mx");
        assert_eq!(filtered("\u{1b}[?1049;2004;1h"), "\u{1b}[?1049h");
    }

    #[test]
    fn what_acts_is_dropped() {
        for text in [
            "\u{1b}]52;c;cm0gLXJm\u{7}",                            // clipboard
            "\u{1b}]0;title\u{1b}\\",                               // title
            "\u{1b}]2;title\u{7}",                                  // title
            "\u{1b}]4;1;?\u{7}",                                    // palette query
            "\u{1b}]10;?\u{7}",                                     // colour query
            "\u{1b}]11;?\u{1b}\\",                                  // colour query
            "\u{1b}]7;file://host/etc\u{7}",                        // working directory
            "\u{1b}]8;;http://x/\u{7}",                             // link
            "\u{1b}]9;notify\u{7}",                                 // notification
            "\u{1b}]777;notify;a;b\u{7}",                           // notification
            "\u{1b}]1337;File=name=eA==:eA==\u{7}",                 // file transfer
            "\u{9d}52;c;eA==\u{9c}",                                // the same with C1
            "\u{1b}P$qm\u{1b}\\",                                   // DECRQSS
            "\u{1b}P+q544e\u{1b}\\",                                // XTGETTCAP
            "\u{90}1$r\u{9c}",                                      // DCS with C1
            "\u{1b}_Gf=100;AAAA\u{1b}\\",                           // kitty graphics
            "\u{1b}^pm\u{1b}\\",                                    // PM
            "\u{1b}Xsos\u{1b}\\",                                   // SOS
            "\u{1b}[c\u{1b}[>c\u{1b}[=c\u{1b}[0c\u{1b}Z\u{9a}",     // DA
            "\u{1b}[5n\u{1b}[6n\u{1b}[?6n\u{1b}[?996n",             // DSR
            "\u{1b}[?2026$p\u{1b}[4$p",                             // DECRQM
            "\u{1b}[x\u{1b}[1x",                                    // DECREQTPARM
            "\u{1b}[1*y",                                           // checksum
            "\u{5}\u{7}\0\u{7f}",                                   // ENQ, BEL
            "\u{1b}[21t\u{1b}[8;1;1t\u{1b}[t",                      // window operations
            "\u{1b}[?1h\u{1b}=\u{1b}>",                             // keypad
            "\u{1b}[>4;2m\u{1b}[>1u\u{1b}[=1u\u{1b}[?u\u{1b}[<u",   // keyboard
            "\u{1b}[20h\u{1b}[2h\u{1b}[12l", // line feed mode, keyboard lock, local echo
            "\u{1b}[?1000h\u{1b}[?1006h\u{1b}[?1004h\u{1b}[?2004h", // mouse, focus, paste
            "\u{1b}[1;2;3;4;5T",             // mouse highlighting
            "\u{1b}[?3h\u{1b}[?40h\u{1b}[?69h", // 132 columns
            "\u{1b}[3J",                     // scrollback
            "\u{1b}[i\u{1b}[4i\u{1b}[?5i",   // printing
            "\u{1b}[ q\u{1b}[3 q\u{1b}[>q\u{1b}[0q", // cursor style, version, LEDs
            "\u{1b}[99999999b\u{1b}[1 @",    // endless repetition, shift left
            // The rest of xterm's ctlseqs that answers, or changes what the terminal does.
            "\u{1b} F\u{1b} G\u{1b}#3\u{1b}%@\u{1b}l\u{1b}m\u{1b}|\u{1b}}\u{1b}~\u{1b}F\u{1b}*B\u{1b}-A",
            "\u{1b}[?1J\u{1b}[?1K\u{1b}[?2;1;0S\u{1b}[#S\u{1b}[>0T\u{1b}[>2t\u{1b}[>1s",
            "\u{1b}[#P\u{1b}[#Q\u{1b}[#R\u{1b}[#{\u{1b}[#}\u{1b}[#|\u{1b}[1 A", // stacks, shift right
            "\u{1b}[1\"q\u{1b}[61;1\"p\u{1b}[\"v\u{1b}[2$w\u{1b}[1$}\u{1b}[2$~",
            "\u{1b}[1;1;2;2;7$r\u{1b}[1;1;2;2;7$t\u{1b}[65;1;1;2;2$x\u{1b}[1;1;2;2$z\u{1b}[1;1;2;2${",
            "\u{1b}[1;1;2;2;1;3;3;1$v\u{1b}[2*x\u{1b}[24*|\u{1b}[80$|\u{1b}[1;1;2;2#y",
            "\u{1b}[1;2'w\u{1b}[1'z\u{1b}[1'{\u{1b}['|\u{1b}[1'}\u{1b}[1'~", // locator, columns
            "\u{1b}[?4m\u{1b}[>4n\u{1b}[>2p\u{1b}[?1r\u{1b}[?1s\u{1b}[1;80s\u{1b}[1u\u{1b}[0g",
            "\u{1b}[?9h\u{1b}[?12h\u{1b}[?45h\u{1b}[?66h\u{1b}[?67h\u{1b}[?1015h\u{1b}[?2031h\u{1b}[?9001h",
            "\u{1b}]3;x=y\u{7}\u{1b}]50;?\u{7}\u{1b}]104\u{7}\u{1b}]133;A\u{7}\u{1b}]5522;x\u{7}\u{1b}]66;s=2;x\u{7}",
            "\u{1b}N\u{1b}O\u{1b}n\u{1b}%G\u{1b}#8\u{1b}H\u{1b}[3g", // character sets, tabs
        ] {
            assert_eq!(filtered(text), "", "{text:?}");
            assert_eq!(filtered(&format!("{text}x")), "x", "{text:?}");
        }
    }

    #[test]
    fn a_reset_leaves_the_alternate_screen_only_when_it_was_entered() {
        let reset = |text: &str| {
            let (mut filter, mut out) = (Filter::default(), String::new());
            filter.push(text, &mut out);
            out.clear();
            filter.reset(&mut out);
            out
        };
        assert_eq!(reset(""), "");
        assert!(!reset("x").contains("1049"));
        assert!(reset("\u{1b}[?1049h").starts_with("\u{1b}[?1049l"));
        assert!(!reset("\u{1b}[?1049h\u{1b}[?1049l").contains("1049"));
        assert!(filtered("x\u{1b}cy").ends_with("\u{1b}[H\u{1b}[2Jy"));
    }

    #[test]
    fn what_others_wrote_is_spelled_out() {
        assert_eq!(visible("a\u{1b}]0;x\u{7}\nb"), "a\\u{1b}]0;x\\u{7}\\u{a}b");
        assert_eq!(
            visible("\u{202e}gpj\u{9b}m \u{e4}"),
            "\\u{202e}gpj\\u{9b}m \u{e4}"
        );
    }

    /// Everything that may leave, written down a second time: the rest has no ESC and no control.
    fn only_draws(out: &str) -> bool {
        let allowed = regex::Regex::new(concat!(
            r"\x1b(?:[78DEM]|[()][0AB]|\[[0-9;:]{0,64}[@-IK-MPSXZ`abd-fmr]|\[[0-2;:]*J|\[[0-9]*T|\[[su]|\[4[hl]|\[!p",
            r"|\[\?(?:5|6|7|25|47|1047|1048|1049|2026)[hl])"
        ))
        .unwrap();
        allowed
            .replace_all(out, "")
            .chars()
            .all(|c| !c.is_control() || ('\u{8}'..='\u{f}').contains(&c))
    }

    /// Text that is mostly escape sequences, whole and broken.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\u{1b}".to_owned()),
            Just("\u{1b}[".to_owned()),
            Just("\u{1b}]".to_owned()),
            Just("\u{1b}P".to_owned()),
            Just("\u{1b}\\".to_owned()),
            Just("52;c;".to_owned()),
            "[\u{80}-\u{9f}]",
            "[\\x00-\\x1f]",
            "[ -/]{0,2}[0-?]{0,4}[@-~]",
            "[0-9;:?>=<]{0,70}",
            "\\PC{0,3}",
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_but_drawing_comes_out(text in hostile()) {
            let out = filtered(&text);
            prop_assert!(only_draws(&out), "{:?} -> {:?}", text, out);
            // What passed once passes again: no dropped piece makes the rest mean something else.
            prop_assert_eq!(filtered(&out), out);
        }

        #[test]
        fn it_does_not_matter_where_output_is_cut(text in hostile(), seed: u64) {
            let (mut filter, mut out) = (Filter::default(), String::new());
            let mut piece = String::new();
            for (at, c) in text.chars().enumerate() {
                piece.push(c);
                if (seed >> (at % 64)) & 1 == 1 {
                    filter.push(&piece, &mut out);
                    prop_assert!(only_draws(&out));
                    piece.clear();
                }
            }
            filter.push(&piece, &mut out);
            prop_assert_eq!(out, filtered(&text));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let out = filtered(&String::from_utf8_lossy(&bytes));
            prop_assert!(only_draws(&out));
        }
    }
}
