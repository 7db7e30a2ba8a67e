//! Which token is meant: from which provider, for which client, or out of which file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::cli::https::is_loopback;
use crate::cli::output::clean;

/// Scopes that every request has: without it there is no ID token (OIDC Core §3.1.2.1).
const OPENID: &str = "openid";
/// Where the browser comes back to: the loopback address, any free port (RFC 8252 §7.3).
const REDIRECT_DEFAULT: &str = "http://127.0.0.1/callback";

/// The token of whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Whose token")]
pub struct AccountArgs {
    /// The identity provider, exactly as it calls itself (`iss` in its tokens)
    #[arg(long, value_name = "URL", requires = "client_id")]
    pub issuer: Option<String>,

    /// The client that callers of the gateway use there; the gateway's `audiences` name it
    #[arg(long, value_name = "ID", requires = "issuer")]
    pub client_id: Option<String>,

    /// A scope to ask for besides `openid`, such as groups, email or `offline_access`; repeatable
    #[arg(long = "scope", value_name = "SCOPE", requires = "issuer")]
    pub scopes: Vec<String>,

    /// Certificates to trust for the provider instead of the machine's
    #[arg(long, value_name = "FILE", requires = "issuer")]
    pub issuer_ca_file: Option<PathBuf>,

    /// The client's secret, if it has one (Google's desktop clients do; public clients do not)
    #[arg(long, value_name = "FILE", requires = "issuer")]
    pub client_secret_file: Option<PathBuf>,

    /// Log the client itself in, nobody else: for CI jobs and agents with a secret of their own
    #[arg(long, requires = "client_secret_file", conflicts_with = "device")]
    pub client_credentials: bool,

    /// Log in on another device, by a short code; what happens without a display anyway
    #[arg(long)]
    pub device: bool,

    /// Where the browser comes back to; without a port, any that is free
    #[arg(long, value_name = "URL", default_value = REDIRECT_DEFAULT, value_parser = redirect)]
    pub redirect_uri: String,

    /// A further parameter of the login, such as `audience=gateway` or `login_hint=alice`; repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", requires = "issuer", value_parser = param)]
    pub params: Vec<(String, String)>,

    /// A file with a token that something else keeps fresh: a pod's projected token, a CI job's
    #[arg(long, value_name = "FILE", conflicts_with = "issuer")]
    pub token_file: Option<PathBuf>,

    /// Where tokens are kept [default: `$XDG_CACHE_HOME/portcullis` or `~/.cache/portcullis`]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A file, read each time.
    File(PathBuf),
    /// An identity provider.
    Provider(Account),
}

/// A client at a provider, and how it asks.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) issuer: String,
    pub(super) client_id: String,
    /// With `openid`; each once, in the order that they were given.
    pub(super) scopes: Vec<String>,
    pub(super) issuer_ca_file: Option<PathBuf>,
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) client_credentials: bool,
    pub(super) device: bool,
    pub(super) redirect_uri: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) cache_dir: PathBuf,
    /// How it was asked for, as arguments.
    pub(super) arguments: Vec<String>,
}

impl AccountArgs {
    /// What was asked for; `None` if nothing was.
    pub(super) fn source(&self) -> anyhow::Result<Option<Source>> {
        if let Some(file) = &self.token_file {
            return Ok(Some(Source::File(file.clone())));
        }
        let (Some(issuer), Some(client_id)) = (&self.issuer, &self.client_id) else {
            return Ok(None);
        };
        ensure!(
            issuer.starts_with("https://"),
            "--issuer must begin with https://"
        );
        let mut scopes = if self.client_credentials {
            Vec::new()
        } else {
            vec![OPENID.to_owned()]
        };
        for scope in &self.scopes {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        Ok(Some(Source::Provider(Account {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            scopes,
            issuer_ca_file: self.issuer_ca_file.clone(),
            client_secret_file: self.client_secret_file.clone(),
            client_credentials: self.client_credentials,
            device: self.device,
            redirect_uri: self.redirect_uri.clone(),
            params: self.params.clone(),
            cache_dir: cache_dir(self.cache_dir.as_deref())?,
            arguments: self.to_arguments()?,
        })))
    }

    /// The same as arguments, for kubectl to call `portcullis get-token` with and people `portcullis login`, from any
    /// directory.
    pub(super) fn to_arguments(&self) -> anyhow::Result<Vec<String>> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: &str| arguments.push(format!("--{name}={value}"));
        let place = |path: &Path| -> anyhow::Result<String> {
            let path = std::path::absolute(path)?;
            let text = path.to_str().context("a path is not UTF-8 text")?;
            Ok(text.to_owned())
        };
        if let Some(issuer) = &self.issuer {
            add("issuer", issuer);
        }
        if let Some(client_id) = &self.client_id {
            add("client-id", client_id);
        }
        for scope in &self.scopes {
            add("scope", scope);
        }
        for (name, file) in [
            ("issuer-ca-file", &self.issuer_ca_file),
            ("client-secret-file", &self.client_secret_file),
            ("token-file", &self.token_file),
            ("cache-dir", &self.cache_dir),
        ] {
            if let Some(file) = file {
                add(name, &place(file)?);
            }
        }
        if self.redirect_uri != REDIRECT_DEFAULT {
            add("redirect-uri", &self.redirect_uri);
        }
        for (name, value) in &self.params {
            add("param", &format!("{name}={value}"));
        }
        for (name, wanted) in [
            ("client-credentials", self.client_credentials),
            ("device", self.device),
        ] {
            if wanted {
                arguments.push(format!("--{name}"));
            }
        }
        Ok(arguments)
    }
}

impl Account {
    /// The name of this account's files in the cache: another provider, client, scope or parameter is
    /// another token.
    pub(super) fn cache_key(&self) -> String {
        let mut scopes = self.scopes.clone();
        let mut params = self.params.clone();
        scopes.sort();
        params.sort();
        let all = json!([
            self.issuer,
            self.client_id,
            scopes,
            params,
            self.client_credentials
        ]);
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, all.to_string().as_bytes());
        let hex = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
        digest.as_ref().iter().flat_map(hex).flatten().collect()
    }

    /// The command that logs this account in, to be typed as it stands here. Its parts are often out of
    /// a kubeconfig that somebody else wrote, so a shell must read each as one word.
    pub(super) fn login_command(&self) -> String {
        let words = self.arguments.iter();
        let words: Vec<String> = words.map(|word| quoted(&clean(word))).collect();
        format!("portcullis login {}", words.join(" "))
    }
}

/// A word as a shell takes it whole.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.,:/@%+".contains(&byte);
    if word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Where tokens are kept (XDG Base Directory Specification: a relative path counts as unset).
pub(super) fn cache_dir(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(std::path::absolute(given)?);
    }
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("HOME is not set, so there is no place for tokens; name one with --cache-dir")?
        .join("portcullis"))
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    let ours = [
        "client_id",
        "client_secret",
        "code",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "device_code",
        "grant_type",
        "nonce",
        "redirect_uri",
        "refresh_token",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
    if name.is_empty() || ours.contains(&name) {
        return Err(format!("{name:?} cannot be set, the login depends on it"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn redirect(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "it is not a URL")?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if uri.scheme_str() != Some("http") || !is_loopback(host) || uri.query().is_some() {
        return Err(
            "it must be http://127.0.0.1, http://[::1] or http://localhost, with a port or without"
                .to_owned(),
        );
    }
    if uri
        .authority()
        .is_none_or(|authority| authority.as_str().contains('@'))
    {
        return Err("it must have no user".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        account: AccountArgs,
    }

    const LINE: [&str; 12] = [
        "get-token",
        "--issuer=https://issuer.test",
        "--client-id=cli",
        "--scope=groups",
        "--scope=groups",
        "--issuer-ca-file=/ca.crt",
        "--client-secret-file=/secret",
        "--cache-dir=/cache",
        "--redirect-uri=http://localhost:8000",
        "--param=login_hint=dora",
        "--param=a=b=c",
        "--client-credentials",
    ];

    #[test]
    fn what_kubectl_is_told_to_type_means_the_same() {
        let given = parse(&LINE).unwrap();
        let arguments = given.to_arguments().unwrap();
        let mut typed = vec!["get-token".to_owned()];
        typed.extend(arguments);
        let again = Line::try_parse_from(typed).unwrap().account;
        assert_eq!(format!("{given:?}"), format!("{again:?}"));
        let Some(Source::Provider(account)) = given.source().unwrap() else {
            panic!("no account")
        };
        let command = account.login_command();
        let words = command.strip_prefix("portcullis ").unwrap().split(' ');
        let again = Line::try_parse_from(words).unwrap().account;
        assert_eq!(format!("{given:?}"), format!("{again:?}"));
    }

    #[test]
    fn only_what_changes_the_token_changes_its_place() {
        let key = |line: &[&str]| match parse(line).unwrap().source().unwrap() {
            Some(Source::Provider(account)) => account.cache_key(),
            other => panic!("{other:?}"),
        };
        let usual = ["", "--issuer=https://i.test", "--client-id=cli"];
        let with = |more: &[&'static str]| [&usual[..], more].concat();
        let first = key(&usual);
        assert_eq!(first.len(), 64);
        for same in [
            with(&["--device"]),
            with(&["--scope=openid"]),
            with(&["--redirect-uri=http://localhost:1"]),
        ] {
            assert_eq!(key(&same), first, "{same:?}");
        }
        for other in [
            with(&["--scope=groups"]),
            with(&["--param=login_hint=dora"]),
            vec!["", "--issuer=https://i.test/", "--client-id=cli"],
            vec!["", "--issuer=https://i.test", "--client-id=cli2"],
        ] {
            assert_ne!(key(&other), first, "{other:?}");
        }
        assert_eq!(
            key(&with(&["--scope=a", "--scope=b"])),
            key(&with(&["--scope=b", "--scope=a"]))
        );
    }

    #[test]
    fn a_command_to_type_is_one_command() {
        let line = [
            "",
            "--issuer=https://i.test/$(id)",
            "--client-id=it's; id",
            "--param=a=\u{1b}[2J",
        ];
        let Some(Source::Provider(account)) = parse(&line).unwrap().source().unwrap() else {
            panic!("no account")
        };
        assert_eq!(
            account.login_command(),
            "portcullis login '--issuer=https://i.test/$(id)' '--client-id=it'\\''s; id' '--param=a=\u{fffd}[2J'"
        );
    }

    #[test]
    fn settings_that_would_break_a_login_are_refused() {
        let usual = ["", "--issuer=https://i.test", "--client-id=cli"];
        for bad in [
            "--param=state=x",
            "--param=redirect_uri=http://evil.test",
            "--param=x",
            "--redirect-uri=http://evil.test",
            "--redirect-uri=https://127.0.0.1",
            "--redirect-uri=http://127.0.0.1@evil.test",
            "--redirect-uri=http://user@127.0.0.1",
            "--redirect-uri=http://127.0.0.1.evil.test",
            "--client-credentials",
            "--token-file=/token",
        ] {
            assert!(parse(&[&usual[..], &[bad]].concat()).is_err(), "{bad}");
        }
        assert!(parse(&["", "--issuer=https://i.test"]).is_err());
        let plain = parse(&["", "--issuer=http://i.test", "--client-id=cli"]).unwrap();
        assert!(plain.source().is_err());
    }

    fn parse(line: &[&str]) -> Result<AccountArgs, clap::Error> {
        Line::try_parse_from(line).map(|line| line.account)
    }
}
