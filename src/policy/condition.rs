//! `when`: what else must hold for a rule to decide, in CEL.
//!
//! A rule with conditions decides where the rest of it matches and every condition holds. One that does not hold
//! leaves the request to the rules behind it. One that cannot be evaluated denies the request, whatever the
//! rule would have decided: it never falls through to a later `allow`.

mod budget;
pub mod explain;
mod expression;
pub(super) mod foreseen;
pub mod library;
mod pods;
mod scope;
mod value;

use std::collections::BTreeMap;

pub(super) use scope::Scope;
pub use scope::{Seen, Wanted};

use crate::limits;
use expression::Expression;
use value::Node;

/// A condition as written in a policy file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionSource {
    /// What refusals and explanations call it; without `expression` one of [`library::READY`].
    pub name: String,
    /// CEL.
    pub expression: Option<String>,
    /// Lists of texts that the expression reads as `params.NAME`.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Instead of an expression: it holds when one of these does.
    pub any_of: Vec<Self>,
}

/// A compiled condition.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) name: String,
    /// Its CEL, for people.
    pub(super) text: String,
    /// What holds when it holds, in words; empty for those of a policy.
    pub(super) risk: &'static str,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Expression {
        expression: Expression,
        parameters: Node,
    },
    Any(Vec<Condition>),
}

/// Whether a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// That takes something that was not shown.
    Wants(Wanted),
    /// The name of the condition, and why it cannot be told.
    Failed(String, String),
}

impl Condition {
    /// Compiles a condition; errors are the rest of a sentence that begins with it.
    pub(super) fn compile(source: &ConditionSource) -> Result<Self, String> {
        if !source.any_of.is_empty() {
            return Self::any(source);
        }
        let ready = library::find(&source.name);
        let (text, risk, parameters) = match (&source.expression, ready) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "has the name of a ready condition, {:?}; choose another for your own expression",
                    source.name
                ));
            }
            (Some(text), None) => (text.as_str(), "", source.parameters.clone()),
            (None, Some(ready)) => (ready.expression, ready.risk, defaulted(source, ready)?),
            (None, None) => {
                let names: Vec<&str> = library::READY.iter().map(|ready| ready.name).collect();
                return Err(format!(
                    "has no expression and {:?} is no ready condition (those are {})",
                    source.name,
                    names.join(", ")
                ));
            }
        };
        check_parameters(&parameters)?;
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        let expression = Expression::compile(text, &names)?;
        let lists = parameters
            .iter()
            .map(|(name, values)| (name.as_str(), Node::list(values.iter().map(Node::text))));
        Ok(Self {
            name: source.name.clone(),
            text: text.to_owned(),
            risk,
            test: Test::Expression {
                expression,
                parameters: Node::map(lists),
            },
        })
    }

    fn any(source: &ConditionSource) -> Result<Self, String> {
        let mut conditions = source
            .any_of
            .iter()
            .map(Self::compile)
            .collect::<Result<Vec<_>, _>>()?;
        cheapest_first(&mut conditions);
        let texts: Vec<&str> = conditions.iter().map(|of| of.text.as_str()).collect();
        Ok(Self {
            name: source.name.clone(),
            text: texts.join(" ||\n"),
            risk: "",
            test: Test::Any(conditions),
        })
    }

    /// What it may want to see, the dearest first.
    fn wants(&self) -> Option<Wanted> {
        match &self.test {
            Test::Any(conditions) => conditions.iter().filter_map(Self::wants).max(),
            Test::Expression { expression, .. } => {
                let uses = expression.uses;
                [
                    (uses.old_object, Wanted::OldObject),
                    (uses.object, Wanted::Object),
                    (uses.dry_run, Wanted::DryRun),
                ]
                .into_iter()
                .find_map(|(used, wanted)| used.then_some(wanted))
            }
        }
    }

    /// Whether it holds, with the name of the one that does where there are several.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> (Held, &Self) {
        match &self.test {
            Test::Any(conditions) => {
                let open = conditions.iter().map(|condition| condition.holds(scope));
                let mut open = open.filter(|(held, _)| *held != Held::No);
                open.next().unwrap_or((Held::No, self))
            }
            Test::Expression {
                expression,
                parameters,
            } => (self.evaluated(scope, expression, parameters), self),
        }
    }

    fn evaluated(&self, scope: &Scope<'_>, expression: &Expression, parameters: &Node) -> Held {
        let uses = expression.uses;
        let missing = [
            (uses.dry_run, Wanted::DryRun),
            (uses.object, Wanted::Object),
            (uses.old_object, Wanted::OldObject),
        ]
        .into_iter()
        .find(|(used, wanted)| *used && scope.lacks(*wanted));
        if let Some((_, wanted)) = missing {
            return Held::Wants(wanted);
        }
        match expression.evaluate(scope, parameters) {
            Ok(true) => Held::Yes,
            Ok(false) => Held::No,
            Err(why) => Held::Failed(self.name.clone(), why),
        }
    }
}

/// Puts first what can be told from less, so that no body is read for nothing.
pub(super) fn cheapest_first(conditions: &mut [Condition]) {
    conditions.sort_by_key(Condition::wants);
}

/// Whether every one holds: the first that does not, or cannot be told, decides.
pub(super) fn all_hold(conditions: &[Condition], scope: &Scope<'_>) -> Held {
    let held = conditions.iter().map(|condition| condition.holds(scope).0);
    held.into_iter()
        .find(|held| *held != Held::Yes)
        .unwrap_or(Held::Yes)
}

/// The parameters of a ready condition: what the rule says, or its default.
fn defaulted(
    source: &ConditionSource,
    ready: &library::Ready,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let known = ready.parameter.map(|parameter| parameter.name);
    if let Some(other) = source
        .parameters
        .keys()
        .find(|name| Some(name.as_str()) != known)
    {
        let known = known.unwrap_or("none");
        return Err(format!(
            "has no parameter {other:?}; {} takes {known}",
            ready.name
        ));
    }
    let mut parameters = source.parameters.clone();
    if let Some(parameter) = ready.parameter
        && !parameters.contains_key(parameter.name)
    {
        if parameter.default.is_empty() {
            return Err(format!("needs the parameter {}", parameter.name));
        }
        let values = parameter.default.iter().map(|&value| value.to_owned());
        parameters.insert(parameter.name.to_owned(), values.collect());
    }
    if ready.name == "image-registry"
        && let Some(registry) = parameters
            .values()
            .flatten()
            .find(|text| !text.ends_with('/'))
    {
        // `registry.example` would let `registry.example.evil.net/` pass.
        return Err(format!(
            "names a registry {registry:?} that does not end with '/'"
        ));
    }
    Ok(parameters)
}

fn check_parameters(parameters: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    match parameters
        .iter()
        .find(|(_, values)| values.len() > limits::CONDITION_PARAMETER_VALUES_MAX)
    {
        Some((name, _)) => Err(format!(
            "has more than {} values in {name}",
            limits::CONDITION_PARAMETER_VALUES_MAX
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
