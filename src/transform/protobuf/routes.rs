//! Where a plan leads in the messages of a kind: by the numbers of fields, worked out once for all objects, so that nobody
//! has to look a field's name up in the plan for each of them.

use std::fmt;

use crate::policy::mask::{MaskPlan, StateId};
use crate::request::body::kinds::{Field, Holds, Message, Shape};

/// What a field leads to.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) field: &'static Field,
    /// The message that it holds, or each of its elements.
    pub(super) message: Option<&'static Message>,
    /// The state of what it holds.
    pub(super) next: StateId,
}

/// A message in a state.
#[derive(Clone, Copy)]
pub(super) struct Row {
    state: StateId,
    message: &'static Message,
    /// Where its steps begin and how many there are, if they are worked out.
    steps: Option<(usize, usize)>,
}

/// All steps in the messages of a kind.
pub(in crate::transform) struct Routes {
    /// By state, the messages that are met in it, in the order of their addresses.
    rows: Vec<Vec<Row>>,
    /// Of each of them, by the numbers of fields.
    steps: Vec<Option<Step>>,
}

impl Routes {
    /// Those of a plan, from these states of an object on.
    pub(super) fn of(
        plan: &MaskPlan,
        roots: impl IntoIterator<Item = StateId>,
        object: &'static Message,
    ) -> Self {
        let mut routes = Self {
            rows: Vec::new(),
            steps: Vec::new(),
        };
        let mut ahead: Vec<_> = roots.into_iter().map(|root| (root, object)).collect();
        while let Some((state, message)) = ahead.pop() {
            // Nobody goes there unless all texts are searched.
            let unseen = state.is_dead() && !plan.texts().known_values;
            if unseen || routes.row(state, message).steps.is_some() {
                continue;
            }
            let first = routes.steps.len();
            let last = message.fields.last().map_or(0, |field| field.number);
            for number in 0..=last {
                let step = step(plan, state, message, number);
                routes.steps.push(step);
                if let Some((step, inner)) = step.and_then(|step| Some((step, step.message?))) {
                    match step.field.shape {
                        Shape::One => ahead.push((step.next, inner)),
                        _ => ahead.extend(plan.elements(step.next).map(|next| (next, inner))),
                    }
                }
            }
            if routes.rows.len() <= state.place() {
                routes.rows.resize(state.place() + 1, Vec::new());
            }
            if let Some(rows) = routes.rows.get_mut(state.place()) {
                let behind = rows.partition_point(|row| address(row.message) < address(message));
                let row = Row {
                    state,
                    message,
                    steps: Some((first, routes.steps.len() - first)),
                };
                rows.insert(behind, row);
            }
        }
        routes
    }

    /// The steps of a message in a state.
    pub(super) fn row(&self, state: StateId, message: &'static Message) -> Row {
        let rows = self.rows.get(state.place()).map_or(&[][..], Vec::as_slice);
        let found = rows.binary_search_by_key(&address(message), |row| address(row.message));
        let row = found.ok().and_then(|place| rows.get(place).copied());
        row.unwrap_or(Row {
            state,
            message,
            steps: None,
        })
    }

    /// Where the field of this number leads; `None` if the table does not know it.
    #[inline]
    pub(super) fn step(&self, row: Row, number: u32, plan: &MaskPlan) -> Option<Step> {
        let Some((first, count)) = row.steps else {
            return step(plan, row.state, row.message, number);
        };
        let number = usize::try_from(number).ok()?;
        let steps = self.steps.get(first..first + count)?;
        steps.get(number).copied().flatten()
    }
}

impl Step {
    /// May the place of what it leads to, or of something below, have to be told? Known values are told by where they come
    /// from.
    pub(super) fn may_be_told(self) -> bool {
        !self.next.is_dead() || matches!(self.field.holds, Holds::Message(_) | Holds::Json)
    }

    /// The message whose fields stand in its parent's object in JSON.
    pub(super) fn inline(self) -> Option<&'static Message> {
        self.message.filter(|_| self.field.key.is_empty())
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Routes({})", self.steps.len())
    }
}

/// By what messages of the table are told apart.
pub(super) fn address(message: &'static Message) -> usize {
    std::ptr::from_ref(message).addr()
}

fn step(plan: &MaskPlan, state: StateId, message: &'static Message, number: u32) -> Option<Step> {
    let field = message.field(number)?;
    Some(Step {
        field,
        message: field.message(),
        next: match field.inline() {
            // Its fields stand in the object around it.
            Some(_) => state,
            None => plan.member(state, Some(field.key.as_bytes())),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::mask::{BUILTIN, MaskRule, Root, builtin};
    use crate::request::body::kinds;

    /// Follows all that can be met, and counts it.
    fn compare(plan: &MaskPlan, routes: &Routes, root: StateId, object: &'static Message) -> usize {
        let (mut ahead, mut seen) = (vec![(root, object)], Vec::new());
        while let Some((state, message)) = ahead.pop() {
            let known = seen
                .iter()
                .any(|(own, met)| *own == state && std::ptr::eq(*met, message));
            if known {
                continue;
            }
            seen.push((state, message));
            let row = routes.row(state, message);
            let unseen = state.is_dead() && !plan.texts().known_values;
            assert_eq!(row.steps.is_none(), unseen);
            for number in 0..=message.fields.last().unwrap().number + 2 {
                let field = message.field(number);
                let step = routes.step(row, number, plan);
                assert_eq!(step.is_some(), field.is_some());
                let (Some(step), Some(field)) = (step, field) else {
                    continue;
                };
                assert!(std::ptr::eq(step.field, field));
                let next = match step.inline() {
                    Some(_) => state,
                    None => plan.member(state, Some(field.key.as_bytes())),
                };
                assert_eq!(step.next, next);
                if let (Some(inner), Shape::One) = (step.message, field.shape) {
                    ahead.push((next, inner));
                } else if let (Some(inner), Shape::List) = (step.message, field.shape) {
                    let met = plan.conditions(step.next).count();
                    for holds in 0..1 << met {
                        let holds = (0..met).map(|condition| holds & 1 << condition != 0);
                        ahead.push((plan.element_where(step.next, holds), inner));
                    }
                }
            }
        }
        seen.len()
    }

    #[test]
    fn they_lead_where_the_plan_leads() {
        let rules: Vec<MaskRule> = BUILTIN.into_iter().flat_map(builtin).collect();
        let some: Vec<&MaskRule> = rules.iter().filter(|rule| !rule.texts.any()).collect();
        for (version, resource) in [
            ("v1", "pods"),
            ("v1", "secrets"),
            ("apps/v1", "deployments"),
        ] {
            let (_, object) = kinds::of_resource(version, resource).unwrap();
            let all: Vec<&MaskRule> = rules.iter().collect();
            for rules in [&all, &some] {
                let plan = MaskPlan::compile(rules);
                let root = plan.root(Root::Object);
                let routes = Routes::of(&plan, [root], object);
                let met = compare(&plan, &routes, root, object);
                assert!(met > 2, "{resource}: {met}");
            }
        }
    }

    #[test]
    fn what_was_not_worked_out_is_asked_of_the_plan() {
        let rules = builtin("secrets");
        let plan = MaskPlan::compile(&rules.iter().collect::<Vec<_>>());
        let root = plan.root(Root::Object);
        let (_, secret) = kinds::of_resource("v1", "secrets").unwrap();
        let (_, pod) = kinds::of_resource("v1", "pods").unwrap();
        let routes = Routes::of(&plan, [root], secret);
        let row = routes.row(root, pod);
        assert!(row.steps.is_none());
        let spec = routes.step(row, 2, &plan).unwrap();
        assert_eq!(spec.field.key, "spec");
        assert!(routes.step(row, 999, &plan).is_none());
    }
}
