//! The rules that match a request: found once, whatever is then asked of them.

use super::super::mask::FieldPath;
use super::super::matcher::Reach;
use super::super::record::{RecordMode, RecordObligation};
use super::{Asked, Effect, Rule, RuleSource};

/// The rules of a policy that match a request, in order.
#[derive(Debug)]
pub(in crate::policy) struct Matching<'p, 'a> {
    pub(in crate::policy) asked: &'a Asked<'a>,
    pub(in crate::policy) rules: Vec<Match<'p>>,
}

/// A rule that matches a request, and how.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Match<'p> {
    pub(in crate::policy) rule: &'p Rule,
    /// `None` where it matches by way of a node only.
    reach: Option<Reach>,
    /// A kubelet's own exec reaches any pod of the node: what a caller is obliged to anywhere holds there, whatever the
    /// rule's resources and namespaces are.
    by_node: bool,
}

impl<'p, 'a> Matching<'p, 'a> {
    /// Those of some rules that match.
    pub(in crate::policy) fn among(
        rules: impl Iterator<Item = &'p Rule>,
        asked: &'a Asked<'a>,
    ) -> Self {
        let rules = rules.filter_map(|rule| rule.matches(asked)).collect();
        Self { asked, rules }
    }

    /// The masks that they demand, wherever they stand.
    pub(in crate::policy) fn masks(&self) -> u128 {
        let masks = self.rules.iter().map(Match::masks);
        masks.fold(0, |bits, masks| bits | masks)
    }

    /// How a session is to be recorded: every rule adds to it.
    pub(in crate::policy) fn record(&self) -> Option<RecordObligation> {
        let records = self
            .rules
            .iter()
            .filter_map(|found| found.record(self.asked));
        records.reduce(RecordObligation::and)
    }

    /// Whether the answer is to be kept, and whether it depends on that: the strongest word.
    pub(in crate::policy) fn responses(&self) -> Option<RecordMode> {
        self.rules.iter().filter_map(Match::responses).max()
    }

    /// Whether the request has to be on the disk before it is carried out.
    pub(in crate::policy) fn strict_audit(&self) -> bool {
        self.rules.iter().any(Match::strict_audit)
    }

    /// The rules that let callers ask for fields, with those fields.
    pub(in crate::policy) fn reveals(&self) -> impl Iterator<Item = (&'p Rule, &'p [FieldPath])> {
        let rules = self.rules.iter();
        rules.map(|found| (found.rule, found.reveals(self.asked)))
    }
}

impl<'p> Match<'p> {
    /// Whether everything that the request may touch lies within the rule.
    pub(in crate::policy) fn contains(&self) -> bool {
        self.reach == Some(Reach::Contains)
    }

    /// The rule's decision, if it applies.
    pub(in crate::policy) fn decides(&self, asked: &Asked<'_>) -> Option<Effect> {
        let source = &self.rule.source;
        let effect = source.decision?;
        if effect == Effect::Hold && !source.reveal.is_empty() && asked.info.reveal().is_none() {
            return None; // it holds what it reveals
        }
        let applies = match effect.reach() {
            Reach::Contains => self.contains(),
            Reach::Touches => self.reach.is_some(),
        };
        applies.then_some(effect)
    }

    /// Whether the rule adds to the answer.
    pub(in crate::policy) fn obliges(&self, asked: &Asked<'_>) -> bool {
        self.masks() != 0
            || self.record(asked).is_some()
            || self.responses().is_some()
            || self.strict_audit()
            || !self.reveals(asked).is_empty()
    }

    fn masks(&self) -> u128 {
        self.reach.map_or(0, |_| self.rule.masks)
    }

    fn record(&self, asked: &Asked<'_>) -> Option<RecordObligation> {
        let record = self.rule.source.record?;
        let session = asked.info.session();
        let in_pod = session.is_some_and(|session| session.node.is_none());
        let counts = if in_pod {
            self.reach.is_some()
        } else {
            self.by_node
        };
        counts.then_some(record)
    }

    fn responses(&self) -> Option<RecordMode> {
        self.rule.source.responses
    }

    fn strict_audit(&self) -> bool {
        self.rule.source.strict_audit
    }

    /// The fields that may be seen unmasked in the answer. An agent does not see what the human it acts for may: a rule
    /// has to name agents for that.
    fn reveals(&self, asked: &Asked<'_>) -> &'p [FieldPath] {
        let subjects = self.rule.subjects.as_ref();
        let names_caller = asked.identity.agent().is_none()
            || subjects.is_some_and(|subjects| subjects.name_agent(asked.identity));
        if asked.verb == "get" && names_caller && self.contains() {
            &self.rule.source.reveal
        } else {
            &[]
        }
    }
}

impl Rule {
    /// Whether the request is one that it says anything about.
    pub(in crate::policy) fn matches(&self, asked: &Asked<'_>) -> Option<Match<'_>> {
        let least = self.least_reach();
        let matches = |reach| self.mismatch(asked, reach).is_none();
        let reach = matches(least).then(|| {
            let contains = least == Reach::Contains || matches(Reach::Contains);
            if contains { Reach::Contains } else { least }
        });
        let by_node = asked.info.may_be_kubelet_session()
            && self.covers_cluster(asked.cluster)
            && self.is_about(asked);
        (reach.is_some() || by_node).then_some(Match {
            rule: self,
            reach,
            by_node,
        })
    }

    /// How far it has to reach to say anything: what refuses, holds or obliges counts as soon as it is touched.
    pub(super) fn least_reach(&self) -> Reach {
        // All parts of a rule are named, so that whoever adds an obligation has to decide here.
        let RuleSource {
            mask,
            record,
            responses,
            strict_audit,
            decision,
            // Counts only for what lies within the rule.
            reveal: _,
            // What the rule is about, and what it says.
            id: _,
            location: _,
            subjects: _,
            verbs: _,
            api_groups: _,
            resources: _,
            namespaces: _,
            resource_names: _,
            non_resource_urls: _,
            clusters: _,
            when: _,
            hold: _,
            message: _,
        } = &self.source;
        let obliges = !mask.is_empty() || record.is_some() || responses.is_some() || *strict_audit;
        match decision {
            Some(Effect::Deny | Effect::Hold) => Reach::Touches,
            Some(Effect::Allow) | None if obliges => Reach::Touches,
            Some(Effect::Allow) | None => Reach::Contains,
        }
    }
}
