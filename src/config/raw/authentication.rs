//! The section `authentication`, in the words of Kubernetes' `AuthenticationConfiguration`.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use super::path;
use crate::config::document::Problem;
use crate::config::section::{Found, Section};
use crate::config::{policy_file, revocation_file};
use crate::identity::{
    AgentMapping, ClaimMappings, ClaimRule, ExtraMapping, IssuerSettings, PrefixedClaim,
    Revocations, Settings, SigningAlgorithm, check_authority,
};
use crate::limits;

/// What the section says.
pub(super) struct Authentication {
    pub(super) settings: Settings,
    pub(super) revocation_file: Option<PathBuf>,
    pub(super) revocations: Revocations,
}

/// Reads the section; what is wrong with the files it names goes to `others`.
pub(super) fn read(
    section: &Section<'_>,
    warnings: &mut Vec<String>,
    others: &mut Vec<Problem>,
) -> Option<Authentication> {
    let grace = section.duration(
        "streamGracePeriod",
        Duration::ZERO..=Duration::from_hours(24),
    );
    let sections = section.sections("jwt");
    let mut issuers = Vec::new();
    for issuer in &sections {
        let Some(settings) = read_issuer(issuer) else {
            continue;
        };
        issuer.document().reading_is_done();
        for (field, problem) in settings.problems() {
            issuer.report_item(field, None, problem);
        }
        issuer.document().reading_goes_on();
        issuers.push(settings);
    }
    let revocation_file = section.text("revocationFile");
    section.finish();
    let complete = issuers.len() == sections.len();
    let settings = Settings {
        issuers,
        stream_grace: grace.unwrap_or_default(),
    };
    if complete {
        for problem in settings.problems_together() {
            section.report_item("jwt", None, format!("is not usable: {problem}"));
        }
    }
    warnings.extend(settings.warnings());
    if !complete {
        return None;
    }
    let revocation_file = revocation_file.map(|found| Found {
        value: path(section, &found),
        at: found.at,
        field: found.field,
    });
    let revocations = match &revocation_file {
        Some(file) => {
            let issuers = settings.issuer_urls();
            revocation_file::load_named(section.document(), file, &issuers)
                .map_err(|problems| others.extend(problems))
                .ok()?
        }
        None => Revocations::default(),
    };
    Some(Authentication {
        settings,
        revocation_file: revocation_file.map(|file| file.value),
        revocations,
    })
}

fn read_issuer(section: &Section<'_>) -> Option<IssuerSettings> {
    let issuer = section.required_section("issuer");
    let url = issuer.as_ref().and_then(|issuer| issuer.required("url"));
    let mut settings = IssuerSettings::new(
        url.as_ref()
            .map(|url| url.value.clone())
            .unwrap_or_default(),
        Vec::new(),
    );
    if let Some(issuer) = &issuer {
        read_issuer_section(issuer, &mut settings);
    }
    settings.claim_validation_rules = section
        .sections("claimValidationRules")
        .iter()
        .filter_map(read_rule)
        .collect();
    if let Some(mappings) = section.section("claimMappings") {
        read_mappings(&mappings, &mut settings.claim_mappings);
    }
    let algorithms = section.texts("signingAlgorithms");
    if section.has("signingAlgorithms") {
        settings.signing_algorithms = algorithms
            .iter()
            .filter_map(|name| {
                SigningAlgorithm::from_str(&name.value)
                    .map_err(|problem| name.report(section.document(), problem))
                    .ok()
            })
            .collect();
    }
    if section.has("tokenTypes") {
        settings.token_types = values(section.texts("tokenTypes"));
    }
    let second = Duration::from_secs(1);
    if let Some(most) = section.duration("maxTokenLifetime", second..=Duration::from_hours(24 * 30))
    {
        settings.token_lifetime_max = most;
    }
    if let Some(skew) = section.duration("clockSkew", Duration::ZERO..=limits::CLOCK_SKEW_MAX) {
        settings.clock_skew = skew;
    }
    section.finish();
    url.map(|_| settings)
}

fn read_issuer_section(issuer: &Section<'_>, settings: &mut IssuerSettings) {
    settings.discovery_url = issuer.text("discoveryURL").map(|url| url.value);
    settings.audiences = values(issuer.texts("audiences"));
    settings.authorized_parties = values(issuer.texts("authorizedParties"));
    // One audience of the list must be in the token: the only policy Kubernetes has.
    issuer.word("audienceMatchPolicy", &[("MatchAny", ())]);
    let inline = issuer.text("certificateAuthority");
    let file = issuer.text("certificateAuthorityFile");
    if inline.is_some() && file.is_some() {
        issuer.report_key(
            "certificateAuthorityFile",
            "cannot stand beside certificateAuthority; keep one of them",
        );
    }
    if let Some(inline) = &inline
        && let Err(problem) = check_authority(Some(&inline.value))
    {
        inline.report(issuer.document(), problem);
    }
    if inline.is_none()
        && file.is_none()
        && let Err(problem) = check_authority(None)
    {
        issuer.report_item("certificateAuthority", None, problem);
    }
    settings.certificate_authority = inline
        .map(|found| found.value)
        .or_else(|| read_authority(issuer, &file?));
    issuer.finish();
}

fn read_authority(issuer: &Section<'_>, found: &Found<String>) -> Option<String> {
    let file = path(issuer, found);
    let problem = match policy_file::read(&file) {
        Ok(text) => match check_authority(Some(&text)) {
            Ok(()) => return Some(text),
            Err(problem) => problem,
        },
        Err(problem) => problem.message,
    };
    let message = format!("names {}: {problem}", file.display());
    found.report(issuer.document(), message);
    None
}

fn read_rule(section: &Section<'_>) -> Option<ClaimRule> {
    let claim = section.required("claim");
    let value = section.required("requiredValue");
    section.finish();
    Some(ClaimRule {
        claim: claim?.value,
        required_value: value?.value,
    })
}

fn read_mappings(section: &Section<'_>, mappings: &mut ClaimMappings) {
    if let Some(username) = prefixed(section, "username") {
        mappings.username = username;
    }
    if let Some(groups) = prefixed(section, "groups") {
        mappings.groups = Some(groups);
    }
    if let Some(uid) = section.section("uid") {
        mappings.uid = uid.required("claim").map(|claim| claim.value);
        uid.finish();
    }
    mappings.extra = section
        .sections("extra")
        .iter()
        .filter_map(|extra| {
            let key = extra.required("key");
            let claim = extra.required("claim");
            extra.finish();
            Some(ExtraMapping {
                key: key?.value,
                claim: claim?.value,
            })
        })
        .collect();
    if let Some(agent) = prefixed(section, "agent") {
        mappings.agent = AgentMapping::new(&agent.claim, &agent.prefix);
    }
    section.finish();
}

fn prefixed(section: &Section<'_>, key: &'static str) -> Option<PrefixedClaim> {
    let mapping = section.section(key)?;
    let claim = mapping.required("claim");
    let prefix = mapping.text("prefix");
    mapping.finish();
    Some(PrefixedClaim {
        claim: claim?.value,
        prefix: prefix.map(|prefix| prefix.value).unwrap_or_default(),
    })
}

fn values(found: Vec<Found<String>>) -> Vec<String> {
    found.into_iter().map(|found| found.value).collect()
}
