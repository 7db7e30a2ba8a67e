//! From verified claims to an [`Identity`]: who the token names, in Kubernetes' terms.
//!
//! The mapping is that of Kubernetes' structured authentication (KEP-3331): a username, groups,
//! uid and extra attributes from top-level claims, prefixes in front. What Kubernetes leaves to
//! the cluster's owner is decided closed here: names that could be read twice, `system:` names,
//! groups that are missing because there are too many, and delegations that are not understood
//! refuse the token instead of being dropped from it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::identity::error::{CallerError, IdentityError, TokenError};
use crate::identity::settings::{AgentMapping, ExtraMapping, IssuerSettings, PrefixedClaim};
use crate::identity::{Agent, Identity, names};
use crate::limits::{
    ACTORS_MAX, EXTRA_BYTES_MAX, EXTRA_VALUES_MAX, GROUP_BYTES_MAX, GROUPS_BYTES_MAX, GROUPS_MAX,
    USERNAME_BYTES_MAX,
};

/// The claims of a token.
pub(in crate::identity) type Claims = Map<String, Value>;

/// What verification has read of the claims already.
#[derive(Clone, Copy, Debug)]
pub(in crate::identity) struct Checked<'a> {
    pub(in crate::identity) subject: &'a str,
    pub(in crate::identity) issued_at: Timestamp,
    /// Skew included.
    pub(in crate::identity) expires_at: Timestamp,
}

/// Maps the claims of a token whose signature, times and audience were verified.
pub(in crate::identity) fn identity(
    claims: &Claims,
    issuer: &IssuerSettings,
    checked: Checked<'_>,
) -> Result<Identity, IdentityError> {
    check_rules(claims, issuer)?;
    let mappings = &issuer.claim_mappings;
    Ok(Identity {
        username: username(claims, &mappings.username)?,
        uid: match &mappings.uid {
            Some(claim) => uid(claims, claim)?,
            None => None,
        },
        groups: match &mappings.groups {
            Some(mapping) => groups(claims, mapping)?,
            None => Vec::new(),
        },
        extra: extra(claims, &mappings.extra)?,
        agent: agent(claims, &mappings.agent)?,
        issuer: issuer.url.clone(),
        subject: checked.subject.to_owned(),
        token_id: token_id(claims)?,
        issued_at: checked.issued_at,
        expires_at: checked.expires_at,
    })
}

/// A claim that must be a non-empty string.
pub(in crate::identity) fn required_text<'a>(
    claims: &'a Claims,
    name: &str,
) -> Result<&'a str, TokenError> {
    match claims.get(name) {
        None => Err(TokenError::claim(name, "is missing")),
        Some(Value::String(text)) if text.is_empty() => Err(TokenError::claim(name, "is empty")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(TokenError::claim(name, "is not a string")),
    }
}

/// `claimValidationRules`: the claim must be there and be exactly the required string.
fn check_rules(claims: &Claims, issuer: &IssuerSettings) -> Result<(), TokenError> {
    for rule in &issuer.claim_validation_rules {
        if claims.get(&rule.claim).and_then(Value::as_str) != Some(rule.required_value.as_str()) {
            return Err(TokenError::claim(
                &rule.claim,
                "is not what claimValidationRules require",
            ));
        }
    }
    Ok(())
}

fn username(claims: &Claims, mapping: &PrefixedClaim) -> Result<String, IdentityError> {
    let name = match claims.get(&mapping.claim) {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(Value::String(_)) | None => {
            return Err(CallerError::NoUser(mapping.claim.clone()).into());
        }
        Some(_) => return Err(TokenError::claim(&mapping.claim, "is not a string").into()),
    };
    if mapping.claim == "email" {
        check_email(claims, name)?;
    }
    Ok(prefixed(
        "username",
        &mapping.prefix,
        name,
        USERNAME_BYTES_MAX,
    )?)
}

/// As Kubernetes does: an address that the issuer says it has not verified is no name. Everything
/// but the boolean `true` says so; an absent `email_verified` says nothing.
fn check_email(claims: &Claims, address: &str) -> Result<(), TokenError> {
    if claims
        .get("email_verified")
        .is_some_and(|verified| verified != &Value::Bool(true))
    {
        return Err(TokenError::claim(
            "email_verified",
            "is not the boolean true; verify the address at the issuer",
        ));
    }
    let unusual =
        |character: char| character.is_whitespace() || "\"'()<>,;:\\[]".contains(character);
    match address.split_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !address.contains(unusual) =>
        {
            Ok(())
        }
        _ => Err(TokenError::claim(
            "email",
            "is not a plain address with exactly one @",
        )),
    }
}

fn groups(claims: &Claims, mapping: &PrefixedClaim) -> Result<Vec<String>, IdentityError> {
    check_overage(claims, &mapping.claim)?;
    let wrong = || TokenError::claim(&mapping.claim, "is neither a string nor a list of strings");
    let values = match claims.get(&mapping.claim) {
        None => return Ok(Vec::new()),
        Some(value) => strings(value).ok_or_else(wrong)?,
    };
    if values.len() > GROUPS_MAX {
        return Err(CallerError::TooManyGroups {
            max: GROUPS_MAX,
            unit: "groups",
        }
        .into());
    }
    let mut groups = BTreeSet::new();
    let mut bytes = 0;
    for value in values {
        if value.is_empty() {
            return Err(CallerError::name("group", value, names::NameError::Empty).into());
        }
        let group = prefixed("group", &mapping.prefix, value, GROUP_BYTES_MAX)?;
        bytes += group.len();
        groups.insert(group);
    }
    if bytes > GROUPS_BYTES_MAX {
        return Err(CallerError::TooManyGroups {
            max: GROUPS_BYTES_MAX,
            unit: "bytes",
        }
        .into());
    }
    Ok(groups.into_iter().collect())
}

/// Some issuers leave a long group list out and leave a note instead (distributed claims, OIDC
/// Core §5.6.2). Such a caller is not without groups, its groups are unknown: a rule that
/// denies one of them could not match.
fn check_overage(claims: &Claims, claim: &str) -> Result<(), CallerError> {
    if claims
        .get("_claim_names")
        .is_some_and(|names| names.get(claim).is_some() || !names.is_object())
    {
        return Err(CallerError::GroupsUnknown(
            "_claim_names says they are elsewhere",
        ));
    }
    let left_out = claims
        .get("hasgroups")
        .is_some_and(|value| value != &Value::Bool(false));
    if claim == "groups" && left_out {
        return Err(CallerError::GroupsUnknown(
            "hasgroups says they were left out",
        ));
    }
    Ok(())
}

fn uid(claims: &Claims, claim: &str) -> Result<Option<String>, IdentityError> {
    let uid = match claims.get(claim) {
        None => return Ok(None),
        Some(Value::String(uid)) if uid.is_empty() => return Ok(None),
        Some(Value::String(uid)) => uid,
        Some(_) => return Err(TokenError::claim(claim, "is not a string").into()),
    };
    names::check_text(uid, EXTRA_BYTES_MAX)
        .map_err(|problem| CallerError::name("uid", uid, problem))?;
    Ok(Some(uid.clone()))
}

/// Like Kubernetes, an absent claim and empty values give no attribute.
fn extra(
    claims: &Claims,
    mappings: &[ExtraMapping],
) -> Result<BTreeMap<String, Vec<String>>, IdentityError> {
    let mut extra = BTreeMap::new();
    for mapping in mappings {
        let Some(value) = claims.get(&mapping.claim) else {
            continue;
        };
        let wrong =
            || TokenError::claim(&mapping.claim, "is neither a string nor a list of strings");
        let mut values = strings(value).ok_or_else(wrong)?;
        values.retain(|value| !value.is_empty());
        if values.len() > EXTRA_VALUES_MAX {
            return Err(TokenError::claim(&mapping.claim, "has too many values").into());
        }
        for value in &values {
            names::check_text(value, EXTRA_BYTES_MAX)
                .map_err(|problem| CallerError::name(&mapping.key, value, problem))?;
        }
        if !values.is_empty() {
            extra.insert(
                mapping.key.clone(),
                values.into_iter().map(str::to_owned).collect(),
            );
        }
    }
    Ok(extra)
}

/// Who acts for the user (RFC 8693 §4.1). A delegation that is not completely understood refuses
/// the token: dropped, it would turn an agent into the human it acts for.
fn agent(claims: &Claims, mapping: &AgentMapping) -> Result<Option<Agent>, IdentityError> {
    let Some(container) = &mapping.container else {
        if claims.contains_key("act") {
            return Err(actor(
                "it has an `act` claim, but claimMappings.agent names another claim",
            )
            .into());
        }
        return match claims.get(&mapping.claim) {
            None => Ok(None),
            Some(Value::String(name)) => {
                let name = prefixed("agent", &mapping.prefix, name, USERNAME_BYTES_MAX)?;
                Ok(Some(Agent {
                    name,
                    chain: Vec::new(),
                }))
            }
            Some(_) => Err(TokenError::claim(&mapping.claim, "is not a string").into()),
        };
    };
    if container != "act" && claims.contains_key("act") {
        return Err(
            actor("it has an `act` claim, but claimMappings.agent names another claim").into(),
        );
    }
    let mut names = Vec::new();
    let mut next = claims.get(container);
    while let Some(value) = next {
        if names.len() == ACTORS_MAX {
            return Err(actor("more actors than the limit").into());
        }
        let Value::Object(object) = value else {
            return Err(actor("an actor is not an object").into());
        };
        let Some(Value::String(name)) = object.get(&mapping.claim) else {
            return Err(actor("an actor has no name, or one that is not a string").into());
        };
        if object
            .get("iss")
            .is_some_and(|issuer| Some(issuer) != claims.get("iss"))
        {
            return Err(actor("an actor belongs to another issuer").into());
        }
        names.push(prefixed(
            "agent",
            &mapping.prefix,
            name,
            USERNAME_BYTES_MAX,
        )?);
        next = object.get(container);
    }
    let mut names = names.into_iter();
    Ok(names.next().map(|name| Agent {
        name,
        chain: names.collect(),
    }))
}

fn actor(problem: &str) -> TokenError {
    TokenError::Actor(problem.to_owned())
}

fn token_id(claims: &Claims) -> Result<Option<String>, IdentityError> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(id)) => {
            names::check_text(id, EXTRA_BYTES_MAX)
                .map_err(|problem| CallerError::name("jti", id, problem))?;
            Ok(Some(id.clone()))
        }
        Some(_) => Err(TokenError::claim("jti", "is not a string").into()),
    }
}

/// Prefixes exactly once and judges the result, and the name without its prefix as well: a prefix
/// must not make a refused name presentable.
fn prefixed(what: &str, prefix: &str, name: &str, max: usize) -> Result<String, CallerError> {
    let full = format!("{prefix}{name}");
    names::check_text(name, max)
        .and_then(|()| names::check(&full, max))
        .map_err(|problem| CallerError::name(what, &full, problem))?;
    Ok(full)
}

/// A string as a list of one, a list of strings as it is.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
