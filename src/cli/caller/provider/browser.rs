//! A login at a browser: authorization code with PKCE, back to a port of this machine (RFC 6749 §4.1,
//! RFC 7636, RFC 8252).

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure};

use super::redirect::Listening;
use super::{Expected, Provider};
use crate::cli::caller::cache::Tokens;
use crate::cli::output::{clean, say};
use crate::identity::client::login::{Attempt, Awaited};

/// How long a person may take.
const LOGIN_PATIENCE: Duration = Duration::from_mins(5);

impl Provider<'_> {
    /// Waits for a person to log in at the address that is printed, and opened where that is possible.
    pub(super) async fn log_in_here(&self) -> anyhow::Result<Tokens> {
        let listening = Listening::at(&self.account.redirect_uri).await?;
        let attempt = Attempt::new(listening.uri())?;
        let mut more = self.with_params(&[]);
        let offline = self
            .account
            .scopes
            .iter()
            .any(|scope| scope == "offline_access");
        if offline && !more.iter().any(|(name, _)| name == "prompt") {
            // Without it a provider ignores the scope (OIDC Core §11).
            more.push(("prompt".to_owned(), "consent".to_owned()));
        }
        let url = self.client.login_url(&attempt, more);
        let url = url.map_err(anyhow::Error::msg)?;
        announce(&url, listening.port());

        let awaited = Awaited {
            state: &attempt.state,
            issuer: &self.account.issuer,
            issuer_is_told: self
                .client
                .metadata
                .authorization_response_iss_parameter_supported,
        };
        let code = match tokio::time::timeout(LOGIN_PATIENCE, listening.code(awaited)).await {
            Ok(code) => code?,
            Err(_) => bail!(
                "nobody logged in within {} minutes; try again, or with --device",
                LOGIN_PATIENCE.as_secs() / 60
            ),
        };
        let expected = Expected {
            nonce: Some(&attempt.nonce),
            subject: None,
        };
        self.obtain(attempt.form(&code), expected)
            .await
            .map_err(|failure| failure.explained("the provider did not accept the login"))
    }
}

/// Says where to log in, and opens it in a browser if there is a display.
fn announce(url: &str, port: u16) {
    let url = clean(url);
    if has_display() && open(&url).is_ok() {
        say(&format!(
            "Log in with the browser that opens, or at\n\n  {url}\n"
        ));
        return;
    }
    say(&format!(
        "Log in at\n\n  {url}\n\nin a browser on this machine. From another one, forward the port first:\n\
         ssh -L {port}:127.0.0.1:{port} …\n"
    ));
}

/// Whether a browser could be seen.
pub(in crate::cli::caller) fn has_display() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos")
        || ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
            .into_iter()
            .any(is_set)
}

/// Starts a browser and does not wait for it. It gets nothing to write to: standard output is read by
/// whoever asks for a token.
fn open(url: &str) -> anyhow::Result<()> {
    // No shell sees the address, and an address is no option.
    ensure!(url.starts_with("https://"), "not an address to open");
    let named = std::env::var("BROWSER").unwrap_or_default();
    let program = match named.split(':').next() {
        // What has arguments in it xdg-open understands.
        Some(program) if !program.is_empty() && !program.contains([' ', '%']) => program,
        _ if cfg!(target_os = "macos") => "open",
        _ => "xdg-open",
    };
    let child = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child);
    Ok(())
}
