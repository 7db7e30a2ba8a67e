//! Programs that change files.

use super::{Call, PIECE, size, value};
use crate::node::shell::fs;
use crate::node::shell::io::{Broken, Input, Output};

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    match call.tool {
        "cp" | "mv" => copy(call).await,
        "dd" => convert(call).await,
        "basename" => {
            let path = call.arguments.first().cloned().unwrap_or_default();
            let name = path
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let suffix = call
                .arguments
                .get(1)
                .and_then(|suffix| name.strip_suffix(suffix.as_str()));
            let name = suffix.unwrap_or(name).to_owned();
            call.print(name + "\n").await?;
            Ok(0)
        }
        "dirname" => {
            let path = call.arguments.first().cloned().unwrap_or_default();
            let directory = path
                .rsplit_once('/')
                .map_or(".", |(directory, _)| directory);
            let directory = if directory.is_empty() { "/" } else { directory };
            call.print(format!("{directory}\n")).await?;
            Ok(0)
        }
        _ => each(call).await,
    }
}

/// `mkdir`, `rm`, `rmdir`, `touch` and `chmod`: the same for every path.
async fn each(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, mut paths) = call.options("m");
    let has = |letter: char| value(&options, letter).is_some();
    let (parents, recursive, force) = (has('p'), has('r') || has('R'), has('f'));
    let mut mode = None;
    if call.tool == "chmod" && !paths.is_empty() {
        let text = paths.remove(0);
        mode = u32::from_str_radix(&text, 8)
            .ok()
            .or_else(|| text.ends_with("+x").then_some(0o755));
        if mode.is_none() {
            return call.complain(&format!("invalid mode '{text}'")).await;
        }
    }
    if paths.is_empty() && !force {
        return call.complain("missing operand").await;
    }
    let mut status = 0;
    for path in paths {
        let absolute = call.shell.path(&path);
        let fs = &call.shell.machine.fs;
        let done = match call.tool {
            "mkdir" if parents => fs.make_directories(&absolute),
            "mkdir" => fs.make_directory(&absolute),
            "rmdir" if !fs.is_directory(&absolute) => Err(fs::Error::NotDirectory),
            "rmdir" => fs.remove(&absolute, false),
            "rm" if fs.is_directory(&absolute) && !recursive => Err(fs::Error::IsDirectory),
            "rm" => fs
                .remove(&absolute, recursive)
                .or_else(|error| match error {
                    fs::Error::Missing if force => Ok(()),
                    other => Err(other),
                }),
            "chmod" => fs.change(&absolute, mode, None),
            _ if fs.stat(&absolute).is_ok() => {
                fs.change(&absolute, None, Some(jiff::Timestamp::now()))
            }
            _ => fs.write(&absolute, false).map(drop),
        };
        if let Err(error) = done {
            status = call
                .complain(&format!("can't change '{path}': {error}"))
                .await?;
        }
        tokio::task::consume_budget().await;
    }
    Ok(status)
}

async fn copy(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, mut paths) = call.options("");
    let recursive = ['r', 'R', 'a']
        .iter()
        .any(|letter| value(&options, *letter).is_some());
    let Some(target) = paths.pop().filter(|_| !paths.is_empty()) else {
        return call.complain("missing file operand").await;
    };
    let mut status = 0;
    for path in paths {
        let from = call.shell.path(&path);
        let mut to = call.shell.path(&target);
        if call.shell.machine.fs.is_directory(&to) {
            let base = from.rsplit('/').next().unwrap_or_default();
            to = fs::absolute(&to, base);
        }
        let failed = if to == from || to.starts_with(&format!("{from}/")) {
            Some(format!("'{path}' and '{target}' are the same"))
        } else if call.shell.machine.fs.is_directory(&from) && !recursive && call.tool == "cp" {
            Some(format!("omitting directory '{path}'"))
        } else {
            copy_tree(call, &from, &to)
                .await?
                .map(|error| format!("can't copy '{path}': {error}"))
        };
        if let Some(message) = failed {
            status = call.complain(&message).await?;
        }
    }
    Ok(status)
}

async fn copy_tree(call: &mut Call<'_>, from: &str, to: &str) -> Result<Option<fs::Error>, Broken> {
    let machine = std::sync::Arc::clone(&call.shell.machine);
    let fs = &machine.fs;
    if call.tool == "mv" && !fs.is_directory(from) {
        return Ok(fs.rename(from, to).err());
    }
    let entries = fs.walk(from);
    if entries.is_empty() {
        return Ok(Some(fs::Error::Missing));
    }
    for (path, stat) in entries {
        let target = format!("{to}{}", path.strip_prefix(from).unwrap_or_default());
        if stat.kind == fs::Kind::Directory {
            if let Err(error) = fs.make_directories(&target) {
                return Ok(Some(error));
            }
            continue;
        }
        let (mut reader, mut writer) = match (fs.read(&path), fs.write(&target, false)) {
            (Ok(reader), Ok(writer)) => (reader, writer),
            (Err(error), _) | (_, Err(error)) => return Ok(Some(error)),
        };
        while let Some(chunk) = reader.next_chunk(PIECE) {
            writer.write(&chunk).map_err(Broken::File)?;
            tokio::task::consume_budget().await;
        }
        if let Err(error) = fs.change(&target, Some(stat.mode), None) {
            return Ok(Some(error));
        }
    }
    if call.tool == "mv" {
        return Ok(fs.remove(from, true).err());
    }
    Ok(None)
}

/// `dd if= of= bs= count=`.
async fn convert(call: &mut Call<'_>) -> Result<u8, Broken> {
    let mut input = call.streams.input.clone();
    let (mut output, mut block, mut count) = (call.streams.output.clone(), 512, u64::MAX);
    for argument in call.arguments.clone() {
        let (key, text) = argument.split_once('=').unwrap_or((&argument, ""));
        let failed = match key {
            "if" => match call.shell.machine.fs.read(&call.shell.path(text)) {
                Ok(reader) => {
                    input = Input::file(reader);
                    None
                }
                Err(error) => Some(format!("{text}: {error}")),
            },
            "of" => match call.shell.machine.fs.write(&call.shell.path(text), false) {
                Ok(writer) => {
                    output = Output::File(writer);
                    None
                }
                Err(error) => Some(format!("{text}: {error}")),
            },
            "bs" => size(text)
                .map(|size| block = size)
                .map_or_else(|| Some("bad bs".to_owned()), |()| None),
            "count" => size(text)
                .map(|size| count = size)
                .map_or_else(|| Some("bad count".to_owned()), |()| None),
            "status" | "conv" => None,
            other => Some(format!("unrecognized operand '{other}'")),
        };
        if let Some(message) = failed {
            return call.complain(&message).await;
        }
    }
    let mut left = block.saturating_mul(count);
    let mut copied = 0u64;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let Some(chunk) = input.chunk(most).await else {
            break;
        };
        left -= chunk.len() as u64;
        copied += chunk.len() as u64;
        output.write(chunk).await?;
    }
    let records = copied / block.max(1);
    let report =
        format!("{records}+0 records in\n{records}+0 records out\n{copied} bytes copied\n");
    call.streams.error.write(report).await?;
    Ok(0)
}
