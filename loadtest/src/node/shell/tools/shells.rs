//! Programs that run other programs: `sh`, `env`, `timeout`.

use std::time::Duration;

use super::{Call, text_of};
use crate::node::shell::Shell;
use crate::node::shell::io::Broken;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    let mut inner = match call.shell.subshell() {
        Ok(inner) => inner,
        Err(message) => return call.complain(&message).await,
    };
    // A new process has its own functions, options and variables.
    inner.functions.clear();
    inner.variables.retain(|_, variable| variable.exported);
    inner.testing = false;
    match call.tool {
        "env" => environment(call, inner).await,
        "timeout" => timeout(call, inner).await,
        _ => shell(call, inner).await,
    }
}

async fn shell(call: &mut Call<'_>, mut inner: Shell) -> Result<u8, Broken> {
    call.tool.clone_into(&mut inner.name);
    inner.exit_on_error = false;
    let mut arguments = call.arguments.iter().cloned();
    let (mut text, mut reads_command) = (None, false);
    for argument in arguments.by_ref() {
        let Some(letters) = argument.strip_prefix('-') else {
            text = Some(argument);
            break;
        };
        inner.exit_on_error |= letters.contains('e') && !letters.starts_with('-');
        reads_command |= letters.contains('c') && !letters.starts_with('-');
    }
    inner.arguments = arguments.collect();
    match text {
        Some(text) if reads_command => {
            if !inner.arguments.is_empty() {
                inner.name = inner.arguments.remove(0);
            }
            inner.run_text(&text, &call.streams).await;
            Ok(inner.status)
        }
        Some(path) => match text_of(&inner, &inner.path(&path)) {
            Ok(text) => {
                inner.name = path;
                inner.run_text(&text, &call.streams).await;
                Ok(inner.status)
            }
            Err(error) => {
                call.complain(&format!("can't open '{path}': {error}"))
                    .await?;
                Ok(127)
            }
        },
        None => Ok(inner.script(&call.streams).await),
    }
}

async fn environment(call: &mut Call<'_>, mut inner: Shell) -> Result<u8, Broken> {
    let mut words = call.arguments.iter().cloned().peekable();
    while let Some(word) = words.next_if(|word| word.starts_with('-') || word.contains('=')) {
        match word.split_once('=') {
            Some((name, value)) => inner.export_variable(name, Some(value)),
            None if word == "-i" => inner.variables.clear(),
            None => {}
        }
    }
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        call.print(inner.environment().join("\n") + "\n").await?;
        return Ok(0);
    }
    inner.invoke(words, 0, &call.streams).await;
    Ok(inner.status)
}

async fn timeout(call: &mut Call<'_>, mut inner: Shell) -> Result<u8, Broken> {
    let mut words = call.arguments.iter().cloned();
    let limit = words
        .next()
        .and_then(|text| text.trim_end_matches('s').parse::<f64>().ok());
    let limit = limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let Some(limit) = limit else {
        return call.complain("invalid number").await;
    };
    let ended = tokio::time::timeout(limit, inner.invoke(words.collect(), 0, &call.streams)).await;
    Ok(ended.map_or(143, |_| inner.status))
}
