//! Programs that print and pass on: `cat`, `head`, `echo`, `sha256sum` and their like.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use super::{Call, PIECE, size, value};
use crate::node::reply::hexadecimal;
use crate::node::shell::io::{Broken, Output};

mod format;

/// Most bytes that `tail` remembers.
const TAIL_LIMIT: usize = 4 << 20;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    match call.tool {
        "cat" => each_input(call, "", Pass).await,
        "head" => {
            let (options, _) = number_options(call);
            let head = match value(&options, 'c').and_then(size) {
                Some(bytes) => Head {
                    bytes,
                    lines: u64::MAX,
                },
                None => Head {
                    bytes: u64::MAX,
                    lines: value(&options, 'n').and_then(size).unwrap_or(10),
                },
            };
            each_input(call, "cn", head).await
        }
        "tail" => tail(call).await,
        "wc" => count(call).await,
        "tee" => tee(call).await,
        "base64" => encode(call).await,
        "sha256sum" => checksum(call).await,
        "echo" => echo(call).await,
        "printf" => printf(call).await,
        "seq" => sequence(call).await,
        _ => {
            let line = if call.arguments.is_empty() {
                "y".to_owned()
            } else {
                call.arguments.join(" ")
            } + "\n";
            let lines = Bytes::from(line.repeat((PIECE / 4 / line.len()).max(1)));
            loop {
                call.print(lines.clone()).await?;
            }
        }
    }
}

/// `-5` means `-n 5` for `head` and `tail`.
fn number_options(call: &mut Call<'_>) -> (Vec<(char, String)>, Vec<String>) {
    for argument in &mut call.arguments {
        if argument
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            argument.insert(1, 'n');
        }
    }
    call.options("cn")
}

/// What is done with a piece of input; false when no more is wanted.
trait Filter: Clone {
    async fn piece(&mut self, piece: Bytes, output: &mut Output) -> Result<bool, Broken>;
}

#[derive(Clone)]
struct Pass;

impl Filter for Pass {
    async fn piece(&mut self, piece: Bytes, output: &mut Output) -> Result<bool, Broken> {
        output.write(piece).await?;
        Ok(true)
    }
}

#[derive(Clone)]
struct Head {
    bytes: u64,
    lines: u64,
}

impl Filter for Head {
    async fn piece(&mut self, mut piece: Bytes, output: &mut Output) -> Result<bool, Broken> {
        piece.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        let mut ends = piece
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        let mut cut = if self.lines == 0 { Some(0) } else { None };
        while self.lines > 0
            && let Some(end) = ends.next()
        {
            self.lines -= 1;
            cut = (self.lines == 0).then_some(end);
        }
        piece.truncate(cut.unwrap_or(piece.len()));
        self.bytes -= piece.len() as u64;
        output.write(piece).await?;
        Ok(self.bytes > 0 && self.lines > 0)
    }
}

async fn each_input(call: &mut Call<'_>, valued: &str, filter: impl Filter) -> Result<u8, Broken> {
    let (_, mut paths) = call.options(valued);
    if paths.is_empty() {
        paths.push("-".to_owned());
    }
    let mut status = 0;
    for path in paths {
        let input = match call.open(&path) {
            Ok(input) => input,
            Err(message) => {
                status = call.complain(&format!("can't open {message}")).await?;
                continue;
            }
        };
        let mut filter = filter.clone();
        while let Some(piece) = input.chunk(PIECE).await {
            if !filter.piece(piece, &mut call.streams.output).await? {
                break;
            }
        }
    }
    Ok(status)
}

async fn tail(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = number_options(call);
    let bytes = value(&options, 'c')
        .and_then(size)
        .and_then(|bytes| usize::try_from(bytes).ok());
    let lines = value(&options, 'n').map(|text| text.trim_start_matches('+'));
    let lines = lines
        .and_then(size)
        .and_then(|lines| usize::try_from(lines).ok())
        .unwrap_or(10);
    let input = match call.open(paths.first().map_or("-", String::as_str)) {
        Ok(input) => input,
        Err(message) => return call.complain(&format!("can't open {message}")).await,
    };
    let mut kept = BytesMut::new();
    while let Some(piece) = input.chunk(PIECE).await {
        kept.extend_from_slice(&piece);
        if kept.len() > 2 * TAIL_LIMIT {
            kept = kept.split_off(kept.len() - TAIL_LIMIT);
        }
    }
    let start = if let Some(bytes) = bytes {
        kept.len().saturating_sub(bytes)
    } else {
        let body = kept.strip_suffix(b"\n").unwrap_or(&kept);
        let mut starts = body
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        if lines == 0 {
            kept.len()
        } else {
            starts.nth(lines - 1).unwrap_or(0)
        }
    };
    call.print(kept.split_off(start).freeze()).await?;
    if value(&options, 'f').is_some() {
        std::future::pending::<()>().await;
    }
    Ok(0)
}

async fn count(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("");
    let path = paths.first().cloned();
    let input = match call.open(path.as_deref().unwrap_or("-")) {
        Ok(input) => input,
        Err(message) => return call.complain(&message).await,
    };
    let (mut lines, mut words, mut bytes, mut in_word) = (0u64, 0u64, 0u64, false);
    while let Some(piece) = input.chunk(PIECE).await {
        bytes += piece.len() as u64;
        for byte in &piece {
            lines += u64::from(*byte == b'\n');
            let is_word = !byte.is_ascii_whitespace();
            words += u64::from(is_word && !in_word);
            in_word = is_word;
        }
    }
    let all = options.is_empty();
    let shown = [('l', lines), ('w', words), ('c', bytes)].into_iter();
    let shown = shown.filter(|(letter, _)| all || value(&options, *letter).is_some());
    let mut fields: Vec<String> = shown.map(|(_, number)| number.to_string()).collect();
    fields.extend(path);
    call.print(fields.join(" ") + "\n").await?;
    Ok(0)
}

async fn tee(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("");
    let append = value(&options, 'a').is_some();
    let mut outputs = Vec::new();
    for path in paths {
        match call.shell.machine.fs.write(&call.shell.path(&path), append) {
            Ok(writer) => outputs.push(Output::File(writer)),
            Err(error) => return call.complain(&format!("{path}: {error}")).await,
        }
    }
    while let Some(piece) = call.streams.input.chunk(PIECE).await {
        for output in &mut outputs {
            output.write(piece.clone()).await?;
        }
        call.print(piece).await?;
    }
    Ok(0)
}

async fn encode(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, paths) = call.options("w");
    let decodes = value(&options, 'd').is_some();
    let width = value(&options, 'w')
        .and_then(|text| text.parse().ok())
        .unwrap_or(76usize);
    let input = match call.open(paths.first().map_or("-", String::as_str)) {
        Ok(input) => input,
        Err(message) => return call.complain(&message).await,
    };
    let (mut held, mut column) = (BytesMut::new(), 0);
    loop {
        let piece = input.chunk(PIECE).await;
        let last = piece.is_none();
        if let Some(part) = piece {
            let wanted = part
                .iter()
                .filter(|byte| !decodes || !byte.is_ascii_whitespace());
            held.extend(wanted);
        }
        let unit = if decodes { 4 } else { 3 };
        let take = if last {
            held.len()
        } else {
            held.len() - held.len() % unit
        };
        let part = held.split_to(take);
        if decodes {
            match STANDARD.decode(&part) {
                Ok(bytes) => call.print(bytes).await?,
                Err(_) => return call.complain("truncated input").await,
            }
        } else {
            let text = wrap(&STANDARD.encode(&part), width, &mut column);
            call.print(text).await?;
        }
        if last {
            if !decodes && column > 0 && width > 0 {
                call.print("\n").await?;
            }
            return Ok(0);
        }
    }
}

fn wrap(text: &str, width: usize, column: &mut usize) -> String {
    if width == 0 {
        return text.to_owned();
    }
    let mut wrapped = String::with_capacity(text.len() + text.len() / width + 1);
    for c in text.chars() {
        wrapped.push(c);
        *column += 1;
        if *column == width {
            wrapped.push('\n');
            *column = 0;
        }
    }
    wrapped
}

async fn checksum(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (_, mut paths) = call.options("");
    if paths.is_empty() {
        paths.push("-".to_owned());
    }
    let mut status = 0;
    for path in paths {
        let input = match call.open(&path) {
            Ok(input) => input,
            Err(message) => {
                status = call.complain(&format!("can't open {message}")).await?;
                continue;
            }
        };
        let mut context = digest::Context::new(&digest::SHA256);
        while let Some(piece) = input.chunk(PIECE).await {
            context.update(&piece);
        }
        let sum = hexadecimal(context.finish().as_ref());
        call.print(format!("{sum}  {path}\n")).await?;
    }
    Ok(status)
}

async fn echo(call: &mut Call<'_>) -> Result<u8, Broken> {
    let is_option = |word: &&String| matches!(word.as_str(), "-n" | "-e" | "-ne" | "-en" | "-E");
    let options = call.arguments.iter().take_while(is_option).count();
    let (options, words) = call.arguments.split_at(options);
    let has = |letter: char| options.iter().any(|option| option.contains(letter));
    let mut text = words.join(" ");
    if has('e') {
        text = String::from_utf8_lossy(&format::unescape(&text)).into_owned();
    }
    if !has('n') {
        text.push('\n');
    }
    call.print(text).await?;
    Ok(0)
}

async fn printf(call: &mut Call<'_>) -> Result<u8, Broken> {
    let Some((pattern, values)) = call.arguments.split_first() else {
        return call.complain("usage: printf FORMAT [ARG]...").await;
    };
    let text = format::printf(pattern, values);
    call.print(text).await?;
    Ok(0)
}

async fn sequence(call: &mut Call<'_>) -> Result<u8, Broken> {
    let numbers: Option<Vec<i64>> = call
        .arguments
        .iter()
        .map(|word| word.parse().ok())
        .collect();
    let (first, step, last) = match numbers.as_deref() {
        Some([last]) => (1, 1, *last),
        Some([first, last]) => (*first, 1, *last),
        Some([first, step, last]) if *step != 0 => (*first, *step, *last),
        _ => return call.complain("invalid arguments").await,
    };
    let mut number = first;
    let mut text = String::new();
    while (step > 0 && number <= last) || (step < 0 && number >= last) {
        text.extend([number.to_string().as_str(), "\n"]);
        if text.len() > PIECE / 4 {
            call.print(std::mem::take(&mut text)).await?;
        }
        number = number.saturating_add(step);
        if number == i64::MAX || number == i64::MIN {
            break;
        }
    }
    call.print(text).await?;
    Ok(0)
}
