//! Which fields of which resources a mask hides.
//!
//! A [`MaskRule`] names fields by path. All rules that apply to one resource are compiled into one
//! [`MaskPlan`], an automaton over keys and array elements that a scanner drives; the plan knows
//! nothing of bytes. The document's own `kind` is never consulted: the plan is rooted at every place
//! where the API server puts an object (see `plan`).

mod builtin;
mod name;
mod path;
mod plan;

pub use self::builtin::{BUILTIN, builtin};
pub use self::name::MaskName;
pub use self::path::{FieldPath, FieldPathError, Pattern, Segment};
pub use self::plan::{Action, Condition, Leaf, Look, MaskPlan, Root, Shape, StateId};

/// The annotation in which `kubectl apply` keeps the applied manifest, as JSON text. Every mask is
/// applied to the document inside it too.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Where `kapp` keeps the manifest that it applied, in full and as JSON, Secrets' too.
pub const KAPP_ORIGINAL: &str = "kapp.k14s.io/original";

/// Subresources whose bodies are not the object, and which a mask for the resource does not cover.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Fields of some resources that may only be read masked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MaskRule {
    /// The name that policy rules refer to and warnings show.
    pub name: String,
    /// API groups as in RBAC; `*` is any.
    pub api_groups: Vec<String>,
    /// Resources as in RBAC: `secrets`, `pods/status`, `*`, `*/status`. A resource without a
    /// subresource covers those that answer with the object.
    pub resources: Vec<String>,
    /// What is hidden as a whole.
    pub fields: Vec<FieldPath>,
    /// Texts of which only what looks like a credential is hidden.
    pub credentials: Vec<FieldPath>,
    /// Arrays of a command's arguments, in which values of flags such as `--password` are hidden too.
    pub arguments: Vec<FieldPath>,
    /// What is hidden wherever it turns up, in any text.
    pub texts: Texts,
}

/// What is looked for in texts, wherever it stands: in logs, in the output of commands, and as far as
/// known values go in every string of an object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Texts {
    /// Values of Secrets that the gateway knows.
    pub known_values: bool,
    /// What looks like a credential.
    pub credentials: bool,
}

impl Texts {
    /// Is there anything to look for?
    pub fn any(self) -> bool {
        self.known_values || self.credentials
    }

    fn and(self, other: Self) -> Self {
        Self {
            known_values: self.known_values || other.known_values,
            credentials: self.credentials || other.credentials,
        }
    }
}

impl MaskRule {
    /// Does it hide something of every object that has the field, whatever the field is called or holds?
    pub fn is_certain(&self) -> bool {
        let certain = |segment: &Segment| {
            !matches!(
                segment,
                Segment::KeyLike(_) | Segment::ElementWhere(..) | Segment::Deep
            )
        };
        let mut fields = self.fields.iter();
        fields.any(|field| field.segments().iter().all(certain))
    }

    /// Must the texts of errors be withheld, as they may quote what it hides? Its own fields can be anything. Those of
    /// built-in masks are told by their names, and texts that name them are known.
    pub fn is_quotable(&self) -> bool {
        let own = !BUILTIN.contains(&self.name.as_str());
        self.is_certain() || own && !self.fields.is_empty()
    }

    /// The paths of everything it hides, as a whole or in part.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        let fields = self.fields.iter();
        fields.chain(&self.credentials).chain(&self.arguments)
    }

    /// What it hides, as a policy would say it.
    pub fn describe(&self) -> Vec<String> {
        let fields = self.fields.iter().map(ToString::to_string);
        let credentials = self.credentials.iter();
        let arguments = self.arguments.iter();
        let known = self
            .texts
            .known_values
            .then_some("values of Secrets, wherever they turn up");
        let found = self
            .texts
            .credentials
            .then_some("what looks like a credential");
        fields
            .chain(credentials.map(|path| format!("{path} (credentials in it)")))
            .chain(arguments.map(|path| format!("{path} (credentials among arguments)")))
            .chain(known.into_iter().chain(found).map(str::to_owned))
            .collect()
    }

    /// Does the rule apply to `resource` (`secrets` or `pods/status`) of `api_group`?
    pub fn applies_to(&self, api_group: &str, resource: &str) -> bool {
        let group = self
            .api_groups
            .iter()
            .any(|group| group == "*" || group == api_group);
        group
            && self
                .resources
                .iter()
                .any(|wanted| resource_matches(wanted, resource))
    }
}

fn resource_matches(wanted: &str, resource: &str) -> bool {
    let (parent, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    match wanted.split_once('/') {
        Some((wanted_parent, wanted_subresource)) => {
            (wanted_parent == "*" || wanted_parent == parent)
                && !subresource.is_empty()
                && (wanted_subresource == "*" || wanted_subresource == subresource)
        }
        None => (wanted == "*" || wanted == parent) && !STREAMS.contains(&subresource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_the_object_and_its_subresources_but_no_streams() {
        let rule = |resources: &[&str]| MaskRule {
            name: "m".to_owned(),
            api_groups: vec![String::new(), "apps".to_owned()],
            resources: resources.iter().map(ToString::to_string).collect(),
            ..MaskRule::default()
        };
        let pods = rule(&["pods"]);
        assert!(pods.applies_to("", "pods"));
        assert!(pods.applies_to("apps", "pods/status"));
        assert!(!pods.applies_to("batch", "pods"));
        assert!(!pods.applies_to("", "pods/log"));
        assert!(!pods.applies_to("", "pod"));
        assert!(rule(&["pods/log"]).applies_to("", "pods/log"));
        assert!(!rule(&["pods/log"]).applies_to("", "pods"));
        assert!(rule(&["*"]).applies_to("", "secrets/status"));
        assert!(!rule(&["*"]).applies_to("", "pods/exec"));
        assert!(rule(&["*/status"]).applies_to("", "pods/status"));
        assert!(!rule(&["*/status"]).applies_to("", "pods"));
    }
}
