//! `test` and `[`.

use super::Call;
use crate::node::shell::fs::Kind;
use crate::node::shell::io::Broken;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    let mut words = call.arguments.clone();
    if call.tool == "[" && words.pop().as_deref() != Some("]") {
        call.complain("missing ]").await?;
        return Ok(2);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(holds) = either(call, &words) {
        return Ok(u8::from(!holds));
    }
    call.complain(&format!("{}: bad expression", words.join(" ")))
        .await?;
    Ok(2)
}

fn either(call: &Call<'_>, words: &[&str]) -> Option<bool> {
    let mut any = false;
    for part in words.split(|word| *word == "-o") {
        let mut all = true;
        for term in part.split(|word| *word == "-a") {
            all &= one(call, term)?;
        }
        any |= all;
    }
    Some(any)
}

fn one(call: &Call<'_>, words: &[&str]) -> Option<bool> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let stat = |path: &str| call.shell.machine.fs.stat(&call.shell.path(path)).ok();
    Some(match words {
        ["!", rest @ ..] => !one(call, rest)?,
        [text] | ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-e" | "-r" | "-w", path] => stat(path).is_some(),
        ["-f", path] => stat(path).is_some_and(|stat| stat.kind == Kind::File),
        ["-d", path] => stat(path).is_some_and(|stat| stat.kind == Kind::Directory),
        ["-c", path] => stat(path).is_some_and(|stat| stat.kind == Kind::Device),
        ["-s", path] => stat(path).is_some_and(|stat| stat.len > 0),
        ["-x", path] => stat(path).is_some_and(|stat| stat.mode & 0o111 != 0),
        [] | ["-h" | "-L" | "-p" | "-S" | "-b", _] => false,
        ["-t", _] => call.shell.terminal.is_some(),
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        [left, "-eq", right] => number(left)? == number(right)?,
        [left, "-ne", right] => number(left)? != number(right)?,
        [left, "-lt", right] => number(left)? < number(right)?,
        [left, "-le", right] => number(left)? <= number(right)?,
        [left, "-gt", right] => number(left)? > number(right)?,
        [left, "-ge", right] => number(left)? >= number(right)?,
        _ => return None,
    })
}
