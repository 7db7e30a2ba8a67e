//! Which kinds can be masked as protobuf: those in the table of fields, if it has all that the plan names.
//!
//! A plan that names a field which is not in the table is not applied to protobuf: the resource is then served as
//! JSON ([`covers`]). So a missing row costs speed, never a value.

use std::sync::Arc;

use super::routes::Routes;
use crate::policy::mask::{Action, Condition, MaskPlan, Root, Shape as JsonShape, StateId};
use crate::request::RequestInfo;
use crate::request::body::kinds::{self, Field, Holds, Message, Shape};

/// A kind that can be masked as protobuf.
#[derive(Clone, Debug)]
pub(in crate::transform) struct Kind {
    pub(super) name: &'static str,
    pub(super) object: &'static Message,
    pub(super) routes: Arc<Routes>,
}

/// The kind that answers to a read of this resource, if it can be masked as protobuf by this plan.
pub(in crate::transform) fn kind_for(info: &RequestInfo, plan: &MaskPlan) -> Option<Kind> {
    let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
    if !reads || !matches!(info.subresource.as_str(), "" | "status") {
        return None;
    }
    let api_version = match info.api_group.as_str() {
        "" => info.api_version.clone(),
        group => format!("{group}/{}", info.api_version),
    };
    let (name, object) = kinds::of_resource(&api_version, &info.resource)?;
    // To look for all that the plan hides in the whole kind takes longer than to answer.
    let routes = plan.note(object, || {
        let root = plan.root(Root::Object);
        let roots = [Root::Object, Root::ObjectAndCells].map(|root| plan.root(root));
        covers(plan, root, object, true).then(|| Arc::new(Routes::of(plan, roots, object)))
    });
    Some(Kind {
        name,
        object,
        routes: routes?,
    })
}

/// The number by which the text that a condition is about is found.
pub(super) fn number_of(message: &Message, key: &str) -> Option<u32> {
    let mut fields = message.fields.iter();
    let field = fields.find(|field| field.key == key)?;
    (field.shape == Shape::One && field.holds == Holds::Text).then_some(field.number)
}

/// Can everything that the plan masks in `state` be found in such a message?
fn covers(plan: &MaskPlan, state: StateId, message: &Message, root: bool) -> bool {
    let known = |key: &[u8], next: StateId| {
        // Lists, Tables and events are taken apart by their own rules.
        let way = root && matches!(key, b"items" | b"rows" | b"object");
        way || !plan.hides(next) || has(plan, next, message, key)
    };
    walked(plan, state, JsonShape::Object)
        && !plan.hides(plan.member(state, None))
        && plan.members(state).all(|(key, next)| known(key, next))
}

/// Does the message have a field of this key, with everything that the plan masks there?
fn has(plan: &MaskPlan, next: StateId, message: &Message, key: &[u8]) -> bool {
    message.fields.iter().any(|field| match field.inline() {
        Some(inner) => has(plan, next, inner, key),
        None => field.key.as_bytes() == key && held(plan, next, field),
    })
}

/// Can everything that the plan masks in `state` be found in such a field?
fn held(plan: &MaskPlan, state: StateId, field: &Field) -> bool {
    let text = matches!(field.holds, Holds::Text | Holds::Bytes);
    match (field.shape, field.message()) {
        (Shape::One, None) if text => true,
        (Shape::One, None) if field.holds == Holds::Texts => walked(plan, state, JsonShape::Array),
        // It holds an object, and what a plan does with that is the JSON masker's business.
        (Shape::One, None) if field.holds == Holds::Json => walked(plan, state, JsonShape::Object),
        (Shape::One, Some(message)) => covers(plan, state, message, false),
        (Shape::Map, None) if text => walked(plan, state, JsonShape::Object),
        (Shape::List, None) if text => walked(plan, state, JsonShape::Array),
        (Shape::List, Some(message)) => {
            let element = plan.element(state);
            let named = |condition: Condition<'_>| number_of(message, condition.key).is_some();
            walked(plan, state, JsonShape::Array)
                && plan.conditions(state).all(named)
                && (!plan.hides(element) || covers(plan, element, message, false))
        }
        _ => false,
    }
}

/// Is a value of this form taken apart, not masked as a whole?
fn walked(plan: &MaskPlan, state: StateId, form: JsonShape) -> bool {
    match plan.action(state, form) {
        Action::Walk | Action::Pass | Action::Scan(_) | Action::Search => true,
        Action::Mask(_) | Action::Embedded => false,
    }
}
