//! The automaton of all field paths that apply to one resource.
//!
//! Every path is rooted at every place where an answer may hold an object: the document itself,
//! `items[*]` of a list, `rows[*].object` of a Table, and each of these below `object` of a watch
//! event. So no text in the body decides whether a rule applies.
//!
//! States are sets of positions in paths, found once by subset construction; a step is a look-up in
//! a short sorted list of keys.

use std::collections::HashMap;

use super::path::{FieldPath, Segment};
use super::{LAST_APPLIED, MaskRule};

/// First keys of paths that the API server's own printers never show in Table cells.
const NOT_PRINTED: [&str; 3] = ["data", "stringData", "binaryData"];

/// Keys on a path below which the API server's own printers never look.
const NOT_PRINTED_BELOW: [&str; 4] = ["annotations", "args", "command", "env"];

/// A state of the automaton.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StateId(u32);

impl StateId {
    /// The state in which nothing below can match.
    pub const DEAD: Self = Self(0);

    /// Can nothing at or below this place match?
    pub fn is_dead(self) -> bool {
        self == Self::DEAD
    }
}

/// The form of a value, as far as a plan cares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A string.
    String,
    /// A number or a boolean.
    Scalar,
    /// Nothing.
    Null,
}

/// What to do with a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// No rule reaches into it.
    Pass,
    /// A rule may match below.
    Walk,
    /// Replace it.
    Mask(Leaf),
    /// It is a document as JSON text: mask inside.
    Embedded,
}

/// What kind of value is expected where a path ends.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Leaf {
    /// Any text.
    Text,
    /// Below `data`: base64 in a Secret, text elsewhere.
    Data,
    /// Below `binaryData`: base64.
    Binary,
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Root {
    /// Cells of Tables are known not to show what is masked.
    Object,
    /// Cells of Tables may show anything and are masked too.
    ObjectAndCells,
}

/// The field paths that apply to one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MaskPlan {
    nodes: Vec<Node>,
    object: StateId,
    object_and_cells: StateId,
    printed: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a row of the automaton's table; each column is independent"
)]
struct Node {
    leaf: Option<Leaf>,
    embedded: bool,
    /// Some path goes on through an object or an array here.
    object: bool,
    array: bool,
    /// The same, inside the field path: another shape is a wrong type, and masked.
    strict_object: bool,
    strict_array: bool,
    keys: Vec<(Box<[u8]>, StateId)>,
    any_key: StateId,
    any_element: StateId,
}

impl Default for StateId {
    fn default() -> Self {
        Self::DEAD
    }
}

impl MaskPlan {
    /// Compiles the rules that apply to one resource. Without a field the plan is empty.
    pub fn compile(rules: &[&MaskRule]) -> Self {
        let fields: Vec<&FieldPath> = rules.iter().flat_map(|rule| &rule.fields).collect();
        let printed = fields.iter().any(|field| is_printed(field));
        let mut builder = Builder {
            paths: rooted(&fields),
            nodes: vec![Node::default()],
            known: HashMap::new(),
        };
        let object = builder.root(|path| !path.cells);
        let object_and_cells = builder.root(|_| true);
        Self {
            nodes: builder.nodes,
            object,
            object_and_cells,
            printed,
        }
    }

    /// Does nothing match?
    pub fn is_empty(&self) -> bool {
        self.object.is_dead()
    }

    /// May the API server's own Table columns show one of the fields?
    pub fn is_printed(&self) -> bool {
        self.printed
    }

    /// The state of a whole document.
    pub fn root(&self, root: Root) -> StateId {
        match root {
            Root::Object => self.object,
            Root::ObjectAndCells => self.object_and_cells,
        }
    }

    /// The state of the member `key` of an object in `state`. `None` is a key too long to be named.
    pub fn member(&self, state: StateId, key: Option<&[u8]>) -> StateId {
        let Some(node) = self.node(state) else {
            return StateId::DEAD;
        };
        // Readers that fold case exist, and so do manifests with `StringData`, kept unread in
        // last-applied-configuration: a key counts in any case.
        let named = key.and_then(|key| {
            let exact = node
                .keys
                .binary_search_by(|(name, _)| name.as_ref().cmp(key));
            match exact {
                Ok(place) => node.keys.get(place),
                Err(_) => node
                    .keys
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(key)),
            }
        });
        named.map_or(node.any_key, |(_, state)| *state)
    }

    /// The keys that are named in `state`, and where each leads.
    pub fn members(&self, state: StateId) -> impl Iterator<Item = (&[u8], StateId)> {
        let keys = self.node(state).map_or(&[][..], |node| &node.keys);
        keys.iter().map(|(key, next)| (key.as_ref(), *next))
    }

    /// The state of the elements of an array in `state`.
    pub fn element(&self, state: StateId) -> StateId {
        self.node(state)
            .map_or(StateId::DEAD, |node| node.any_element)
    }

    /// What to do with a value of this shape in `state`.
    pub fn action(&self, state: StateId, shape: Shape) -> Action {
        let Some(node) = self.node(state).filter(|_| !state.is_dead()) else {
            return Action::Pass;
        };
        if let Some(leaf) = node.leaf {
            return Action::Mask(leaf);
        }
        let wrong = match shape {
            Shape::Object => node.strict_array,
            Shape::Array => node.strict_object,
            Shape::String | Shape::Scalar => node.strict_object || node.strict_array,
            Shape::Null => false, // nothing is there to hide, and typed clients need it
        };
        match shape {
            _ if wrong => Action::Mask(Leaf::Text),
            Shape::String if node.embedded => Action::Embedded,
            Shape::Null => Action::Pass,
            _ if node.embedded => Action::Mask(Leaf::Text),
            Shape::Object if node.object => Action::Walk,
            Shape::Array if node.array => Action::Walk,
            _ => Action::Pass,
        }
    }

    /// Would whoever can read the place a JSON Pointer names read something masked? True on, above
    /// and below a masked field.
    pub fn overlaps<'a>(&self, pointer: impl IntoIterator<Item = &'a str>) -> bool {
        let mut states = vec![self.object];
        for token in pointer {
            let mut next = Vec::new();
            for state in states {
                let Some(node) = self.node(state).filter(|_| !state.is_dead()) else {
                    continue;
                };
                if node.leaf.is_some() || node.embedded {
                    return true;
                }
                next.push(self.member(state, Some(token.as_bytes())));
                next.push(node.any_element);
            }
            states = next;
        }
        states.into_iter().any(|state| !state.is_dead())
    }

    fn node(&self, state: StateId) -> Option<&Node> {
        self.nodes.get(usize::try_from(state.0).ok()?)
    }
}

/// A field path with the way to the object in front.
struct Rooted {
    segments: Vec<Segment>,
    /// Where the field path itself begins.
    object_at: usize,
    end: End,
    cells: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Mask,
    Embedded,
}

/// A position: which path, how far, and below which top-level key of the object.
type Position = (usize, usize, Leaf);

struct Builder {
    paths: Vec<Rooted>,
    nodes: Vec<Node>,
    known: HashMap<Vec<Position>, StateId>,
}

impl Builder {
    fn root(&mut self, wanted: fn(&Rooted) -> bool) -> StateId {
        let start = self.paths.iter().enumerate();
        let start = start
            .filter(|(_, path)| wanted(path))
            .map(|(index, _)| (index, 0, Leaf::Text))
            .collect();
        self.state(start)
    }

    /// The state for a set of positions, made with everything it leads to. Paths are short, so the
    /// recursion is.
    fn state(&mut self, mut positions: Vec<Position>) -> StateId {
        positions.sort_unstable();
        positions.dedup();
        if positions.is_empty() {
            return StateId::DEAD;
        }
        if let Some(state) = self.known.get(&positions) {
            return *state;
        }
        let Ok(index) = u32::try_from(self.nodes.len()) else {
            return StateId::DEAD; // four thousand million states do not fit in memory before
        };
        let state = StateId(index);
        self.nodes.push(Node::default());
        self.known.insert(positions.clone(), state);
        let mut node = self.describe(&positions);
        for key in self.keys(&positions) {
            let after = self.after(
                &positions,
                |segment| {
                    matches!(segment, Segment::AnyKey)
                        || matches!(segment, Segment::Key(wanted) if *wanted == key)
                },
                Some(&key),
            );
            let next = self.state(after);
            node.keys.push((key.into_bytes().into_boxed_slice(), next));
        }
        node.keys.sort();
        let any_key = |segment: &Segment| matches!(segment, Segment::AnyKey);
        node.any_key = self.state(self.after(&positions, any_key, None));
        let any_element = |segment: &Segment| matches!(segment, Segment::AnyElement);
        node.any_element = self.state(self.after(&positions, any_element, None));
        if let Some(place) = self.nodes.get_mut(index as usize) {
            *place = node;
        }
        state
    }

    fn describe(&self, positions: &[Position]) -> Node {
        let mut node = Node::default();
        for (path, at, leaf) in positions {
            let Some(path) = self.paths.get(*path) else {
                continue;
            };
            let strict = *at >= path.object_at;
            match (path.segments.get(*at), path.end) {
                (None, End::Mask) => node.leaf = node.leaf.max(Some(*leaf)),
                (None, End::Embedded) => node.embedded = true,
                (Some(Segment::AnyElement), _) => {
                    node.array = true;
                    node.strict_array |= strict;
                }
                (Some(Segment::Key(_) | Segment::AnyKey), _) => {
                    node.object = true;
                    node.strict_object |= strict;
                }
            }
        }
        node
    }

    /// The keys that lead elsewhere than other keys do.
    fn keys(&self, positions: &[Position]) -> Vec<String> {
        let mut keys = Vec::new();
        for (path, at, _) in positions {
            let Some(path) = self.paths.get(*path) else {
                continue;
            };
            match path.segments.get(*at) {
                Some(Segment::Key(key)) => keys.push(key.clone()),
                Some(Segment::AnyKey) if *at == path.object_at => {
                    keys.extend(["data", "binaryData"].map(str::to_owned));
                }
                _ => {}
            }
        }
        keys.sort();
        keys.dedup();
        keys
    }

    fn after(
        &self,
        positions: &[Position],
        matches: impl Fn(&Segment) -> bool,
        key: Option<&str>,
    ) -> Vec<Position> {
        let mut after = Vec::new();
        for (index, at, leaf) in positions {
            let Some(path) = self.paths.get(*index) else {
                continue;
            };
            if !path.segments.get(*at).is_some_and(&matches) {
                continue;
            }
            let leaf = match key {
                _ if *at != path.object_at => *leaf,
                Some("data") => Leaf::Data,
                Some("binaryData") => Leaf::Binary,
                _ => Leaf::Text,
            };
            after.push((*index, at + 1, leaf));
        }
        after
    }
}

/// Every path below every root, the last-applied annotation included, and the cells of Tables.
fn rooted(fields: &[&FieldPath]) -> Vec<Rooted> {
    if fields.is_empty() {
        return Vec::new();
    }
    let key = |key: &str| Segment::Key(key.to_owned());
    let last_applied = vec![key("metadata"), key("annotations"), key(LAST_APPLIED)];
    let mut paths = vec![(last_applied.clone(), End::Embedded)];
    for field in fields {
        if field.segments() != last_applied {
            paths.push((field.segments().to_vec(), End::Mask));
        }
    }
    let objects = [
        Vec::new(),
        vec![key("items"), Segment::AnyElement],
        vec![key("rows"), Segment::AnyElement, key("object")],
    ];
    let cells = vec![
        key("rows"),
        Segment::AnyElement,
        key("cells"),
        Segment::AnyElement,
    ];
    let mut rooted = Vec::new();
    for event in [Vec::new(), vec![key("object")]] {
        for object in &objects {
            for (path, end) in &paths {
                rooted.push(Rooted {
                    segments: [&event[..], object, path].concat(),
                    object_at: event.len() + object.len(),
                    end: *end,
                    cells: false,
                });
            }
        }
        let segments = [&event[..], &cells].concat();
        rooted.push(Rooted {
            object_at: segments.len(),
            segments,
            end: End::Mask,
            cells: true,
        });
    }
    rooted
}

fn is_printed(field: &FieldPath) -> bool {
    let first = match field.segments().first() {
        Some(Segment::Key(key)) => NOT_PRINTED.contains(&key.as_str()),
        _ => false,
    };
    let below = field.segments().iter().any(
        |segment| matches!(segment, Segment::Key(key) if NOT_PRINTED_BELOW.contains(&key.as_str())),
    );
    !first && !below
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    fn plan(fields: &[&str]) -> MaskPlan {
        let rule = MaskRule {
            name: "test".to_owned(),
            api_groups: vec!["*".to_owned()],
            resources: vec!["*".to_owned()],
            fields: fields
                .iter()
                .map(|field| FieldPath::parse(field).unwrap())
                .collect(),
        };
        MaskPlan::compile(&[&rule])
    }

    /// Follows `way`: keys, and `#` for an array element.
    fn action(plan: &MaskPlan, way: &[&str], shape: Shape) -> Action {
        let mut state = plan.root(Root::Object);
        for step in way {
            state = match *step {
                "#" => plan.element(state),
                key => plan.member(state, Some(key.as_bytes())),
            };
        }
        plan.action(state, shape)
    }

    #[test]
    fn c_44_keys_count_in_any_case() {
        let plan = MaskPlan::compile(&[&builtin("secrets").unwrap()]);
        for key in [
            "data",
            "Data",
            "DATA",
            "stringData",
            "StringData",
            "stringdata",
        ] {
            assert_ne!(
                action(&plan, &[key, "x"], Shape::String),
                Action::Pass,
                "{key}"
            );
        }
    }

    #[test]
    fn secrets_are_masked_at_every_root() {
        let plan = MaskPlan::compile(&[&builtin("secrets").unwrap()]);
        let roots: [&[&str]; 6] = [
            &[],
            &["items", "#"],
            &["rows", "#", "object"],
            &["object"],
            &["object", "items", "#"],
            &["object", "rows", "#", "object"],
        ];
        for root in roots {
            let at = |way: &[&str], shape| action(&plan, &[root, way].concat(), shape);
            assert_eq!(at(&["data", "x"], Shape::String), Action::Mask(Leaf::Data));
            assert_eq!(
                at(&["stringData", "x"], Shape::Null),
                Action::Mask(Leaf::Text)
            );
            assert_eq!(at(&["data"], Shape::Object), Action::Walk);
            assert_eq!(at(&["data"], Shape::Array), Action::Mask(Leaf::Text));
            assert_eq!(at(&["data"], Shape::Scalar), Action::Mask(Leaf::Text));
            assert_eq!(at(&["data"], Shape::Null), Action::Pass);
            assert_eq!(at(&["type"], Shape::String), Action::Pass);
            let annotation = ["metadata", "annotations", LAST_APPLIED];
            assert_eq!(at(&annotation, Shape::String), Action::Embedded);
            assert_eq!(at(&annotation, Shape::Object), Action::Mask(Leaf::Text));
            assert_eq!(
                at(&["metadata", "annotations", "other"], Shape::String),
                Action::Pass
            );
        }
        assert_eq!(action(&plan, &["items"], Shape::Null), Action::Pass);
        assert_eq!(
            action(&plan, &["rows", "#", "cells", "#"], Shape::String),
            Action::Pass
        );
        assert!(!plan.is_printed());
    }

    #[test]
    fn paths_join_and_wildcards_meet_every_key() {
        let plan = plan(&["spec.containers[*].env[*].value", "spec.*.token", "status"]);
        let env = ["spec", "containers", "#", "env", "#", "value"];
        assert_eq!(action(&plan, &env, Shape::String), Action::Mask(Leaf::Text));
        assert_eq!(action(&plan, &env[..5], Shape::Object), Action::Walk);
        assert_eq!(
            action(&plan, &["spec", "any", "token"], Shape::Array),
            Action::Mask(Leaf::Text)
        );
        // `containers` is expected to be an array by one path and an object by the other.
        assert_eq!(
            action(&plan, &["spec", "containers"], Shape::Object),
            Action::Mask(Leaf::Text)
        );
        assert_eq!(
            action(&plan, &["status"], Shape::Object),
            Action::Mask(Leaf::Text)
        );
        assert!(plan.is_printed());
    }

    #[test]
    fn cells_are_masked_from_the_root_that_asks_for_it() {
        let plan = plan(&["spec.password"]);
        let mut state = plan.root(Root::ObjectAndCells);
        for key in ["object", "rows"] {
            state = plan.member(state, Some(key.as_bytes()));
        }
        state = plan.element(plan.member(plan.element(state), Some(b"cells")));
        assert_eq!(plan.action(state, Shape::String), Action::Mask(Leaf::Text));
    }

    #[test]
    fn a_wildcard_at_the_top_knows_data() {
        let plan = plan(&["*.password"]);
        assert_eq!(
            action(&plan, &["data", "password"], Shape::String),
            Action::Mask(Leaf::Data)
        );
        assert_eq!(
            action(&plan, &["spec", "password"], Shape::String),
            Action::Mask(Leaf::Text)
        );
        let long = plan.member(
            plan.member(plan.root(Root::Object), None),
            Some(b"password"),
        );
        assert_eq!(plan.action(long, Shape::String), Action::Mask(Leaf::Text));
    }

    #[test]
    fn pointers_overlap_on_above_and_below() {
        let plan = MaskPlan::compile(&[&builtin("secrets").unwrap()]);
        for pointer in [
            &[][..],
            &["data"],
            &["data", "password"],
            &["data", "password", "x"],
            &["metadata"],
            &["metadata", "annotations"],
            &["metadata", "annotations", LAST_APPLIED],
        ] {
            assert!(plan.overlaps(pointer.iter().copied()), "{pointer:?}");
        }
        for pointer in [
            &["type"][..],
            &["metadata", "labels"],
            &["metadata", "resourceVersion"],
            &["metadata", "annotations", "other"],
        ] {
            assert!(!plan.overlaps(pointer.iter().copied()), "{pointer:?}");
        }
        assert!(!MaskPlan::compile(&[]).overlaps(["data"]));
        let env = self::plan(&["spec.containers[*].env"]);
        assert!(env.overlaps(["spec", "containers", "0", "env"]));
        assert!(env.overlaps(["spec", "containers", "-1"]));
        assert!(!env.overlaps(["spec", "containers", "0", "name"]));
    }
}
