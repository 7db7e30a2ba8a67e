//! Whether a write is certainly a dry run.
//!
//! `?dryRun=All` deletes for real when a DELETE carries a body, and mints a working token on
//! `serviceaccounts/token`. So the query text alone never relaxes anything. Nor does it for groups that somebody else's
//! API server may serve, which need not know the parameter.

use serde::Deserialize;

use super::RequestInfo;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions {
    #[serde(default)]
    dry_run: Vec<String>,
}

impl RequestInfo {
    /// Whether the API server will certainly not persist this write. `body` is the complete request
    /// body, empty when there is none. Unsure is `false`.
    pub fn is_dry_run(&self, body: &[u8]) -> bool {
        self.has_dry_run_semantics()
            && self.is_kubernetes_own()
            && self.query.has_literal("dryRun=All")
            && self.query.all("dryRun").eq(["All"])
            && (!self.verb.starts_with("delete") || body.is_empty() || says_dry_run(body))
    }

    /// Where to ask what this write would make, without anything being made; `None` where the API server
    /// would not certainly leave it at that.
    pub fn dry_run_target(&self) -> Option<String> {
        let whole = matches!(self.verb.as_str(), "create" | "update" | "patch");
        if !whole || !self.has_dry_run_semantics() || !self.is_kubernetes_own() {
            return None;
        }
        let own: Vec<&str> = self.query.all("dryRun").collect();
        match own.as_slice() {
            [] if self.query.raw().is_empty() => Some(format!("{}?dryRun=All", self.raw_path)),
            [] => Some(format!("{}&dryRun=All", self.target())),
            ["All"] if self.query.has_literal("dryRun=All") => Some(self.target()),
            _ => None,
        }
    }

    /// Whether the API server itself serves the group. One that an aggregated API server of somebody's serves
    /// may not know `dryRun`.
    fn is_kubernetes_own(&self) -> bool {
        matches!(
            self.api_group.as_str(),
            "" | "apps" | "autoscaling" | "batch" | "extensions" | "policy"
        ) || self.api_group.ends_with(".k8s.io")
    }

    /// Object writes honour `dryRun`. Whatever acts by being asked (tokens, certificates, sessions,
    /// evictions, reviews) never counts.
    fn has_dry_run_semantics(&self) -> bool {
        self.is_resource_request
            && matches!(
                self.verb.as_str(),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            )
            && matches!(
                self.subresource.as_str(),
                "" | "status" | "scale" | "ephemeralcontainers" | "resize"
            )
            && self.parts.len() <= 3
            && !matches!(
                self.api_group.as_str(),
                "certificates.k8s.io" | "authentication.k8s.io" | "authorization.k8s.io"
            )
    }
}

/// The options in a DELETE's body replace those of the query. Repeated keys, other encodings and
/// anything but `["All"]` are not a dry run.
fn says_dry_run(body: &[u8]) -> bool {
    serde_json::from_slice::<DeleteOptions>(body).is_ok_and(|options| options.dry_run == ["All"])
}
