//! The section `listener`.

use std::path::PathBuf;
use std::time::Duration;

use super::{address, path};
use crate::config::section::{Found, Section};
use crate::limits;
use crate::listener::{CertificateProblem, Settings, check_certificate};

pub(super) fn read(section: &Section<'_>) -> Option<Settings> {
    let address = address(section);
    let tls = section.required_section("tls");
    let (certificate, key) = tls.map_or((None, None), |tls| read_tls(&tls));
    let hosts = section.texts("hosts");
    for host in &hosts {
        check_host(section, host);
    }
    let number = |key, bounds, default| section.number(key, bounds).unwrap_or(default);
    let duration = |key, high, default| {
        section
            .duration(key, Duration::from_millis(100)..=high)
            .unwrap_or(default)
    };
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let listener = Settings {
        address: address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
        certificate_file: certificate.clone().unwrap_or_default(),
        private_key_file: key.clone().unwrap_or_default(),
        hosts: hosts.into_iter().map(|host| host.value).collect(),
        connections_max: number(
            "maxConnections",
            1..=1_000_000,
            limits::LISTENER_CONNECTIONS_DEFAULT,
        ),
        connections_per_address_max: number(
            "maxConnectionsPerAddress",
            1..=1_000_000,
            limits::LISTENER_CONNECTIONS_PER_ADDRESS_DEFAULT,
        ),
        concurrent_streams_max: narrow(number(
            "maxConcurrentStreams",
            1..=10_000,
            limits::LISTENER_STREAMS_DEFAULT,
        )),
        header_bytes_max: narrow(number(
            "maxHeaderBytes",
            8 * 1024..=1024 * 1024,
            limits::LISTENER_HEADER_BYTES_DEFAULT,
        )),
        handshake_timeout: duration(
            "handshakeTimeout",
            Duration::from_mins(2),
            limits::LISTENER_HANDSHAKE_TIMEOUT_DEFAULT,
        ),
        header_timeout: duration(
            "headerTimeout",
            Duration::from_mins(2),
            limits::LISTENER_HEADER_TIMEOUT_DEFAULT,
        ),
        drain_timeout: duration(
            "drainTimeout",
            Duration::from_hours(1),
            limits::LISTENER_DRAIN_TIMEOUT_DEFAULT,
        ),
    };
    section.finish();
    (address.is_some() && certificate.is_some() && key.is_some()).then_some(listener)
}

/// Reads a section `tls`.
pub(super) fn read_tls(tls: &Section<'_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let certificate = tls.required("certificateFile");
    let key = tls.required("privateKeyFile");
    tls.finish();
    let file = |found: &Found<String>| path(tls, found);
    let files = (certificate.as_ref().map(file), key.as_ref().map(file));
    if let (Some(certificate_file), Some(key_file)) = &files {
        for problem in check_certificate(certificate_file, key_file) {
            let (found, file, what) = match problem {
                CertificateProblem::Certificate(what) => (&certificate, certificate_file, what),
                CertificateProblem::Key(what) => (&key, key_file, what),
            };
            if let Some(found) = found {
                found.report(tls.document(), format!("names {}: {what}", file.display()));
            }
        }
    }
    files
}

/// A `Host` is compared without its port.
fn check_host(section: &Section<'_>, found: &Found<String>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let host = &found.value;
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || !host.bytes().all(good) || (host.contains(':') && !is_address) {
        found.report(
            section.document(),
            "must be a host name or an IP address, without scheme and port",
        );
    }
}
