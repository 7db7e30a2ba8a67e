//! What evaluating may cost: elements visited and bytes handled by everything that one decision asks.
//!
//! The `cel` crate counts nothing. So expressions are rewritten when they are compiled ([`super::expression`]):
//! each turn of a comprehension, each sum and each call on a text pays here before it happens. Steps are counted,
//! not time, so that a decision does not depend on how busy the machine is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::types::{CelBool, CelString, DYN_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};

use super::value::equal;
use crate::limits;

/// The variable that holds the budget; no identifier of CEL can begin so.
pub(super) const BUDGET: &str = "@budget";
/// `@step(budget)`: true, for one step.
pub(super) const STEP: &str = "@step";
/// `@sized(budget, x)`: `x`, for as many steps as it is large.
pub(super) const SIZED: &str = "@sized";
/// `@equal(left, right)`: `==` that knows our values on both sides.
pub(super) const EQUAL: &str = "@equal";
/// `@member(budget, x, list or map)`: `in`, the same.
pub(super) const MEMBER: &str = "@member";

/// Bytes that cost as much as visiting one element.
const BYTES_A_STEP: usize = 64;

/// What is left. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Budget(Arc<AtomicU64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(limits::CONDITION_STEPS_MAX)))
    }
}

impl Budget {
    /// Whether something could not be paid for: then no result counts.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn pay(&self, steps: u64) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(steps);
        self.0.store(left, Ordering::Relaxed);
        if left == 0 {
            return Err(ExecutionError::function_error(
                "when",
                format!("it takes more than {} steps", limits::CONDITION_STEPS_MAX),
            ));
        }
        Ok(())
    }
}

impl StaticVal for Budget {}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = Type::new_unspecified_type("budget");
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

/// Adds the functions above.
pub(super) fn declare(env: &mut Env) -> Result<(), cel::DeclarationError> {
    let any = || DYN_TYPE;
    env.add_overload(STEP, "step", vec![any()], |args| {
        pay(args.first(), 1)?;
        Ok(CowVal::owned(CelBool::from(true)))
    })?;
    env.add_overload(SIZED, "sized", vec![any(), any()], |mut args| {
        let value = args.pop().ok_or_else(missing)?;
        pay(args.first(), size(value.as_ref()))?;
        Ok(value)
    })?;
    env.add_overload(EQUAL, "equal", vec![any(), any()], |args| {
        let [left, right] = args.as_slice() else {
            return Err(missing());
        };
        Ok(CowVal::owned(CelBool::from(equal(
            left.as_ref(),
            right.as_ref(),
        ))))
    })?;
    env.add_overload(MEMBER, "member", vec![any(), any(), any()], |args| {
        let [budget, wanted, container] = args.as_slice() else {
            return Err(missing());
        };
        pay(Some(budget), size(container.as_ref()))?;
        member(wanted.as_ref(), container.as_ref()).map(|is| CowVal::owned(CelBool::from(is)))
    })?;
    Ok(())
}

/// `wanted in container`.
fn member(wanted: &dyn Val, container: &dyn Val) -> Result<bool, ExecutionError> {
    use cel::common::types::{CelList, Kind};
    if container.get_type().kind() == Kind::List
        && container.downcast_ref::<CelList<'_>>().is_some()
        && let Some(items) = container.as_iterable()
    {
        let mut items = items.iter();
        while let Some(item) = items.next() {
            if equal(item, wanted) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let container = container
        .as_container()
        .ok_or_else(|| ExecutionError::UnexpectedType {
            got: container.get_type().name().to_owned(),
            want: "list or map".to_owned(),
        })?;
    container.contains(wanted)
}

fn pay(budget: Option<&CowVal<'_, '_>>, steps: u64) -> Result<(), ExecutionError> {
    budget
        .and_then(|budget| budget.downcast_ref::<Budget>())
        .ok_or_else(missing)?
        .pay(steps)
}

fn size(value: &dyn Val) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return 1 + u64::try_from(text.inner().len() / BYTES_A_STEP).unwrap_or(u64::MAX);
    }
    match value.as_sizer() {
        Some(sizer) => 1 + u64::try_from(*sizer.size().inner()).unwrap_or(u64::MAX),
        None => 1,
    }
}

fn missing() -> ExecutionError {
    ExecutionError::missing_argument_or_target()
}
