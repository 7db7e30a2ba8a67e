//! A decision as a value that only the decider can make.

use std::sync::Arc;

use super::Reason;
use super::condition::{Seen, Wanted};
use super::hold::Hold;
use super::mask::{FieldPath, MaskPlan};
use super::record::{self, RecordMode, RecordObligation};
use crate::approval::Admission;
use crate::approval::Grant;
use crate::identity::Identity;

/// The permission for one request, with its obligations. Whoever sends something upstream takes one
/// as an argument, so nothing is sent without a decision.
#[derive(Clone, Debug)]
pub struct Permit {
    identity: Arc<Identity>,
    rule: Arc<str>,
    cluster: Arc<str>,
    policy_version: Arc<str>,
    mask: Option<Arc<Mask>>,
    record: Option<RecordObligation>,
    responses: Option<RecordMode>,
    strict_audit: bool,
    /// Who said yes to it and under which terms, where a rule holds it.
    admitted: Option<(Arc<Admission>, Arc<Hold>)>,
    /// The grants without whose roles it would not have been given.
    grants: Vec<Arc<Grant>>,
    /// What the policy would have decided, where it only observes.
    would: Option<Arc<Would>>,
    seen: Seen,
}

/// What a policy that only observes would have decided about a request that it let go on.
#[derive(Clone, Debug)]
pub enum Would {
    /// To deny it.
    Deny(Reason),
    /// To hold it under these terms.
    Hold(Arc<Hold>, Option<Arc<str>>),
}

/// A permit that somebody has to say yes to first. Only an [`Admission`] opens it.
#[derive(Clone, Debug)]
pub struct Question {
    permit: Permit,
    terms: Arc<Hold>,
    message: Option<Arc<str>>,
}

/// What the policy has to see before it decides, and the permission to look.
///
/// Whatever is asked of the API server for it is asked as the caller, so it tells nobody more than they may
/// know; and `upstream` sends nothing for it that changes anything.
#[derive(Clone, Debug)]
pub struct Inquiry {
    wanted: Wanted,
    permit: Permit,
    observes: bool,
}

impl Inquiry {
    pub(super) fn new(wanted: Wanted, permit: Permit) -> Self {
        Self {
            wanted,
            permit,
            observes: false,
        }
    }

    /// The same of a policy that only observes.
    pub(super) fn observing(self) -> Self {
        Self {
            observes: true,
            ..self
        }
    }

    /// Whether nothing depends on what is shown.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// The permit for a request that cannot show what is wanted, where the policy only observes; it would deny it.
    #[must_use]
    pub fn unseen(&self, why: &str) -> Option<Permit> {
        let reason = Reason {
            rule: Some(self.permit.rule.to_string()),
            message: why.to_owned(),
            roles: Vec::new(),
        };
        self.observes
            .then(|| self.permit.clone().observed(Would::Deny(reason)))
    }

    /// What is to be shown.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// As whom it is looked for, where, and what must be masked in an answer that says it cannot be seen. Not
    /// a permission for the request itself.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// The masks that apply to the resource of one request.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub(super) plan: Arc<MaskPlan>,
    pub(super) names: Arc<[String]>,
    /// Those that hide something whatever it is called or holds.
    pub(super) certain: Arc<[String]>,
    /// Errors may quote what they hide.
    pub(super) quotable: bool,
    /// The one field that they do not hide.
    pub(super) revealed: Option<Arc<FieldPath>>,
}

impl Permit {
    pub(super) fn new(
        identity: Arc<Identity>,
        rule: Arc<str>,
        cluster: Arc<str>,
        policy_version: Arc<str>,
        mask: Option<Arc<Mask>>,
        record: Option<RecordObligation>,
    ) -> Self {
        Self {
            identity,
            rule,
            cluster,
            policy_version,
            mask,
            record,
            responses: None,
            strict_audit: false,
            admitted: None,
            grants: Vec::new(),
            would: None,
            seen: Seen::default(),
        }
    }

    /// The same permit, with this obligation.
    pub(super) fn audited_strictly(self, strict_audit: bool) -> Self {
        Self {
            strict_audit,
            ..self
        }
    }

    /// The same permit, with this obligation.
    pub(super) fn keeping_responses(self, responses: Option<RecordMode>) -> Self {
        Self { responses, ..self }
    }

    /// The same permit, given although the policy would have decided this.
    pub(super) fn observed(self, would: Would) -> Self {
        Self {
            would: Some(Arc::new(would)),
            ..self
        }
    }

    /// The same permit, given by these grants.
    pub(super) fn by(self, grants: Vec<Arc<Grant>>) -> Self {
        Self { grants, ..self }
    }

    /// The same permit, given in view of this.
    pub(super) fn in_view_of(self, seen: &Seen) -> Self {
        Self {
            seen: seen.clone(),
            ..self
        }
    }

    /// A permit for the tests of other rooms, with the masks that apply to the resource at hand.
    #[cfg(test)]
    pub(crate) fn for_tests(
        identity: Identity,
        cluster: &str,
        masks: &[&super::mask::MaskRule],
    ) -> Self {
        let mask = (!masks.is_empty()).then(|| {
            Arc::new(Mask {
                plan: Arc::new(MaskPlan::compile(masks)),
                names: masks.iter().map(|mask| mask.name.clone()).collect(),
                certain: super::certain(masks),
                quotable: masks.iter().any(|mask| mask.is_quotable()),
                revealed: None,
            })
        });
        Self::new(
            Arc::new(identity),
            Arc::from("test/rule"),
            Arc::from(cluster),
            Arc::from("test"),
            mask,
            None,
        )
    }

    /// As whom the request goes upstream.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The rule that allowed it, as `POLICY/RULE`.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The cluster it was decided for; it may go nowhere else.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The digest of the policy that decided, for audit and for streams that outlive a reload.
    pub fn policy_version(&self) -> &str {
        &self.policy_version
    }

    /// Who said yes, when a rule held it.
    pub fn admission(&self) -> Option<&Arc<Admission>> {
        self.admitted.as_ref().map(|(admission, _)| admission)
    }

    /// What the policy would have decided, had it not only observed.
    pub fn would(&self) -> Option<&Would> {
        self.would.as_deref()
    }

    /// The grants without whose roles it would not have been given: it lasts only as long as they do.
    pub fn grants(&self) -> &[Arc<Grant>] {
        &self.grants
    }

    /// Whether this permit, under which something is open, would be given again where `other` would be: with
    /// the same masks, by the same grants, and no more of it recorded.
    pub fn holds_like(&self, other: &Self) -> bool {
        let ids = |of: &Self| -> Vec<String> {
            of.grants
                .iter()
                .map(|grant| grant.id().to_owned())
                .collect()
        };
        self.mask() == other.mask()
            && ids(self) == ids(other)
            && record::satisfies(self.record, other.record)
            && self.responses >= other.responses
    }

    /// What the request had shown when it was decided, to decide it again when the policy changes.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What must be masked in every answer to this request; `None` when no mask names its resource.
    pub fn mask(&self) -> Option<&Arc<MaskPlan>> {
        self.mask.as_ref().map(|mask| &mask.plan)
    }

    /// How the session must be recorded; `None` when it need not be, and for what is no session.
    pub fn record(&self) -> Option<RecordObligation> {
        self.record
    }

    /// Whether the masked answer must be kept; `None` when it need not be.
    pub fn responses(&self) -> Option<RecordMode> {
        self.responses
    }

    /// Whether the request must be on the disk before it is carried out.
    pub fn strict_audit(&self) -> bool {
        self.strict_audit
    }

    /// The masks that hide something whatever it is called or holds.
    pub fn certain_masks(&self) -> &[String] {
        self.mask.as_ref().map_or(&[], |mask| &mask.certain)
    }

    /// The field that is shown although a mask hides it.
    pub fn revealed(&self) -> Option<&FieldPath> {
        self.mask.as_ref()?.revealed.as_deref()
    }

    /// Whether texts of errors may quote what is masked, whatever they look like.
    pub fn withholds_errors(&self) -> bool {
        self.mask.as_ref().is_some_and(|mask| mask.quotable)
    }

    /// The names of the masks in [`Self::mask`], in the order of their definition.
    pub fn mask_names(&self) -> &[String] {
        self.mask.as_ref().map_or(&[], |mask| &mask.names)
    }
}

impl Would {
    /// The word for it in audit events and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deny(_) => "deny",
            Self::Hold(..) => "hold",
        }
    }
}

impl Question {
    pub(super) fn new(permit: Permit, terms: Arc<Hold>, message: Option<Arc<str>>) -> Self {
        Self {
            permit,
            terms,
            message,
        }
    }

    /// The rule that holds it, as `POLICY/RULE`.
    pub fn rule(&self) -> &str {
        &self.permit.rule
    }

    /// Who asks.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.permit.identity
    }

    /// The cluster it is about.
    pub fn cluster(&self) -> &str {
        &self.permit.cluster
    }

    /// The permission to look, as the caller, at what it is about.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        Inquiry::new(Wanted::Object, self.permit.clone())
    }

    /// Under which terms.
    pub fn terms(&self) -> &Hold {
        &self.terms
    }

    /// The names of the masks that will be on the answer.
    pub fn mask_names(&self) -> &[String] {
        self.permit.mask_names()
    }

    /// How the session will have to be recorded.
    pub fn record(&self) -> Option<RecordObligation> {
        self.permit.record
    }

    /// Whether the masked answer will have to be kept.
    pub fn responses(&self) -> Option<RecordMode> {
        self.permit.responses
    }

    /// The field that will be shown although a mask hides it.
    pub fn revealed(&self) -> Option<&FieldPath> {
        self.permit.revealed()
    }

    /// Why the rule holds it, in its author's words.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The permit of a policy that only observes.
    pub(super) fn observed(self) -> Permit {
        let would = Would::Hold(self.terms, self.message);
        self.permit.observed(would)
    }

    /// The permit for whom somebody said yes to.
    #[must_use]
    pub fn admitted(self, admission: Admission) -> Permit {
        Permit {
            admitted: Some((Arc::new(admission), self.terms)),
            ..self.permit
        }
    }

    /// Whether a permit under which something is open was given for this question: by the same rule under
    /// the same terms, with the same masks, and no more of it is to be recorded.
    pub fn keeps(&self, permit: &Permit) -> bool {
        let answered = permit.admitted.as_ref();
        answered.is_some_and(|(_, terms)| terms.binds_like(&self.terms))
            && permit.rule == self.permit.rule
            && permit.holds_like(&self.permit)
    }
}
