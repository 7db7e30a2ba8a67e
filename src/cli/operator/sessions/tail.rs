//! Follows an open session: what it draws goes to the terminal, and nothing that acts on it.

use std::io::{self, Write};

use crate::cli::operator::client::Client;
use crate::recording::replay::Moment;
use crate::recording::replay::filter::{Filter, visible};
use crate::recording::replay::transcript::Transcript;
use crate::wire::asciicast::{Clock, EXIT, Event, MARKER, OUTPUT, ParsedHeader};

/// Shows the session until it is over, or the operator presses Ctrl-C.
pub(super) async fn tail(
    gateway: &Client,
    id: &str,
    text: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut screen = if text {
        Screen::Lines(None, Transcript::default())
    } else {
        Screen::Drawing(Filter::default())
    };
    let mut each = |line: &[u8]| -> anyhow::Result<()> {
        screen.line(line, out)?;
        Ok(out.flush()?)
    };
    let over = tokio::select! {
        followed = gateway.live(id, &mut each) => Some(followed),
        interrupted = tokio::signal::ctrl_c() => { interrupted?; None }
    };
    // Whatever happened, the terminal is left in order.
    screen.finish(out)?;
    if let Some(followed) = over {
        followed?;
        writeln!(out, "[the session is over]")?;
    }
    Ok(out.flush()?)
}

/// Prints the lines of an open session.
enum Screen {
    Drawing(Filter),
    Lines(Option<Clock>, Transcript),
}

impl Screen {
    /// Prints what one line of asciicast shows. Headers and what players skip show nothing.
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if let (Self::Lines(clock @ None, _), Ok(header)) = (&mut *self, ParsedHeader::parse(line))
        {
            *clock = Some(Clock::new(header.version));
        }
        let Ok(event) = Event::parse(line) else {
            return Ok(());
        };
        let mut shown = String::new();
        match self {
            Self::Drawing(filter) => match event.code.as_str() {
                OUTPUT => filter.push(&event.data, &mut shown),
                MARKER => shown = format!("\r\n[{}]\r\n", visible(&event.data)),
                EXIT => shown = format!("\r\n[exit code {}]\r\n", visible(&event.data)),
                _ => {}
            },
            Self::Lines(clock, transcript) => {
                let at = clock
                    .as_mut()
                    .map(|clock| clock.at(&event))
                    .unwrap_or_default();
                let moment = Moment {
                    at,
                    code: event.code,
                    data: event.data,
                    stderr: false,
                    raw: None,
                };
                transcript.push(&moment, &mut |line| {
                    shown.push_str(&line.text);
                    shown.push('\n');
                });
            }
        }
        out.write_all(shown.as_bytes())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut shown = String::new();
        match self {
            Self::Drawing(filter) => {
                filter.reset(&mut shown);
                shown.push_str("\r\n");
            }
            Self::Lines(_, transcript) => {
                transcript.finish(std::time::Duration::ZERO, &mut |line| {
                    shown.push_str(&line.text);
                    shown.push('\n');
                });
            }
        }
        out.write_all(shown.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 7] = [
        r#"{"version":2,"width":80,"height":24}"#,
        r#"[0.1,"o","a\u001b["]"#,
        r#"[0.2,"portcullis.stderr","3"]"#,
        r#"[0.3,"o","31mb\u001b]52;c;eA==\u0007\u009b6n"]"#,
        r#"[0.4,"m","portcullis: \u001b]0;x\u0007end"]"#,
        r#"[0.5,"i","secret"]"#,
        r#"[0.6,"x","1"]"#,
    ];

    fn shown(mut screen: Screen) -> String {
        let mut out = Vec::new();
        for line in LINES {
            screen.line(line.as_bytes(), &mut out).unwrap();
        }
        screen.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_drawing_reaches_the_terminal_and_it_is_left_in_order() {
        let text = shown(Screen::Drawing(Filter::default()));
        let marker = "\r\n[portcullis: \\u{1b}]0;x\\u{7}end]\r\n\r\n[exit code 1]\r\n";
        assert!(
            text.starts_with(&format!("a\u{1b}[31mb{marker}")),
            "{text:?}"
        );
        assert!(text.ends_with("\u{1b}[0m\r\n"), "{text:?}");
    }

    #[test]
    fn as_text_there_are_only_lines() {
        let text = shown(Screen::Lines(None, Transcript::default()));
        assert_eq!(
            text,
            "ab\n[portcullis: \\u{1b}]0;x\\u{7}end]\n[exit code 1]\n"
        );
    }
}
