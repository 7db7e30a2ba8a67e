//! Programs about the container, its user and the time.

use std::time::Duration;

use jiff::Timestamp;

use super::Call;
use crate::node::shell::io::Broken;

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    let machine = std::sync::Arc::clone(&call.shell.machine);
    let (user, uid) = (machine.user(), machine.uid);
    let text = match call.tool {
        "true" | "sync" => return Ok(0),
        "false" => return Ok(1),
        "sleep" => return sleep(call).await,
        "printenv" => return printenv(call).await,
        "stty" => return terminal_settings(call).await,
        "date" => return date(call).await,
        "tty" if call.shell.terminal.is_some() => "/dev/pts/0".to_owned(),
        "tty" => {
            call.print("not a tty\n").await?;
            return Ok(1);
        }
        "pwd" => call.shell.directory.clone(),
        "id" if call.arguments.iter().any(|argument| argument == "-u") => uid.to_string(),
        "id" => format!("uid={uid}({user}) gid={uid}({user}) groups={uid}({user})"),
        "whoami" => user,
        "hostname" => machine.hostname.clone(),
        "uname" if call.arguments.is_empty() => "Linux".to_owned(),
        "uname" => format!(
            "Linux {} 6.1.0-simulated #1 SMP x86_64 GNU/Linux",
            machine.hostname
        ),
        "nproc" => "1".to_owned(),
        "uptime" => format!(
            "{} up, load average: 0.00, 0.00, 0.00",
            Timestamp::now().strftime(" %H:%M:%S")
        ),
        "clear" => "\x1b[H\x1b[J".to_owned(),
        other => return call.complain(&format!("{other} is not simulated")).await,
    };
    call.print(text + "\n").await?;
    Ok(0)
}

async fn sleep(call: &mut Call<'_>) -> Result<u8, Broken> {
    let mut total = Duration::ZERO;
    for argument in &call.arguments {
        let (digits, factor) = match argument.strip_suffix(['s', 'm', 'h', 'd']) {
            Some(digits) if argument.ends_with('m') => (digits, 60.0),
            Some(digits) if argument.ends_with('h') => (digits, 3600.0),
            Some(digits) if argument.ends_with('d') => (digits, 86400.0),
            Some(digits) => (digits, 1.0),
            None => (argument.as_str(), 1.0),
        };
        let seconds = digits.parse::<f64>().ok().map(|number| number * factor);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(time) => total = total.saturating_add(time),
            None if argument == "infinity" => total = Duration::MAX,
            None => {
                let message = format!("invalid number '{argument}'");
                return call.complain(&message).await;
            }
        }
    }
    // Longer than any session, and still a time the clock can hold.
    tokio::time::sleep(total.min(Duration::from_hours(24 * 365))).await;
    Ok(0)
}

async fn printenv(call: &mut Call<'_>) -> Result<u8, Broken> {
    if call.arguments.is_empty() {
        let text = call.shell.environment().join("\n") + "\n";
        call.print(text).await?;
        return Ok(0);
    }
    let mut status = 0;
    for name in call.arguments.clone() {
        match call.shell.parameter(&name) {
            Some(value) => call.print(value + "\n").await?,
            None => status = 1,
        }
    }
    Ok(status)
}

async fn terminal_settings(call: &mut Call<'_>) -> Result<u8, Broken> {
    let Some(terminal) = call.shell.terminal.clone() else {
        return call.complain("standard input: Not a tty").await;
    };
    let (columns, rows) = terminal.size();
    match call.arguments.first().map(String::as_str) {
        Some("size") => call.print(format!("{rows} {columns}\n")).await?,
        Some("-echo") => terminal.set_echo(false),
        Some("echo" | "sane") => terminal.set_echo(true),
        Some(_) => {}
        None => {
            call.print(format!(
                "speed 38400 baud; rows {rows}; columns {columns};\n"
            ))
            .await?;
        }
    }
    Ok(0)
}

async fn date(call: &mut Call<'_>) -> Result<u8, Broken> {
    let now = Timestamp::now();
    let format = call
        .arguments
        .iter()
        .find_map(|argument| argument.strip_prefix('+'));
    let text = match format {
        None => now.strftime("%a %b %e %H:%M:%S UTC %Y").to_string(),
        Some(format) => match jiff::fmt::strtime::format(format, now) {
            Ok(text) => text,
            Err(_) => return call.complain("invalid date format").await,
        },
    };
    call.print(text + "\n").await?;
    Ok(0)
}
