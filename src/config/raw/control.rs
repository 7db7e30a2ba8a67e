//! `control`: where health, metrics and the APIs for people are, and who is told what waits for them.

use super::super::policy_file;
use super::super::section::Section;
use super::{address, path};
use crate::control;
use crate::control::webhook;
use crate::identity::check_authority;

/// Reads `control`.
pub(super) fn read(section: &Section<'_>) -> Option<control::Settings> {
    let address = address(section);
    let operators = section
        .section("operators")
        .map(|operators| read_operators(&operators));
    if operators.is_some() && address.is_some_and(|address| !address.ip().is_loopback()) {
        section.report_key(
            "operators",
            "needs a loopback address: control.address is plain HTTP, on which the operators' tokens would be readable; put a proxy with TLS in front of 127.0.0.1",
        );
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
    Some(control::Settings {
        address: address?,
        url,
        operators,
        webhooks,
    })
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

const FORMATS: [(&str, webhook::Format); 3] = [
    ("json", webhook::Format::Json),
    ("slack", webhook::Format::Slack),
    ("teams", webhook::Format::Teams),
];

/// One program that is told something, in one of these formats. Its files are read when the gateway starts; here they are only tried.
pub(super) fn read_webhook(
    section: &Section<'_>,
    formats: &[(&str, webhook::Format)],
) -> Option<webhook::Settings> {
    let file = |key: &'static str| {
        let found = section.text(key)?;
        let file = path(section, &found);
        if let Err(problem) = policy_file::read(&file) {
            let name = file.display();
            found.report(section.document(), format!("{name}: {}", problem.message));
        }
        Some(file)
    };
    let url_file = file("urlFile");
    if !section.has("urlFile") {
        section.report_key(
            "urlFile",
            "is missing: the file that holds the URL, which often has a credential in it",
        );
    }
    let secret_file = file("secretFile");
    let authority = file("certificateAuthorityFile").and_then(|file| policy_file::read(&file).ok());
    if let Some(pem) = &authority
        && let Err(problem) = check_authority(Some(pem))
    {
        section.report_key("certificateAuthorityFile", &problem);
    }
    let format = if formats.is_empty() {
        None
    } else {
        section.word("format", formats)
    };
    section.finish();
    Some(webhook::Settings {
        url_file: url_file?,
        secret_file,
        certificate_authority: authority,
        format: format.unwrap_or(webhook::Format::Json),
    })
}
