//! `kind: GatewayConfiguration`, key by key, with defaults and bounds. `docs/config.md` says the same.

mod authentication;
mod control;
mod listener;
mod place;

#[cfg(test)]
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::document::Problem;
use super::section::{Document, Found, Section};
use super::{Config, placeholder_key, policy_file};
use crate::audit::responses;
use crate::control::shipping;
use crate::gateway::route::Clusters;
use crate::listener::check_address;
use crate::policy::Policy;
use crate::transform::text::known;
use crate::upstream::{ClusterSettings, InCluster, Source};
use crate::wire::asciicast;
use crate::{audit, limits, recording, upstream};

const KIND: &str = "GatewayConfiguration";

/// Reads a whole configuration and the policy files it names.
pub(super) fn read(document: Document) -> (Option<Config>, Vec<Problem>) {
    let mut others = Vec::new();
    let config = document
        .open(KIND)
        .and_then(|top| read_top(&top, &mut others));
    let mut problems = document.into_problems();
    problems.append(&mut others);
    (config, problems)
}

/// Reads the policy and which clusters there are, and nothing else: no certificate, no credential.
pub(super) fn read_deciding(document: Document) -> Result<(Policy, Clusters), Vec<Problem>> {
    let mut others = Vec::new();
    let read = document.open(KIND).and_then(|top| {
        let mut clusters = Clusters::default();
        for section in top.sections("clusters") {
            read_cluster_name(&section, &mut clusters);
        }
        let policy = load_policy(&top, &policy_files(&top), &mut others)?;
        Some((policy, clusters))
    });
    let mut problems = document.into_problems();
    problems.append(&mut others);
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(problems),
    }
}

/// Every key there is, given a document that has every section.
#[cfg(test)]
pub(super) fn keys(document: Document) -> BTreeSet<String> {
    let _config = document
        .open(KIND)
        .and_then(|top| read_top(&top, &mut Vec::new()));
    let keys = document.keys();
    let problems = document.into_problems();
    assert!(problems.is_empty(), "{problems:?}");
    keys
}

fn read_top(top: &Section<'_>, others: &mut Vec<Problem>) -> Option<Config> {
    let mut warnings = Vec::new();
    let data_directory = top
        .text("dataDirectory")
        .map_or_else(|| beside(top.document(), "data"), |found| path(top, &found));
    let usable =
        place::check_folder(&data_directory).and_then(|()| placeholder_key::check(&data_directory));
    let has_data_directory = usable.is_ok();
    report_unusable(top, "dataDirectory", usable);
    let listener = top
        .required_section("listener")
        .and_then(|section| listener::read(&section));
    let control = top
        .required_section("control")
        .and_then(|section| control::read(&section));
    if let (Some(listener), Some(control)) = (&listener, &control) {
        report_shared_port(top, listener.address, control.address);
    }
    let authentication = top
        .required_section("authentication")
        .and_then(|section| authentication::read(&section, &mut warnings, others));
    let (sources, clusters) = read_clusters(top);
    let policy_files = policy_files(top);
    let policy = load_policy(top, &policy_files, others);
    let (audit, audit_sinks) = read_audit(top, &data_directory);
    let (recording, responses) = read_recording(top, &data_directory);
    if policy.as_ref().is_some_and(Policy::observes) {
        warnings.push(policy_file::OBSERVES.to_owned());
    }
    let known_values = read_known_values(top, policy.as_ref(), &mut warnings);
    top.finish();
    // What is in an unusable data directory is no problem of its own.
    let of_its_own = |place: &Path| has_data_directory || !place.starts_with(&data_directory);
    if of_its_own(&audit.file) {
        report_unusable(
            top,
            "audit.file",
            place::check_log(&audit.file, &data_directory),
        );
    }
    if !audit_sinks.is_empty() {
        let usable = place::check_readable_again(&audit.file);
        report_unusable(top, "audit.file", usable);
    }
    if of_its_own(&recording.directory) {
        let usable = place::check_folder(&recording.directory);
        report_unusable(top, "recording.directory", usable);
    }
    let authentication = authentication?;
    if let Some(control) = &control {
        control::check_console(top, control, &authentication.settings);
    }
    Some(Config {
        data_directory,
        listener: listener?,
        control: control?,
        authentication: authentication.settings,
        revocation_file: authentication.revocation_file,
        revocations: Arc::new(authentication.revocations),
        upstream: upstream::Settings { clusters: sources },
        default_cluster: clusters.default,
        policy_files: policy_files.into_iter().map(|found| found.value).collect(),
        policy: Arc::new(policy?),
        audit,
        audit_sinks,
        recording,
        responses,
        known_values,
        warnings,
    })
}

fn read_audit(
    top: &Section<'_>,
    data_directory: &Path,
) -> (audit::Settings, Vec<shipping::Settings>) {
    const MEBIBYTE: usize = 1024 * 1024;
    let file = data_directory.join(audit::log::FILE);
    let mut settings = audit::Settings::new(&file, data_directory);
    let Some(section) = top.section("audit") else {
        return (settings, Vec::new());
    };
    if let Some(found) = section.text("file") {
        settings.file = path(&section, &found);
    }
    if let Some(bytes) = section.number("segmentBytes", MEBIBYTE..=1024 * MEBIBYTE) {
        settings.segment_bytes = bytes as u64;
    }
    let ages = Duration::from_mins(1)..=Duration::from_hours(24 * 366);
    if let Some(age) = section.duration("segmentAge", ages) {
        settings.segment_age = age;
    }
    let webhook = section.section("webhook");
    let webhook = webhook.and_then(|section| control::read_webhook(&section, &[]));
    let collector = section.section("otlp");
    let collector = collector.and_then(|section| control::read_collector(&section));
    section.finish();
    let webhook = webhook.map(shipping::Settings::Webhook);
    let collector = collector.map(shipping::Settings::Collector);
    (settings, webhook.into_iter().chain(collector).collect())
}

fn read_recording(
    top: &Section<'_>,
    data_directory: &Path,
) -> (recording::Settings, responses::Settings) {
    const MEBIBYTE: usize = 1024 * 1024;
    const MOST: usize = 1024 * 1024 * MEBIBYTE;
    let mut settings = recording::Settings {
        directory: data_directory.join("recordings"),
        format: asciicast::Version::V2,
        max_bytes: limits::RECORDING_BYTES_DEFAULT,
        part_bytes: limits::RECORDING_PART_BYTES_DEFAULT,
    };
    let Some(section) = top.section("recording") else {
        let responses = responses::Settings::new(&settings.directory);
        return (settings, responses);
    };
    let formats = [
        ("asciicast-v2", asciicast::Version::V2),
        ("asciicast-v3", asciicast::Version::V3),
    ];
    if let Some(format) = section.word("format", &formats) {
        settings.format = format;
    }
    if let Some(bytes) = section.number("maxBytes", MEBIBYTE..=MOST) {
        settings.max_bytes = bytes as u64;
    }
    if let Some(bytes) = section.number("partBytes", MEBIBYTE..=MOST) {
        settings.part_bytes = bytes as u64;
    }
    if let Some(found) = section.text("directory") {
        settings.directory = path(&section, &found);
    }
    let mut responses = responses::Settings::new(&settings.directory);
    let most = limits::RESPONSE_BYTES_MAX;
    if let Some(bytes) = section.number("responseBytes", 4096..=most) {
        responses.max_bytes = bytes as u64;
    }
    section.finish();
    (settings, responses)
}

fn read_known_values(
    top: &Section<'_>,
    policy: Option<&Policy>,
    warnings: &mut Vec<String>,
) -> known::Settings {
    let mut settings = known::Settings::default();
    let Some(section) = top.section("knownValues") else {
        return settings;
    };
    if let Some(watch) = section.flag("watch") {
        settings.watch = watch;
    }
    let lengths = limits::KNOWN_VALUE_BYTES_MIN..=1024;
    if let Some(bytes) = section.number("minimumBytes", lengths) {
        settings.minimum_bytes = bytes;
    }
    if !settings.watch && policy.is_some_and(Policy::masks_known_values) {
        warnings.push(
            "knownValues.watch is false: of the Secrets whose values a rule masks with `known-values` only those are \
             known that passed through the gateway, under a mask, since it was started"
                .to_owned(),
        );
    }
    section.finish();
    settings
}

fn report_unusable(top: &Section<'_>, key: &str, usable: Result<(), String>) {
    if let Err(problem) = usable {
        top.report_item(key, None, format!("cannot be used: {problem}"));
    }
}

/// One port cannot be listened on twice; 0 is another one each time.
fn report_shared_port(top: &Section<'_>, listener: SocketAddr, control: SocketAddr) {
    let (one, other) = (listener.ip(), control.ip());
    let overlap = one == other || one.is_unspecified() || other.is_unspecified();
    if overlap && listener.port() == control.port() && control.port() != 0 {
        let problem = format!("is taken by listener.address ({listener}); choose another port");
        top.report_item("control.address", None, problem);
    }
}

/// An address to listen on.
fn address(section: &Section<'_>) -> Option<SocketAddr> {
    let found = section.required("address")?;
    let parsed = found.value.parse::<SocketAddr>();
    match &parsed {
        Err(_) => found.report(
            section.document(),
            "must be an IP address and a port, such as 0.0.0.0:8443 or [::1]:8443",
        ),
        Ok(address) => {
            if let Err(error) = check_address(*address) {
                found.report(section.document(), format!("cannot be used: {error}"));
            }
        }
    }
    parsed.ok()
}

fn read_clusters(top: &Section<'_>) -> (Vec<ClusterSettings>, Clusters) {
    let sections = top.sections("clusters");
    if sections.is_empty() {
        top.report_key(
            "clusters",
            "is missing or empty; name the API server to serve",
        );
    }
    let mut clusters = Clusters::default();
    let mut sources = Vec::new();
    for section in sections {
        let name = read_cluster_name(&section, &mut clusters);
        let source = read_source(&section);
        if let Some(source) = &source {
            report_source(&section, source);
        }
        section.finish();
        if let (Some(name), Some(source)) = (name, source) {
            sources.push(ClusterSettings { name, source });
        }
    }
    (sources, clusters)
}

/// Reads `name` and `default`.
fn read_cluster_name(section: &Section<'_>, clusters: &mut Clusters) -> Option<String> {
    let name = section.required("name");
    if let Some(name) = &name {
        check_cluster_name(section, name);
        if clusters.names.contains(&name.value) {
            name.report(section.document(), "is the name of an earlier cluster too");
        }
        clusters.names.push(name.value.clone());
    }
    let name = name.map(|name| name.value);
    if section.flag("default").unwrap_or(false) {
        if let Some(earlier) = &clusters.default {
            section.report_key(
                "default",
                format!("cannot be true here too: cluster {earlier:?} is the default already"),
            );
        }
        clusters.default.clone_from(&name);
    }
    name
}

/// What is wrong with a credential, at the key that names it: a line of this file.
fn report_source(section: &Section<'_>, source: &Source) {
    section.document().reading_is_done(); // several problems may stand at one key
    for problem in upstream::check(source) {
        let what = format!("{} {}", problem.field, problem.message);
        let (what, file) = (what.trim_start(), problem.file.display());
        match source {
            Source::Kubeconfig { context, .. } => {
                let key = match problem.field.as_str() {
                    "contexts" if context.is_some() => "kubeconfig.context",
                    _ => "kubeconfig.file",
                };
                section.report_item(key, None, format!("names {file}: {what}"));
            }
            Source::InCluster(_) => {
                section.report_item("inCluster", None, format!("needs {file}: {what}"));
            }
        }
    }
    section.document().reading_goes_on();
}

/// The name is a path segment (`/clusters/NAME`) and a label in metrics: one spelling only.
fn check_cluster_name(section: &Section<'_>, name: &Found<String>) {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.value.len() > 63 || !name.value.bytes().all(inner) {
        name.report(
            section.document(),
            "must have at most 63 lower-case letters, digits and '-'",
        );
    }
}

fn read_source(section: &Section<'_>) -> Option<Source> {
    let in_cluster = section.section("inCluster");
    if let Some(empty) = &in_cluster {
        empty.finish();
    }
    let kubeconfig = section.section("kubeconfig");
    match (kubeconfig, in_cluster) {
        (Some(kubeconfig), None) => {
            let file = kubeconfig.required("file");
            let context = kubeconfig.text("context");
            kubeconfig.finish();
            Some(Source::Kubeconfig {
                file: path(section, &file?),
                context: context
                    .map(|found| found.value)
                    .filter(|context| !context.is_empty()),
            })
        }
        (None, Some(_)) => match InCluster::from_environment() {
            Ok(pod) => Some(Source::InCluster(pod)),
            Err(problem) => {
                let message = format!("{} {}", problem.field, problem.message);
                section.report_key("inCluster", message);
                None
            }
        },
        _ => {
            section.report("needs either kubeconfig or inCluster: {}, and not both");
            None
        }
    }
}

fn policy_files(top: &Section<'_>) -> Vec<Found<PathBuf>> {
    let Some(section) = top.required_section("policy") else {
        return Vec::new();
    };
    let files = section.texts("files");
    if files.is_empty() {
        section.report_item(
            "files",
            None,
            "is missing or empty; without a policy nothing is allowed",
        );
    }
    section.finish();
    files
        .into_iter()
        .map(|found| {
            let value = path(&section, &found);
            Found {
                value,
                at: found.at,
                field: found.field,
            }
        })
        .collect()
}

fn load_policy(
    top: &Section<'_>,
    files: &[Found<PathBuf>],
    others: &mut Vec<Problem>,
) -> Option<Policy> {
    if files.is_empty() {
        return None;
    }
    policy_file::load_named(top.document(), files)
        .map_err(|problems| others.extend(problems))
        .ok()
}

/// A path in the file, relative to the file.
fn path(section: &Section<'_>, found: &Found<String>) -> PathBuf {
    if found.value.is_empty() {
        found.report(section.document(), "is empty");
    }
    beside(section.document(), &found.value)
}

fn beside(document: &Document, path: &str) -> PathBuf {
    let folder = document.file().parent().unwrap_or_else(|| Path::new(""));
    folder.join(path)
}
