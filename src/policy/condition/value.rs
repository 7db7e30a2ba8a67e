//! Objects as CEL sees them.
//!
//! The values of the `cel` crate copy a map or list wherever it is bound to a variable, that is, for each
//! element of a comprehension. These share what they hold, so that binding costs a counter.

use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Adder, Container, Indexer, Iterable, Iterator as ValIterator, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, LIST_TYPE, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use serde_json::Value;

/// Anything JSON can say.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Node {
    Null(CelNull),
    Bool(CelBool),
    Int(CelInt),
    UInt(CelUInt),
    Double(CelDouble),
    Text(CelString<'static>),
    List(List),
    Map(Map),
}

/// A list.
#[derive(Clone, Debug)]
pub(in crate::policy) struct List(Arc<[Node]>);

/// A map with texts as keys, in order.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Map(Arc<[(CelString<'static>, Node)]>);

impl Node {
    pub(in crate::policy) const NULL: Self = Self::Null(CelNull);

    pub(in crate::policy) fn text(text: impl Into<String>) -> Self {
        Self::Text(CelString::from(text.into()))
    }

    pub(in crate::policy) fn bool(value: bool) -> Self {
        Self::Bool(CelBool::from(value))
    }

    pub(in crate::policy) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(List(items.into_iter().collect()))
    }

    pub(in crate::policy) fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let named = |(key, value): (&str, Self)| (CelString::from(key.to_owned()), value);
        let mut entries: Vec<_> = entries.into_iter().map(named).collect();
        entries.sort_by(|(left, _), (right, _)| left.inner().cmp(right.inner()));
        Self::Map(Map(entries.into()))
    }

    pub(in crate::policy) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(value) => Self::bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number.into()),
                (None, Some(number)) => Self::UInt(number.into()),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN).into()),
            },
            Value::String(text) => Self::text(text.as_str()),
            Value::Array(items) => Self::list(items.iter().map(Self::of)),
            Value::Object(entries) => Self::map(
                entries
                    .iter()
                    .map(|(key, value)| (key.as_str(), Self::of(value))),
            ),
        }
    }

    /// The member of a map; null where there is none, or no map.
    pub(in crate::policy) fn member(&self, key: &str) -> &Self {
        static NULL: Node = Node::NULL;
        match self {
            Self::Map(map) => map.find(key).unwrap_or(&NULL),
            _ => &NULL,
        }
    }

    /// The elements of a list; none where it is no list.
    pub(in crate::policy) fn elements(&self) -> &[Self] {
        match self {
            Self::List(list) => &list.0,
            _ => &[],
        }
    }

    pub(in crate::policy) fn as_val(&self) -> &(dyn Val + 'static) {
        match self {
            Self::Null(value) => value,
            Self::Bool(value) => value,
            Self::Int(value) => value,
            Self::UInt(value) => value,
            Self::Double(value) => value,
            Self::Text(value) => value,
            Self::List(value) => value,
            Self::Map(value) => value,
        }
    }

    pub(in crate::policy) fn into_val(self) -> Box<dyn Val> {
        match self {
            Self::Null(value) => Box::new(value),
            Self::Bool(value) => Box::new(value),
            Self::Int(value) => Box::new(value),
            Self::UInt(value) => Box::new(value),
            Self::Double(value) => Box::new(value),
            Self::Text(value) => Box::new(value),
            Self::List(value) => Box::new(value),
            Self::Map(value) => Box::new(value),
        }
    }
}

impl Map {
    fn find(&self, key: &str) -> Option<&Node> {
        let at = self.0.binary_search_by(|(name, _)| name.inner().cmp(key));
        self.0.get(at.ok()?).map(|(_, value)| value)
    }
}

/// Equality of any two values. The crate's own containers know nothing of ours, so both are asked.
pub(super) fn equal(left: &dyn Val, right: &dyn Val) -> bool {
    left.equals(right) || right.equals(left)
}

impl StaticVal for List {}
impl StaticVal for Map {}

impl Val for List {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = LIST_TYPE;
        &TYPE
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let Some(items) = other.as_iterable() else {
            return false;
        };
        if other.get_type().kind() != LIST_TYPE.kind() {
            return false;
        }
        let mut items = items.iter();
        let same = self
            .0
            .iter()
            .all(|mine| items.next().is_some_and(|item| equal(mine.as_val(), item)));
        same && items.next().is_none()
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

impl Adder for List {
    fn add<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let more = rhs.as_iterable().filter(|_| is_list(rhs));
        let more = more.ok_or_else(|| wrong("list", rhs))?;
        let mut items: Vec<Box<dyn Val + 'v>> = Vec::with_capacity(self.0.len());
        items.extend(self.0.iter().map(|item| item.as_val().clone_as_boxed()));
        let mut more = more.iter();
        while let Some(item) = more.next() {
            items.push(item.clone_as_boxed());
        }
        Ok(CowVal::owned(CelList::from(items)))
    }
}

fn is_list(value: &dyn Val) -> bool {
    value.get_type().kind() == LIST_TYPE.kind()
}

impl Container for List {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.0.iter().any(|item| equal(item.as_val(), value)))
    }
}

impl Indexer for List {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let number = index
            .downcast_ref::<CelInt>()
            .ok_or_else(|| wrong("int", index))?;
        usize::try_from(*number.inner())
            .ok()
            .and_then(|at| self.0.get(at))
            .map(|item| CowVal::Borrowed(item.as_val()))
            .ok_or_else(|| ExecutionError::IndexOutOfBounds((*number.inner()).into()))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Iterable for List {
    fn iter<'b, 'v>(&'b self) -> Box<dyn ValIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Lent(self.0.iter().map(Node::as_val)))
    }
}

impl Sizer for List {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

impl Val for Map {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = MAP_TYPE;
        &TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let is_map = other.get_type().kind() == MAP_TYPE.kind();
        let (Some(size), Some(members)) = (other.as_sizer(), other.as_indexer()) else {
            return false;
        };
        is_map
            && size.size() == self.size()
            && self.0.iter().all(|(key, mine)| {
                members
                    .get(key)
                    .is_ok_and(|other| equal(mine.as_val(), other.as_ref()))
            })
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

impl Container for Map {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        let key = key
            .downcast_ref::<CelString<'_>>()
            .ok_or_else(|| wrong("string", key))?;
        Ok(self.find(key.inner()).is_some())
    }
}

impl Indexer for Map {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let key = key
            .downcast_ref::<CelString<'_>>()
            .ok_or_else(|| wrong("string", key))?;
        self.find(key.inner())
            .map(|value| CowVal::Borrowed(value.as_val()))
            .ok_or_else(|| ExecutionError::no_such_key(key.inner()))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Iterable for Map {
    fn iter<'b, 'v>(&'b self) -> Box<dyn ValIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        let key = |(key, _): &'b (CelString<'static>, Node)| -> &'b (dyn Val + 'static) { key };
        Box::new(Lent(self.0.iter().map(key)))
    }
}

impl Sizer for Map {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

struct Lent<I>(I);

impl<'b, 'v, I: Iterator<Item = &'b (dyn Val + 'static)>> ValIterator<'b, 'v> for Lent<I> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|value| value as &(dyn Val + 'v))
    }
}

fn wrong(want: &str, got: &dyn Val) -> ExecutionError {
    ExecutionError::UnexpectedType {
        got: got.get_type().name().to_owned(),
        want: want.to_owned(),
    }
}
