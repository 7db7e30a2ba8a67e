//! How identity is configured: the words of Kubernetes' structured authentication configuration
//! (KEP-3331, `AuthenticationConfiguration`), plus what a gateway for agents needs.

use std::str::FromStr;
use std::time::Duration;

use super::names;
use crate::limits;

/// The issuers whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The issuers; a token belongs to the one whose URL equals its `iss` byte for byte.
    pub issuers: Vec<IssuerSettings>,
    /// How long a watch or a session may outlive its token (the gateway ends them, not identity).
    pub stream_grace: Duration,
}

/// One issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// `issuer.url`: what `iss` must be, byte for byte.
    pub url: String,
    /// `issuer.discoveryURL`, when the discovery document is elsewhere than below `url`.
    pub discovery_url: Option<String>,
    /// `issuer.certificateAuthority`: the PEM certificates to trust instead of the machine's roots.
    pub certificate_authority: Option<String>,
    /// `issuer.audiences`: one of them must be in `aud`.
    pub audiences: Vec<String>,
    /// Which clients `azp` may name; empty means [`IssuerSettings::audiences`].
    pub authorized_parties: Vec<String>,
    /// Which `typ` headers are accepted, without regard to case; `JWT` accepts an absent one too.
    pub token_types: Vec<String>,
    /// `signingAlgorithms`: which algorithms a key may have.
    pub signing_algorithms: Vec<SigningAlgorithm>,
    /// `claimValidationRules`: claims that must have an exact value.
    pub claim_validation_rules: Vec<ClaimRule>,
    /// `claimMappings`: which claims become which part of an identity.
    pub claim_mappings: ClaimMappings,
    /// `maxTokenLifetime`: the most that `exp` may lie after `iat`.
    pub token_lifetime_max: Duration,
    /// `clockSkew`: how far the issuer's clock may be from ours.
    pub clock_skew: Duration,
    /// When keys are fetched and how long they last.
    pub key_timing: KeyTiming,
}

/// `claimMappings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMappings {
    /// The claim that names the user.
    pub username: PrefixedClaim,
    /// The claim that lists the groups; without one, users have no groups.
    pub groups: Option<PrefixedClaim>,
    /// The claim that holds the user's uid.
    pub uid: Option<String>,
    /// Claims that become extra attributes.
    pub extra: Vec<ExtraMapping>,
    /// Where a delegated token names its agent.
    pub agent: AgentMapping,
}

/// A top-level claim, by its exact name, and what is put in front of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixedClaim {
    /// The claim's name; dots and slashes in it mean nothing.
    pub claim: String,
    /// Put in front of every value exactly once, even if the value already begins so.
    pub prefix: String,
}

/// `extra`: a claim that becomes an attribute of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraMapping {
    /// The attribute's key: a lower-case domain, a slash and a path.
    pub key: String,
    /// The claim's name.
    pub claim: String,
}

/// Where a token names the agent that acts for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentMapping {
    /// The claim that holds the actor object (RFC 8693 §4.1: `act`), nested for chains.
    pub container: Option<String>,
    /// The member of that object, or, without container, the top-level claim, that is the name.
    pub claim: String,
    /// Put in front of every agent's name.
    pub prefix: String,
}

/// `claimValidationRules`: a claim and the string it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// The claim's name.
    pub claim: String,
    /// Its only accepted value.
    pub required_value: String,
}

/// When keys are fetched and how long they last; the defaults are in [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTiming {
    /// Between two regular fetches.
    pub refresh: Duration,
    /// Between two fetches that unknown key ids cause.
    pub refetch_pause: Duration,
    /// For how long the last good keys are used while the issuer does not answer.
    pub stale_max: Duration,
    /// How long one fetch may take.
    pub fetch_timeout: Duration,
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037). There is no HMAC and no `none` among them: a
/// public key can never be taken for a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum SigningAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl IssuerSettings {
    /// An issuer with the defaults: user from `sub`, groups from `groups`, no prefixes, ID tokens
    /// signed with RS256, ES256 or `EdDSA`.
    pub fn new(url: impl Into<String>, audiences: Vec<String>) -> Self {
        let plain = |claim: &str| PrefixedClaim {
            claim: claim.to_owned(),
            prefix: String::new(),
        };
        Self {
            url: url.into(),
            discovery_url: None,
            certificate_authority: None,
            audiences,
            authorized_parties: Vec::new(),
            token_types: vec!["JWT".to_owned()],
            signing_algorithms: vec![
                SigningAlgorithm::RS256,
                SigningAlgorithm::ES256,
                SigningAlgorithm::EdDSA,
            ],
            claim_validation_rules: Vec::new(),
            claim_mappings: ClaimMappings {
                username: plain("sub"),
                groups: Some(plain("groups")),
                uid: None,
                extra: Vec::new(),
                agent: AgentMapping::default(),
            },
            token_lifetime_max: limits::TOKEN_LIFETIME_DEFAULT,
            clock_skew: limits::CLOCK_SKEW_DEFAULT,
            key_timing: KeyTiming::default(),
        }
    }
}

impl Default for KeyTiming {
    fn default() -> Self {
        Self {
            refresh: limits::ISSUER_KEYS_REFRESH,
            refetch_pause: limits::ISSUER_KEYS_REFETCH_PAUSE,
            stale_max: limits::ISSUER_KEYS_STALE_MAX,
            fetch_timeout: limits::ISSUER_FETCH_TIMEOUT,
        }
    }
}

impl Default for AgentMapping {
    fn default() -> Self {
        Self::new("act.sub", "")
    }
}

impl AgentMapping {
    /// Reads `act.sub`, or another path: what is before the last dot is the actor object's claim,
    /// what is after it the member that names the agent. Without a dot it is a top-level claim.
    pub fn new(claim: &str, prefix: &str) -> Self {
        let (container, claim) = match claim.rsplit_once('.') {
            Some((container, claim)) => (Some(container.to_owned()), claim),
            None => (None, claim),
        };
        Self {
            container,
            claim: claim.to_owned(),
            prefix: prefix.to_owned(),
        }
    }
}

impl SigningAlgorithm {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
}

impl FromStr for SigningAlgorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{name:?} is not an accepted signature algorithm; use one of {names}")
            })
    }
}

impl Settings {
    /// The URL of every issuer.
    pub fn issuer_urls(&self) -> Vec<String> {
        self.issuers
            .iter()
            .map(|issuer| issuer.url.clone())
            .collect()
    }

    /// Everything that makes these settings unsafe or meaningless; empty if they can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for issuer in &self.issuers {
            let url = &issuer.url;
            problems.extend(
                issuer
                    .problems()
                    .into_iter()
                    .map(|(field, problem)| format!("issuer {url:?}: {field} {problem}")),
            );
        }
        problems.extend(self.problems_together());
        problems
    }

    /// The problems that no issuer has alone.
    pub fn problems_together(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.issuers.is_empty() {
            problems.push("no issuer is configured, so nobody could be let in; add one".to_owned());
        }
        for (index, first) in self.issuers.iter().enumerate() {
            for second in self.issuers.iter().skip(index + 1) {
                problems.extend(collision(first, second));
            }
        }
        problems
    }

    /// What works but deserves a second look.
    pub fn warnings(&self) -> Vec<String> {
        let unprefixed = self
            .issuers
            .iter()
            .filter(|issuer| issuer.claim_mappings.username.prefix.is_empty());
        let mut warnings: Vec<String> = unprefixed
            .map(|issuer| {
                format!(
                    "issuer {:?} has no username prefix: its users share their names with the cluster's other \
                     users, such as those of client certificates; set claimMappings.username.prefix",
                    issuer.url
                )
            })
            .collect();
        if self.issuers.len() > 1
            && self
                .issuers
                .iter()
                .any(|issuer| issuer.claim_mappings.agent.prefix.is_empty())
        {
            warnings.push(
                "several issuers are configured and not all have an agent prefix: agents of different issuers \
                 may share a name; set claimMappings.agent.prefix"
                    .to_owned(),
            );
        }
        warnings
    }
}

impl IssuerSettings {
    /// What is wrong, each with the field it is about, and worded to follow the field's name.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut is_wrong = |field, problem: String| problems.push((field, problem));
        if let Some(problem) = url_problem(&self.url) {
            is_wrong("issuer.url", problem);
        }
        if let Some(problem) = self.discovery_url.as_deref().and_then(url_problem) {
            is_wrong("issuer.discoveryURL", problem);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            let problem = "must name the gateway's client id at this issuer";
            is_wrong("issuer.audiences", problem.to_owned());
        }
        if self.signing_algorithms.is_empty() {
            let problem = "is empty; leave it out for RS256, ES256 and EdDSA";
            is_wrong("signingAlgorithms", problem.to_owned());
        }
        if self.token_types.is_empty() {
            is_wrong("tokenTypes", "is empty; leave it out for JWT".to_owned());
        }
        if self.clock_skew > limits::CLOCK_SKEW_MAX {
            let most = limits::CLOCK_SKEW_MAX.as_secs();
            is_wrong("clockSkew", format!("is more than {most} s"));
        }
        if self.token_lifetime_max.is_zero() {
            let problem = "is zero, so no token would be accepted";
            is_wrong("maxTokenLifetime", problem.to_owned());
        }
        if self
            .claim_validation_rules
            .iter()
            .any(|rule| rule.claim.is_empty())
        {
            let problem = "has a rule that names no claim";
            is_wrong("claimValidationRules", problem.to_owned());
        }
        self.claim_mappings.problems(&mut problems);
        problems
    }
}

impl ClaimMappings {
    fn problems(&self, problems: &mut Vec<(&'static str, String)>) {
        let groups = self.groups.as_ref();
        let claims = [
            Some(&self.username.claim),
            groups.map(|groups| &groups.claim),
            self.uid.as_ref(),
        ];
        let extra = self.extra.iter().map(|mapping| &mapping.claim);
        if claims
            .into_iter()
            .flatten()
            .chain(extra)
            .chain([&self.agent.claim])
            .any(String::is_empty)
        {
            problems.push(("claimMappings", "has an empty claim name".to_owned()));
        }
        let prefixes = [
            ("claimMappings.username.prefix", Some(&self.username.prefix)),
            (
                "claimMappings.groups.prefix",
                groups.map(|groups| &groups.prefix),
            ),
            ("claimMappings.agent.prefix", Some(&self.agent.prefix)),
        ];
        for (field, prefix) in prefixes {
            let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
                continue;
            };
            if let Err(error) = names::check(&format!("{prefix}x"), limits::USERNAME_BYTES_MAX) {
                problems.push((field, format!("{prefix:?} cannot be used: {error}")));
            }
        }
        for (index, mapping) in self.extra.iter().enumerate() {
            let key = &mapping.key;
            let earlier = self.extra.iter().take(index);
            let problem = if let Err(problem) = check_extra_key(key) {
                format!("cannot have the key {key:?}: {problem}")
            } else if earlier.into_iter().any(|other| other.key == *key) {
                format!("maps the key {key:?} twice")
            } else {
                continue;
            };
            problems.push(("claimMappings.extra", problem));
        }
    }
}

/// Kubernetes' rule for extra keys, with our own domain reserved as well.
fn check_extra_key(key: &str) -> Result<(), &'static str> {
    const RESERVED: [&str; 3] = ["kubernetes.io", "k8s.io", "portcullis.dev"];
    let Some((domain, path)) = key.split_once('/') else {
        return Err("it must be a domain, a slash and a path, such as example.com/team");
    };
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let in_path =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~/".contains(&byte);
    if !domain.split('.').all(label) || path.is_empty() || !path.bytes().all(in_path) {
        return Err("it must be a lower-case domain, a slash and a lower-case path");
    }
    let within = |reserved: &str| domain == reserved || domain.ends_with(&format!(".{reserved}"));
    if RESERVED.iter().any(|reserved| within(reserved)) {
        return Err("its domain is reserved for Kubernetes and Portcullis");
    }
    Ok(())
}

fn url_problem(url: &str) -> Option<String> {
    let problem = match https_authority(url) {
        Err(problem) => problem,
        // As in Kubernetes. A jwks_uri may have one: Azure AD B2C names the policy there.
        Ok(_) if url.contains('?') => "it must have no query",
        Ok(_) => return None,
    };
    Some(format!("{url:?} cannot be used: {problem}"))
}

/// The host and port of an `https` URL without user and fragment.
pub(super) fn https_authority(url: &str) -> Result<(String, u16), &'static str> {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return Err("it is not a URL");
    };
    if uri.scheme_str() != Some("https") || !url.starts_with("https://") {
        return Err("it must begin with https://");
    }
    let user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if user || url.contains('#') {
        return Err("it must have no user and no fragment");
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok((host.to_owned(), uri.port_u16().unwrap_or(443))),
        _ => Err("it has no host"),
    }
}

/// Why a user or group of one issuer could be taken for one of the other.
fn collision(first: &IssuerSettings, second: &IssuerSettings) -> Option<String> {
    if first.url == second.url {
        return Some(format!(
            "issuer {:?} is configured twice; join the two entries",
            first.url
        ));
    }
    let overlap =
        |first: &str, second: &str| first.starts_with(second) || second.starts_with(first);
    let (one, two) = (&first.claim_mappings, &second.claim_mappings);
    let groups = one.groups.as_ref().zip(two.groups.as_ref());
    if overlap(&one.username.prefix, &two.username.prefix)
        || groups.is_some_and(|(one, two)| overlap(&one.prefix, &two.prefix))
    {
        return Some(format!(
            "issuers {:?} and {:?} have prefixes of which one begins with the other, so a user or group of one \
             could pass for one of the other; give each its own username and groups prefix",
            first.url, second.url
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a02_hmac_and_none_cannot_be_configured() {
        for name in [
            "HS256", "HS384", "HS512", "none", "None", "", "rs256", "ES512",
        ] {
            assert!(name.parse::<SigningAlgorithm>().is_err(), "{name}");
        }
        for algorithm in SigningAlgorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
    }

    #[test]
    fn a19_prefixes_that_could_be_confused_are_refused() {
        let with = |user: [&str; 2], groups: [&str; 2]| {
            let issuers = [0, 1].map(|index| {
                let mut issuer =
                    IssuerSettings::new(format!("https://issuer-{index}"), vec!["a".to_owned()]);
                user[index].clone_into(&mut issuer.claim_mappings.username.prefix);
                issuer.claim_mappings.groups = Some(PrefixedClaim {
                    claim: "groups".to_owned(),
                    prefix: groups[index].to_owned(),
                });
                issuer
            });
            Settings {
                issuers: issuers.to_vec(),
                stream_grace: Duration::ZERO,
            }
        };
        assert_eq!(
            with(["a:", "b:"], ["a:", "b:"]).problems(),
            Vec::<String>::new()
        );
        for (user, groups) in [
            (["a:", "a:"], ["a:", "b:"]),
            (["a:", "b:"], ["a:", "a:"]),
            (["", "b:"], ["a:", "b:"]),
            (["a:", "a:b:"], ["a:", "b:"]),
            (["", ""], ["", ""]),
        ] {
            let problems = with(user, groups).problems();
            assert!(
                problems.iter().any(|problem| problem.contains("prefix")),
                "{user:?} {groups:?}"
            );
        }
        assert_eq!(with(["", "b:"], ["a:", "b:"]).warnings().len(), 2); // user and agent prefix
    }

    #[test]
    fn unsafe_issuers_are_refused_with_a_reason() {
        type Change = fn(&mut IssuerSettings);
        let cases: [(&str, Change); 16] = [
            ("must begin with", |issuer| {
                issuer.url = "http://issuer".to_owned();
            }),
            ("must begin with", |issuer| {
                issuer.url = "HTTPS://issuer".to_owned();
            }),
            ("not a URL", |issuer| issuer.url = "https://a b".to_owned()),
            ("no user", |issuer| {
                issuer.url = "https://u:p@issuer".to_owned();
            }),
            ("no query", |issuer| {
                issuer.url = "https://issuer/?a=b".to_owned();
            }),
            ("not a URL", |issuer| {
                issuer.discovery_url = Some("file:///etc/passwd".to_owned());
            }),
            ("audiences", |issuer| issuer.audiences.clear()),
            ("clockSkew", |issuer| {
                issuer.clock_skew = Duration::from_secs(61);
            }),
            ("maxTokenLifetime", |issuer| {
                issuer.token_lifetime_max = Duration::ZERO;
            }),
            ("signingAlgorithms", |issuer| {
                issuer.signing_algorithms.clear();
            }),
            ("empty claim", |issuer| {
                issuer.claim_mappings.username.claim.clear();
            }),
            ("system:", |issuer| {
                issuer.claim_mappings.username.prefix = "system:node:".to_owned();
            }),
            ("reserved", |issuer| {
                extra(issuer, "authentication.kubernetes.io/x");
            }),
            ("reserved", |issuer| extra(issuer, "portcullis.dev/agent")),
            ("lower-case", |issuer| extra(issuer, "example.com/Team")),
            ("a slash", |issuer| extra(issuer, "team")),
        ];
        for (expected, change) in cases {
            let mut issuer =
                IssuerSettings::new("https://issuer.test", vec!["portcullis".to_owned()]);
            change(&mut issuer);
            let problems = Settings {
                issuers: vec![issuer],
                stream_grace: Duration::ZERO,
            }
            .problems();
            assert!(
                problems.iter().any(|problem| problem.contains(expected)),
                "{expected}: {problems:?}"
            );
        }
    }

    fn extra(issuer: &mut IssuerSettings, key: &str) {
        issuer.claim_mappings.extra = vec![ExtraMapping {
            key: key.to_owned(),
            claim: "c".to_owned(),
        }];
    }
}
