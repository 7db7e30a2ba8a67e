//! `ls`, `find`, `df` and `ps`.

use jiff::Timestamp;

use super::{Call, value};
use crate::node::shell::fs::{Kind, Stat};
use crate::node::shell::io::Broken;
use crate::node::shell::pattern;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    match call.tool {
        "ls" => list(call).await,
        "find" => find(call).await,
        "df" => {
            call.print(
                "Filesystem           1K-blocks      Used Available Use% Mounted on\n\
                 overlay                 262144         0    262144   0% /\n",
            )
            .await?;
            Ok(0)
        }
        _ => processes(call).await,
    }
}

async fn list(call: &mut Call<'_>) -> Result<u8, Broken> {
    let (options, mut paths) = call.options("");
    let long = value(&options, 'l').is_some();
    let hidden = value(&options, 'a')
        .or_else(|| value(&options, 'A'))
        .is_some();
    let itself = value(&options, 'd').is_some();
    if paths.is_empty() {
        paths.push(".".to_owned());
    }
    let (mut status, several) = (0, paths.len() > 1);
    for (index, path) in paths.iter().enumerate() {
        let absolute = call.shell.path(path);
        let fs = &call.shell.machine.fs;
        let entries = match fs.stat(&absolute) {
            Ok(stat) if stat.kind == Kind::Directory && !itself => {
                fs.list(&absolute).unwrap_or_default()
            }
            Ok(stat) => vec![(path.clone(), stat)],
            Err(error) => {
                status = call.complain(&format!("{path}: {error}")).await?;
                continue;
            }
        };
        if several && call.shell.machine.fs.is_directory(&absolute) {
            let gap = if index == 0 { "" } else { "\n" };
            call.print(format!("{gap}{path}:\n")).await?;
        }
        let shown = entries
            .iter()
            .filter(|(name, _)| hidden || !name.starts_with('.'));
        let lines: Vec<String> = if long {
            shown
                .map(|(name, stat)| long_line(name, *stat, &call.shell.machine.user()))
                .collect()
        } else {
            shown.map(|(name, _)| format!("{name}\n")).collect()
        };
        for line in lines {
            call.print(line).await?;
        }
    }
    Ok(status)
}

fn long_line(name: &str, stat: Stat, user: &str) -> String {
    let kind = match stat.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Device => 'c',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let mode: String = bits
        .map(|(at, c)| {
            if stat.mode & (0o400 >> at) != 0 {
                c
            } else {
                '-'
            }
        })
        .collect();
    let time = stat.modified.strftime("%b %e %H:%M");
    format!(
        "{kind}{mode}    1 {user:<8} {user:<8} {:>9} {time} {name}\n",
        stat.len
    )
}

async fn find(call: &mut Call<'_>) -> Result<u8, Broken> {
    let arguments = call.arguments.clone();
    let split = arguments
        .iter()
        .position(|word| word.starts_with('-'))
        .unwrap_or(arguments.len());
    let (roots, tests) = arguments.split_at(split);
    let (mut name, mut kind) = (None, None);
    let mut tests = tests.iter();
    while let Some(test) = tests.next() {
        match test.as_str() {
            "-name" => name = tests.next().cloned(),
            "-type" => kind = tests.next().cloned(),
            "-print" => {}
            other => return call.complain(&format!("unrecognized: {other}")).await,
        }
    }
    let here = [".".to_owned()];
    let roots = if roots.is_empty() { &here } else { roots };
    let mut status = 0;
    for root in roots {
        let absolute = call.shell.path(root);
        let found = call.shell.machine.fs.walk(&absolute);
        if found.is_empty() {
            status = call
                .complain(&format!("{root}: No such file or directory"))
                .await?;
        }
        for (path, stat) in found {
            let base = path.rsplit('/').next().unwrap_or_default();
            let kind_fits = match kind.as_deref() {
                Some("f") => stat.kind == Kind::File,
                Some("d") => stat.kind == Kind::Directory,
                _ => true,
            };
            if kind_fits
                && name
                    .as_ref()
                    .is_none_or(|name| pattern::matches(name, base))
            {
                let below = path.strip_prefix(&absolute).unwrap_or_default();
                let gap = if root.ends_with('/') || below.starts_with('/') || below.is_empty() {
                    ""
                } else {
                    "/"
                };
                call.print(format!("{root}{gap}{below}\n")).await?;
            }
        }
    }
    Ok(status)
}

async fn processes(call: &mut Call<'_>) -> Result<u8, Broken> {
    let machine = &call.shell.machine;
    let age = Timestamp::now()
        .duration_since(machine.started)
        .as_secs()
        .max(0);
    let (user, main) = (machine.user(), &machine.main);
    let text = format!(
        "PID   USER     TIME  COMMAND\n    1 {user:<8} {:>2}:{:02} {main}\n   17 {user:<8}  0:00 sh\n   23 {user:<8}  0:00 ps\n",
        age / 6000,
        age / 100 % 60,
    );
    call.print(text).await?;
    Ok(0)
}
