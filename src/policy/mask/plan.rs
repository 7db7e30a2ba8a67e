//! The automaton of all field paths that apply to one resource.
//!
//! Every path is rooted at every place where an answer may hold an object: the document itself,
//! `items[*]` of a list, `rows[*].object` of a Table, and each of these below `object` of a watch
//! event. So no text in the body decides whether a rule applies.
//!
//! States are sets of positions in paths, found once by subset construction; a step is a look-up in
//! a short sorted list of keys. Where paths have patterns there is a state for every set of patterns
//! that can match together.

mod ahead;
mod build;

use std::cmp::Ordering;

use self::ahead::Notes;
use self::build::Builder;
use super::path::{FieldPath, Pattern, Segment};
use super::{KAPP_ORIGINAL, LAST_APPLIED, MaskName, MaskRule, Texts};

/// First keys of paths that the API server's own printers never show in Table cells.
const NOT_PRINTED: [&str; 3] = ["data", "stringData", "binaryData"];

/// Keys on a path below which the API server's own printers never look.
const NOT_PRINTED_BELOW: [&str; 9] = [
    "annotations",
    "args",
    "attachmentMetadata",
    "command",
    "env",
    "flexVolume",
    "httpHeaders",
    "parameters",
    "volumeAttributes",
];

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

/// All of them, in their order.
const SHAPES: [Shape; 5] = [
    Shape::Object,
    Shape::Array,
    Shape::String,
    Shape::Scalar,
    Shape::Null,
];

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
    /// Replace what in it looks like a credential.
    Scan(Look),
    /// Replace known values in all its strings.
    Search,
}

/// What a text is, when only parts of it are masked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Look {
    /// Any text.
    Text,
    /// Base64, of which a part cannot be replaced.
    Binary,
    /// An argument of a command; what follows `--password` is one as well.
    Argument,
}

/// What decides which state the element of an array has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Condition<'a> {
    /// The member of the element that is looked at.
    pub key: &'a str,
    pattern: &'a Pattern,
}

impl Condition<'_> {
    /// Does this value of the member meet the condition?
    pub fn holds(&self, value: &str) -> bool {
        self.pattern.matches(value)
    }
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
    /// What to do in each state with a value of each of the [`SHAPES`].
    actions: Vec<[Action; SHAPES.len()]>,
    texts: Texts,
    object: StateId,
    object_and_cells: StateId,
    printed: bool,
    notes: Notes,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a row of the automaton's table; each column is independent"
)]
struct Node {
    /// Something is masked here or below.
    hides: bool,
    /// By which mask, if it is here; the first in the order of rules.
    mask: MaskName,
    /// A text that clients tell objects apart by, and that nobody keeps secrets in.
    identifies: bool,
    /// Such a text is here or below.
    identity: bool,
    /// It may be seen although rules hide it; where its key does not count as written, this state does.
    revealed: Option<StateId>,
    leaf: Option<Leaf>,
    embedded: bool,
    /// Some path goes on through an object or an array here.
    object: bool,
    array: bool,
    /// The same, inside the field path: another shape is a wrong type, and masked.
    strict_object: bool,
    strict_array: bool,
    look: Option<Look>,
    /// Texts are looked through here or below.
    looks: bool,
    /// Sorted by [`in_order`].
    keys: Vec<(Box<[u8]>, StateId)>,
    /// Which keys may be among them: most are told apart by their length and first letter.
    likely: u64,
    /// Patterns for all other keys, and the state for every set of them that matches.
    patterns: Vec<Pattern>,
    other_keys: Vec<StateId>,
    /// Conditions on elements, and the state for every set of them that holds.
    conditions: Vec<(String, Pattern)>,
    elements: Vec<StateId>,
}

impl Default for StateId {
    fn default() -> Self {
        Self::DEAD
    }
}

impl MaskPlan {
    /// Compiles the rules that apply to one resource. Without a field the plan is empty.
    pub fn compile(rules: &[&MaskRule]) -> Self {
        Self::revealing(rules, None)
    }

    /// The same, but for one field: a text, number or boolean there is shown.
    pub fn revealing(rules: &[&MaskRule], revealed: Option<&FieldPath>) -> Self {
        let fields: Vec<&FieldPath> = rules.iter().flat_map(|rule| &rule.fields).collect();
        let printed = fields.iter().any(|field| is_printed(field));
        let mut builder = Builder::new(rules, revealed);
        let object = builder.root(false);
        let object_and_cells = builder.root(true);
        let texts = rules.iter().map(|rule| rule.texts);
        let mut plan = Self {
            nodes: builder.nodes,
            actions: Vec::new(),
            texts: texts.fold(Texts::default(), Texts::and),
            object,
            object_and_cells,
            printed,
            notes: Notes::default(),
        };
        let states = (0..).map(StateId).take(plan.nodes.len());
        plan.actions = states
            .map(|state| SHAPES.map(|shape| plan.action_of(state, shape)))
            .collect();
        plan
    }

    /// Does no rule name a field?
    pub fn is_empty(&self) -> bool {
        !self.hides(self.object)
    }

    /// What is looked for in texts.
    pub fn texts(&self) -> Texts {
        self.texts
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
    #[expect(
        clippy::inline_always,
        reason = "it is asked for every key, and most are told by one bit"
    )]
    #[inline(always)]
    pub fn member(&self, state: StateId, key: Option<&[u8]>) -> StateId {
        let Some(node) = self.node(state) else {
            return StateId::DEAD;
        };
        let unnamed = key.is_none_or(|key| node.likely & likeness(key) == 0);
        if unnamed && node.patterns.is_empty() {
            return node.other_keys.first().copied().unwrap_or_default();
        }
        self.member_of(node, key)
    }

    #[inline(never)]
    fn member_of(&self, node: &Node, key: Option<&[u8]>) -> StateId {
        // Readers that fold case exist, and so do manifests with `StringData`, kept unread in
        // last-applied-configuration: a key counts in any case.
        let named = key.filter(|key| node.likely & likeness(key) != 0);
        let named = named.and_then(|key| {
            let first = node
                .keys
                .partition_point(|(name, _)| name.len() < key.len());
            let not_shorter = node.keys.get(first..).unwrap_or_default().iter();
            let mut like = not_shorter.take_while(|(name, _)| name.len() == key.len());
            match like.clone().find(|(name, _)| **name == *key) {
                Some((_, state)) => Some(*state),
                None => like
                    .find(|(name, _)| name.eq_ignore_ascii_case(key))
                    .map(|(_, state)| self.hidden(*state)),
            }
        });
        if let Some(state) = named {
            return state;
        }
        if node.patterns.is_empty() {
            return node.other_keys.first().copied().unwrap_or_default();
        }
        let text = key.map(String::from_utf8_lossy);
        let like = |pattern: &Pattern| text.as_ref().is_none_or(|key| pattern.matches(key));
        choose(&node.other_keys, node.patterns.iter().map(like))
    }

    /// Does something match below every key that is not named in `state`?
    pub fn names_all(&self, state: StateId) -> bool {
        let others = self.node(state).and_then(|node| node.other_keys.first());
        others.is_some_and(|others| !others.is_dead())
    }

    /// The keys that are named in `state`, and where each leads.
    pub fn members(&self, state: StateId) -> impl Iterator<Item = (&[u8], StateId)> {
        let keys = self.node(state).map_or(&[][..], |node| &node.keys);
        keys.iter().map(|(key, next)| (key.as_ref(), *next))
    }

    /// The state of the elements of an array in `state`, if they met all conditions.
    pub fn element(&self, state: StateId) -> StateId {
        self.node(state)
            .and_then(|node| node.elements.last().copied())
            .unwrap_or_default()
    }

    /// What the state of an element depends on; mostly nothing.
    pub fn conditions(&self, state: StateId) -> impl Iterator<Item = Condition<'_>> {
        let conditions = self.node(state).map_or(&[][..], |node| &node.conditions);
        conditions
            .iter()
            .map(|(key, pattern)| Condition { key, pattern })
    }

    /// The state of an element that meets these of the conditions, in their order.
    pub fn element_where(&self, state: StateId, holds: impl Iterator<Item = bool>) -> StateId {
        self.node(state)
            .map_or(StateId::DEAD, |node| choose(&node.elements, holds))
    }

    /// What to do with a value of this shape in `state`.
    #[inline]
    pub fn action(&self, state: StateId, shape: Shape) -> Action {
        let actions = usize::try_from(state.0).map(|place| self.actions.get(place));
        let action = actions.ok().flatten().map(|all| all.get(shape as usize));
        let action = action.flatten().copied();
        action.unwrap_or_else(|| self.action_of(state, shape))
    }

    fn action_of(&self, state: StateId, shape: Shape) -> Action {
        let simple = matches!(shape, Shape::String | Shape::Scalar);
        if simple && self.revealed(state).is_some() {
            return Action::Pass;
        }
        match self.field_action(state, shape) {
            Action::Pass if self.texts.known_values && !self.identifies(state) => match shape {
                Shape::Object | Shape::Array | Shape::String => Action::Search,
                Shape::Scalar | Shape::Null => Action::Pass,
            },
            action => action,
        }
    }

    /// The state of a field that is revealed, for another that is called nearly the same.
    fn hidden(&self, state: StateId) -> StateId {
        self.revealed(state).unwrap_or(state)
    }

    fn revealed(&self, state: StateId) -> Option<StateId> {
        self.node(state)?.revealed
    }

    fn field_action(&self, state: StateId, shape: Shape) -> Action {
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
            Shape::String if node.look.is_some() => node.look.map_or(Action::Pass, Action::Scan),
            Shape::Null => Action::Pass,
            _ if node.embedded => Action::Mask(Leaf::Text),
            Shape::Object if node.object => Action::Walk,
            Shape::Array if node.array => Action::Walk,
            _ => Action::Pass,
        }
    }

    /// The mask that says what to do with a value in `state`.
    pub fn mask(&self, state: StateId) -> MaskName {
        self.node(state).map_or(MaskName::OWN, |node| node.mask)
    }

    /// Would whoever can read the place a JSON Pointer names read something masked? True on, above
    /// and below a masked field.
    pub fn overlaps<'a>(&self, pointer: impl IntoIterator<Item = &'a str>) -> bool {
        let covers = |node: &Node| node.leaf.is_some() || node.embedded || node.look.is_some();
        self.meets(pointer, covers, |node| node.hides)
    }

    /// May what is written to the place a JSON Pointer names be seen where known values are not looked for?
    /// True on, above and below a field that objects are told apart by.
    pub fn exempts<'a>(&self, pointer: impl IntoIterator<Item = &'a str>) -> bool {
        self.meets(pointer, |node| node.identifies, |node| node.identity)
    }

    /// Does a JSON Pointer lead through a node for which `covers` says yes, or to one for which `holds` does? A token may
    /// be a key or the number of an element.
    fn meets<'a>(
        &self,
        pointer: impl IntoIterator<Item = &'a str>,
        covers: impl Fn(&Node) -> bool,
        holds: impl Fn(&Node) -> bool,
    ) -> bool {
        let any = |states: &[StateId], is: &dyn Fn(&Node) -> bool| {
            states.iter().any(|state| self.node(*state).is_some_and(is))
        };
        let mut states = vec![self.object];
        for token in pointer {
            if any(&states, &covers) {
                return true;
            }
            let below = |state| {
                [
                    self.member(state, Some(token.as_bytes())),
                    self.element(state),
                ]
            };
            states = states.into_iter().flat_map(below).collect();
            states.retain(|state| !state.is_dead());
        }
        any(&states, &holds)
    }

    /// Is something masked at or below this place?
    pub fn hides(&self, state: StateId) -> bool {
        self.node(state).is_some_and(|node| node.hides)
    }

    /// Are texts looked through at or below this place, which takes longer than to pass them?
    pub fn looks(&self, state: StateId) -> bool {
        self.node(state).is_some_and(|node| node.looks)
    }

    /// Are the texts in an array here the words of a command?
    pub fn has_words(&self, state: StateId) -> bool {
        let elements = self.node(state).map_or(&[][..], |node| &node.elements);
        let mut elements = elements.iter().filter_map(|state| self.node(*state));
        elements.any(|element| element.look == Some(Look::Argument))
    }

    fn identifies(&self, state: StateId) -> bool {
        self.node(state).is_some_and(|node| node.identifies)
    }

    fn node(&self, state: StateId) -> Option<&Node> {
        self.nodes.get(usize::try_from(state.0).ok()?)
    }
}

/// The order of the keys of a state: by length first, so that most need not be read.
fn in_order(key: &[u8], other: &[u8]) -> Ordering {
    key.len().cmp(&other.len()).then_with(|| key.cmp(other))
}

/// One of 64 bits, the same for keys that only differ in case.
#[inline]
fn likeness(key: &[u8]) -> u64 {
    let first = key.first().map_or(0, |first| usize::from(*first | 0x20));
    1 << ((key.len() * 5 + first) % 64)
}

/// The state for the set of patterns that match.
fn choose(states: &[StateId], matches: impl Iterator<Item = bool>) -> StateId {
    let set = matches.enumerate().fold(0, |set, (place, matches)| {
        set | usize::from(matches) << place
    });
    states.get(set).copied().unwrap_or_default()
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
mod tests;
