//! Programs that read lines and print other lines.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Call, PIECE, value};
use crate::node::shell::io::{Broken, Input};

/// Bytes that `sort` holds.
const SORT_LIMIT: usize = 16 << 20;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    match call.tool {
        "grep" => grep(call).await,
        "tr" => translate(call).await,
        "cut" => cut(call).await,
        "sort" => sort(call).await,
        _ => unique(call).await,
    }
}

/// `grep [-i] [-v] [-c] [-n] [-q] [-F] [-E] text [file…]`: text with `^`, `$` and, for `-E`, `|`.
async fn grep(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, mut words) = call.options("e");
    let has = |letter: char| value(&options, letter).is_some();
    let (ignore, invert, counts, numbers, quiet) =
        (has('i'), has('v'), has('c'), has('n'), has('q'));
    let pattern = match value(&options, 'e') {
        Some(pattern) => pattern.to_owned(),
        None if words.is_empty() => return call.complain("no pattern").await,
        None => words.remove(0),
    };
    let fold = |text: &str| {
        if ignore {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let alternatives: Vec<String> = if has('E') || pattern.contains("\\|") {
        pattern
            .split('|')
            .map(|part| fold(part.trim_end_matches('\\')))
            .collect()
    } else {
        vec![fold(&pattern)]
    };
    let (several, mut hits) = (words.len() > 1, 0u64);
    if words.is_empty() {
        words.push("-".to_owned());
    }
    for path in &words {
        let input = match call.open(path) {
            Ok(input) => input,
            Err(message) => {
                call.complain(&message).await?;
                continue;
            }
        };
        let mut number = 0u64;
        while let Some(line) = input.line().await {
            number += 1;
            let text = String::from_utf8_lossy(&line);
            let text = fold(text.strip_suffix('\n').unwrap_or(&text));
            if alternatives.iter().any(|part| holds(&text, part)) == invert {
                continue;
            }
            hits += 1;
            if quiet {
                return Ok(0);
            }
            if !counts {
                let mut shown = if several {
                    format!("{path}:")
                } else {
                    String::new()
                };
                if numbers {
                    shown.extend([number.to_string().as_str(), ":"]);
                }
                call.print(shown).await?;
                call.print(ended(line)).await?;
            }
        }
    }
    if counts {
        call.print(format!("{hits}\n")).await?;
    }
    Ok(u8::from(hits == 0))
}

fn holds(text: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        (Some(whole), Some(_)) => whole.strip_suffix('$') == Some(text),
        (Some(start), None) => text.starts_with(start),
        (None, Some(end)) => text.ends_with(end),
        (None, None) => text.contains(pattern),
    }
}

/// A line with its newline, even if it was the last and had none.
fn ended(line: Bytes) -> Bytes {
    if line.ends_with(b"\n") {
        line
    } else {
        [line.as_ref(), b"\n"].concat().into()
    }
}

async fn translate(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, sets) = call.options("");
    let deletes = value(&options, 'd').is_some();
    let from = set(sets.first().map_or("", String::as_str));
    let to = set(sets.get(1).map_or("", String::as_str));
    while let Some(piece) = call.streams.input.chunk(PIECE).await {
        let changed =
            piece
                .iter()
                .filter_map(|byte| match from.iter().position(|member| member == byte) {
                    Some(_) if deletes => None,
                    Some(at) => Some(*to.get(at).or_else(|| to.last()).unwrap_or(byte)),
                    None => Some(*byte),
                });
        let changed: Vec<u8> = changed.collect();
        call.print(changed).await?;
    }
    Ok(0)
}

/// `a-z`, `[:upper:]`, `\n`.
fn set(text: &str) -> Vec<u8> {
    let text = text
        .replace("[:upper:]", "A-Z")
        .replace("[:lower:]", "a-z")
        .replace("[:digit:]", "0-9")
        .replace("[:space:]", " \t\n")
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\r", "\r");
    let mut members = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [from, b'-', to, after @ ..] => {
                members.extend(*from..=*to);
                after
            }
            [one, after @ ..] => {
                members.push(*one);
                after
            }
            [] => return members,
        };
    }
}

/// `cut -d: -f1,3` and `cut -c1-5`.
async fn cut(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("dfcb");
    let delimiter = value(&options, 'd').unwrap_or("\t").to_owned();
    let by_field = value(&options, 'f').is_some();
    let list = value(&options, 'f')
        .or_else(|| value(&options, 'c'))
        .or_else(|| value(&options, 'b'))
        .unwrap_or("1-");
    let ranges: Vec<(usize, usize)> = list
        .split(',')
        .map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            (from.parse().unwrap_or(1), to.parse().unwrap_or(usize::MAX))
        })
        .collect();
    let wanted = |index: usize| {
        ranges
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&(index + 1)))
    };
    let input = match call.open(paths.first().map_or("-", String::as_str)) {
        Ok(input) => input,
        Err(message) => return call.complain(&message).await,
    };
    while let Some(line) = input.line().await {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        let kept = if !by_field {
            text.chars()
                .enumerate()
                .filter(|(index, _)| wanted(*index))
                .map(|(_, c)| c)
                .collect::<String>()
        } else if delimiter.is_empty() || !text.contains(&delimiter) {
            text.to_owned()
        } else {
            let fields = text
                .split(&delimiter)
                .enumerate()
                .filter(|(index, _)| wanted(*index));
            fields
                .map(|(_, field)| field)
                .collect::<Vec<_>>()
                .join(&delimiter)
        };
        call.print(kept + "\n").await?;
    }
    Ok(0)
}

async fn sort(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("kt");
    let has = |letter: char| value(&options, letter).is_some();
    let (numeric, reverse, unique) = (has('n'), has('r'), has('u'));
    let inputs: Result<Vec<Input>, String> = if paths.is_empty() {
        Ok(vec![call.streams.input.clone()])
    } else {
        paths.iter().map(|path| call.open(path)).collect()
    };
    let inputs = match inputs {
        Ok(inputs) => inputs,
        Err(message) => return call.complain(&message).await,
    };
    let (mut lines, mut held) = (Vec::new(), 0);
    for input in inputs {
        while let Some(line) = input.line().await {
            held += line.len() + 32;
            if held > SORT_LIMIT {
                return call.complain("out of memory").await;
            }
            // Copied, so that a line does not keep the piece it came in.
            lines.push(Bytes::copy_from_slice(&ended(line)));
        }
    }
    let leading = |line: &Bytes| -> i64 {
        let text = String::from_utf8_lossy(line);
        let digits = text
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '-');
        digits.collect::<String>().parse().unwrap_or(0)
    };
    if numeric {
        lines.sort_by_key(leading);
    } else {
        lines.sort();
    }
    if reverse {
        lines.reverse();
    }
    let mut seen = BTreeSet::new();
    for line in lines {
        if !unique || seen.insert(line.clone()) {
            call.print(line).await?;
        }
    }
    Ok(0)
}

async fn unique(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("");
    let counts = value(&options, 'c').is_some();
    let input = match call.open(paths.first().map_or("-", String::as_str)) {
        Ok(input) => input,
        Err(message) => return call.complain(&message).await,
    };
    let mut current: Option<(Bytes, u64)> = None;
    loop {
        let line = input.line().await.map(ended);
        match (&mut current, &line) {
            (Some((last, count)), Some(line)) if last == line => *count += 1,
            _ => {
                if let Some((last, count)) = current.take() {
                    let prefix = if counts {
                        format!("{count:>7} ")
                    } else {
                        String::new()
                    };
                    call.print(prefix).await?;
                    call.print(last).await?;
                }
                match line {
                    Some(line) => current = Some((line, 1)),
                    None => return Ok(0),
                }
            }
        }
    }
}
