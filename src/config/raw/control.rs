//! `control`: where health, metrics and the APIs for people are, and who is told what waits for them.

use std::path::PathBuf;

use super::super::policy_file;
use super::super::section::Section;
use super::listener::read_tls;
use super::{address, path};
use crate::control;
use crate::control::shipping::collector;
use crate::control::{console, webhook};
use crate::identity::{self, check_authority};
use crate::listener::TlsFiles;

/// Reads `control`.
pub(super) fn read(section: &Section<'_>) -> Option<control::Settings> {
    let address = address(section);
    let tls = section.section("tls").map(|tls| read_tls(&tls));
    let operators = section
        .section("operators")
        .map(|operators| read_operators(&operators));
    let console = section
        .section("console")
        .map(|console| read_console(&console));
    for (key, there) in [
        ("operators", operators.is_some()),
        ("console", console.is_some()),
    ] {
        let readable = tls.is_none() && address.is_some_and(|address| !address.ip().is_loopback());
        if there && readable {
            section.report_key(
                key,
                "needs TLS or a loopback address: tokens and cookies would be readable on plain HTTP; set control.tls, or put a proxy with TLS in front of 127.0.0.1",
            );
        }
    }
    let url = section.text("url").map(|found| {
        let good = found.value.parse::<http::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|at| !at.as_str().contains('@'))
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
        });
        if !good {
            found.report(
                section.document(),
                "must be a URL that ends with its host and port, such as https://portcullis.example.com",
            );
        }
        found.value.trim_end_matches('/').to_owned()
    });
    let webhooks = section.sections("webhooks");
    let webhooks = webhooks.iter();
    let webhooks = webhooks
        .filter_map(|section| read_webhook(section, &FORMATS))
        .collect();
    section.finish();
    let settings = control::Settings {
        address: address?,
        url,
        operators,
        webhooks,
        tls: match tls {
            None => None,
            Some((certificate, private_key)) => Some(TlsFiles {
                certificate: certificate?,
                private_key: private_key?,
            }),
        },
        console: match console {
            None => None,
            Some(console) => Some(console?),
        },
    };
    if settings.console.is_some() && !is_safe(&settings.url()) {
        section.report_key(
            "console",
            "needs a URL that browsers send cookies to safely: https://, or http:// on this machine only; set control.url to where people open it",
        );
    }
    Some(settings)
}

/// Whether a browser may be sent here with a code, and keep a session.
fn is_safe(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    url.scheme_str() == Some("https") || local
}

fn read_console(section: &Section<'_>) -> Option<console::Settings> {
    let client_id = section.required("clientID");
    let secret = section.text("clientSecretFile").map(|found| {
        let file = path(section, &found);
        match policy_file::read(&file) {
            Ok(text) if text.trim().is_empty() => found.report(section.document(), "is empty"),
            Ok(_) => {}
            Err(problem) => {
                let name = file.display();
                found.report(section.document(), format!("{name}: {}", problem.message));
            }
        }
        file
    });
    let issuer = section.text("issuer").map(|found| found.value);
    let scopes = section.texts("scopes");
    for scope in &scopes {
        // RFC 6749 §3.3.
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if scope.value.is_empty() || !scope.value.bytes().all(good) {
            scope.report(section.document(), "must be the name of a scope");
        }
    }
    section.finish();
    Some(console::Settings {
        client_id: client_id?.value,
        client_secret_file: secret,
        issuer,
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
    })
}

/// Finds the console's issuer among those whose tokens are accepted, and says what would keep everybody out.
pub(super) fn check_console(
    top: &Section<'_>,
    control: &control::Settings,
    authentication: &identity::Settings,
) {
    let Some(console) = &control.console else {
        return;
    };
    let issuers = &authentication.issuers;
    let issuer = match &console.issuer {
        Some(url) => issuers.iter().find(|issuer| issuer.url == *url),
        None if issuers.len() > 1 => {
            let problem =
                "is missing: name the issuer that people log in at, one of authentication.jwt";
            top.report_item("control.console.issuer", None, problem);
            return;
        }
        None => issuers.first(),
    };
    let Some(issuer) = issuer else {
        let problem = "is none of the issuers in authentication.jwt, so nobody could log in";
        top.report_item("control.console.issuer", None, problem);
        return;
    };
    let client = &console.client_id;
    let parties = if issuer.authorized_parties.is_empty() {
        &issuer.audiences
    } else {
        &issuer.authorized_parties
    };
    if !issuer.audiences.contains(client) || !parties.contains(client) {
        top.report_item(
            "control.console.clientID",
            None,
            format!(
                "is {client:?}, which is not among issuer.audiences of {}: its tokens would be refused; add it there",
                issuer.url
            ),
        );
    }
}

fn read_operators(section: &Section<'_>) -> control::Operators {
    let names = |key: &'static str| {
        let found = section.texts(key);
        for name in &found {
            if name.value.is_empty() || name.value.contains(['*', '?']) {
                name.report(
                    section.document(),
                    "must be a whole name; patterns are not read here",
                );
            }
        }
        found.into_iter().map(|name| name.value).collect()
    };
    let operators = control::Operators {
        users: names("users"),
        groups: names("groups"),
    };
    if operators == control::Operators::default() {
        section.report("names nobody; leave it out if there are no operators");
    }
    section.finish();
    operators
}

/// A file that a section names, which can be read.
fn named_file(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let found = section.text(key)?;
    let file = path(section, &found);
    match policy_file::read(&file) {
        Ok(_) => Some(file),
        Err(problem) => {
            let name = file.display();
            found.report(section.document(), format!("{name}: {}", problem.message));
            None
        }
    }
}

/// The file with the URL of whoever is told something.
fn url_file(section: &Section<'_>) -> Option<PathBuf> {
    if !section.has("urlFile") {
        section.report_key(
            "urlFile",
            "is missing: the file that holds the URL, which often has a credential in it",
        );
    }
    named_file(section, "urlFile")
}

/// The certificates that are trusted for it.
fn authority(section: &Section<'_>) -> Option<String> {
    let file = named_file(section, "certificateAuthorityFile")?;
    let pem = policy_file::read(&file).ok()?;
    if let Err(problem) = check_authority(Some(&pem)) {
        section.report_key("certificateAuthorityFile", &problem);
        return None;
    }
    Some(pem)
}

/// `audit.otlp`.
pub(super) fn read_collector(section: &Section<'_>) -> Option<collector::Settings> {
    let url_file = url_file(section);
    let headers_file = named_file(section, "headersFile");
    let certificate_authority = authority(section);
    section.finish();
    let settings = collector::Settings {
        url_file: url_file?,
        headers_file,
        certificate_authority,
    };
    report_all(section, settings.problems());
    Some(settings)
}

/// Says what would keep the gateway from starting with what these keys name.
fn report_all(section: &Section<'_>, problems: Vec<(&'static str, String)>) {
    for (key, problem) in problems {
        section.report_key(key, problem);
    }
}

const FORMATS: [(&str, webhook::Format); 3] = [
    ("json", webhook::Format::Json),
    ("slack", webhook::Format::Slack),
    ("teams", webhook::Format::Teams),
];

/// One program that is told something, in one of these formats. Its files are read again when the gateway starts.
pub(super) fn read_webhook(
    section: &Section<'_>,
    formats: &[(&str, webhook::Format)],
) -> Option<webhook::Settings> {
    let url_file = url_file(section);
    let secret_file = named_file(section, "secretFile");
    let authority = authority(section);
    let format = if formats.is_empty() {
        None
    } else {
        section.word("format", formats)
    };
    section.finish();
    let settings = webhook::Settings {
        url_file: url_file?,
        secret_file,
        certificate_authority: authority,
        format: format.unwrap_or(webhook::Format::Json),
    };
    report_all(section, settings.problems());
    Some(settings)
}
