//! Builds the automaton from field paths.

use std::collections::HashMap;

use super::super::path::{FieldPath, Segment};
use super::super::{BUILTIN, MaskName};
use super::{KAPP_ORIGINAL, LAST_APPLIED, Leaf, Look, MaskRule, Node, StateId, in_order, likeness};

/// Patterns for keys, and conditions on elements, that are told apart at one place. Further ones count
/// as if they always matched.
const PATTERNS_MAX: usize = 4;

/// Texts that clients tell objects and versions apart by. Known values are not looked for in them: a
/// database's name kept in a Secret must not rename the pods that are called like it.
const IDENTIFYING: [&[&str]; 16] = [
    &["kind"],
    &["apiVersion"],
    &["type"],
    &["metadata", "continue"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "generateName"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "ownerReferences", "*", "apiVersion"],
    &["metadata", "ownerReferences", "*", "kind"],
    &["metadata", "ownerReferences", "*", "name"],
    &["metadata", "ownerReferences", "*", "uid"],
];

/// A field path with the way to the object in front.
struct Rooted {
    segments: Vec<Segment>,
    /// Where the field path itself begins.
    object_at: usize,
    end: End,
    cells: bool,
    /// A rule names it.
    hides: bool,
    mask: MaskName,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Mask,
    Embedded,
    Scan(Look),
    Identify,
    Reveal,
}

/// A position: which path, how far, and below which top-level key of the object.
type Position = (usize, usize, Leaf);

pub(super) struct Builder {
    paths: Vec<Rooted>,
    pub(super) nodes: Vec<Node>,
    known: HashMap<Vec<Position>, StateId>,
}

impl Builder {
    pub(super) fn new(rules: &[&MaskRule], revealed: Option<&FieldPath>) -> Self {
        let mut paths = rooted(rules);
        paths.extend(revealed.into_iter().flat_map(shown));
        Self {
            paths,
            nodes: vec![Node::default()],
            known: HashMap::new(),
        }
    }

    /// The state of a whole document, with the cells of Tables masked or not.
    pub(super) fn root(&mut self, cells: bool) -> StateId {
        let start = self.paths.iter().enumerate();
        let start = start
            .filter(|(_, path)| cells || !path.cells)
            .map(|(index, _)| (index, 0, Leaf::Text))
            .collect();
        self.state(start)
    }

    /// The state for a set of positions, made with everything it leads to. Paths are short, so the
    /// recursion is.
    fn state(&mut self, mut positions: Vec<Position>) -> StateId {
        // `**` stands for nothing as well.
        let mut place = 0;
        while let Some((path, at, leaf)) = positions.get(place).copied() {
            if self.segment(path, at) == Some(&Segment::Deep) {
                positions.push((path, at + 1, leaf));
            }
            place += 1;
        }
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
        node.revealed = self.hidden(&positions);
        for key in self.keys(&positions) {
            let after = self.after(
                &positions,
                |segment| match segment {
                    Segment::AnyKey => true,
                    Segment::Key(wanted) => *wanted == key,
                    Segment::KeyLike(pattern) => pattern.matches(&key),
                    _ => false,
                },
                Some(&key),
            );
            let next = self.state(after);
            node.keys.push((key.into_bytes().into_boxed_slice(), next));
        }
        node.keys
            .sort_by(|(key, _), (other, _)| in_order(key, other));
        node.likely = node
            .keys
            .iter()
            .fold(0, |all, (key, _)| all | likeness(key));
        for set in 0..1_usize << node.patterns.len() {
            let matches = |segment: &Segment| match segment {
                Segment::AnyKey => true,
                Segment::KeyLike(pattern) => is_in(set, node.patterns.iter(), |own| own == pattern),
                _ => false,
            };
            let after = self.after(&positions, matches, None);
            node.other_keys.push(self.state(after));
        }
        for set in 0..1_usize << node.conditions.len() {
            let matches = |segment: &Segment| match segment {
                Segment::AnyElement => true,
                Segment::ElementWhere(key, pattern) => is_in(set, node.conditions.iter(), |own| {
                    own.0 == *key && own.1 == *pattern
                }),
                _ => false,
            };
            let after = self.after(&positions, matches, None);
            node.elements.push(self.state(after));
        }
        if let Some(place) = self.nodes.get_mut(index as usize) {
            *place = node;
        }
        state
    }

    /// For a revealed field, the state it would have if it were not.
    fn hidden(&mut self, positions: &[Position]) -> Option<StateId> {
        let reveals = |(path, at, _): &&Position| {
            self.paths
                .get(*path)
                .is_some_and(|path| path.end == End::Reveal && path.segments.len() == *at)
        };
        positions.iter().find(reveals)?;
        let hidden = positions.iter().filter(|position| !reveals(position));
        let hidden = hidden.copied().collect();
        Some(self.state(hidden))
    }

    /// The mask of the first path that ends here, or else leads through here.
    fn mask(&self, positions: &[Position]) -> MaskName {
        let mut paths = positions.iter().filter_map(|(path, at, _)| {
            let path = self.paths.get(*path)?;
            path.hides.then_some((path, *at))
        });
        let ended = paths.clone().find(|(path, at)| path.segments.len() == *at);
        let first = ended.or_else(|| paths.next());
        first.map_or(MaskName::OWN, |(path, _)| path.mask)
    }

    fn describe(&self, positions: &[Position]) -> Node {
        let mut node = Node {
            mask: self.mask(positions),
            ..Node::default()
        };
        for (index, at, leaf) in positions {
            let Some(path) = self.paths.get(*index) else {
                continue;
            };
            let before = path.segments.get(..*at).unwrap_or_default();
            // `**` fits every shape, and a scan harms no other value.
            let strict = path.hides
                && *at >= path.object_at
                && !matches!(path.end, End::Scan(_) | End::Identify | End::Reveal)
                && !before.contains(&Segment::Deep);
            node.hides |= path.hides;
            node.identity |= path.end == End::Identify;
            node.looks |= matches!(path.end, End::Scan(_));
            match (path.segments.get(*at), path.end) {
                (None, End::Identify) => node.identifies = true,
                (None, End::Reveal) => {} // see `hidden`
                (None, End::Mask) => node.leaf = node.leaf.max(Some(*leaf)),
                (None, End::Embedded) => node.embedded = true,
                (None, End::Scan(Look::Text)) if *leaf == Leaf::Binary => {
                    node.look = node.look.max(Some(Look::Binary));
                }
                (None, End::Scan(look)) => node.look = node.look.max(Some(look)),
                (Some(Segment::AnyElement | Segment::ElementWhere(..)), _) => {
                    node.array = true;
                    node.strict_array |= strict;
                }
                (Some(Segment::Key(_) | Segment::AnyKey | Segment::KeyLike(_)), _) => {
                    node.object = true;
                    node.strict_object |= strict;
                }
                (Some(Segment::Deep), _) => (node.object, node.array) = (true, true),
            }
            match path.segments.get(*at) {
                Some(Segment::KeyLike(pattern)) => node.patterns.push(pattern.clone()),
                Some(Segment::ElementWhere(key, pattern)) => {
                    node.conditions.push((key.clone(), pattern.clone()));
                }
                _ => {}
            }
        }
        distinct(&mut node.patterns);
        distinct(&mut node.conditions);
        node
    }

    fn segment(&self, path: usize, at: usize) -> Option<&Segment> {
        self.paths.get(path)?.segments.get(at)
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
                Some(Segment::AnyKey | Segment::KeyLike(_) | Segment::Deep)
                    if *at == path.object_at =>
                {
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
            let (deep, next) = match path.segments.get(*at) {
                Some(Segment::Deep) => (true, *at),
                Some(segment) if matches(segment) => (false, at + 1),
                _ => continue,
            };
            let leaf = match key {
                _ if *at != path.object_at || deep => *leaf,
                Some("data") => Leaf::Data,
                Some("binaryData") => Leaf::Binary,
                _ => Leaf::Text,
            };
            after.push((*index, next, leaf));
        }
        after
    }
}

/// Is what `wanted` finds in this set of patterns? What was left out counts as if it were.
fn is_in<T>(set: usize, mut patterns: impl Iterator<Item = T>, wanted: impl Fn(T) -> bool) -> bool {
    patterns
        .position(wanted)
        .is_none_or(|place| set >> place & 1 == 1)
}

fn distinct<T: PartialEq + Clone>(patterns: &mut Vec<T>) {
    let mut seen: Vec<T> = Vec::new();
    patterns.retain(|pattern| {
        let new = !seen.contains(pattern) && seen.len() < PATTERNS_MAX;
        if new {
            seen.push(pattern.clone());
        }
        new
    });
}

fn key(key: &str) -> Segment {
    Segment::Key(key.to_owned())
}

/// Where `managedFields` may repeat what stands at `path`: `v:` and `k:` keys hold the values of lists that
/// are sets or maps, and a key cannot be replaced (structured-merge-diff, `fieldpath/serialize.go`). So
/// all is hidden that was noted of the field, or of the list it is in.
fn ownership_of(path: &[Segment]) -> Vec<Segment> {
    let mut noted = vec![
        key("metadata"),
        key("managedFields"),
        Segment::AnyElement,
        key("fieldsV1"),
    ];
    noted.extend(path.iter().map_while(|segment| match segment {
        Segment::Key(name) => Some(Segment::Key(format!("f:{name}"))),
        _ => None,
    }));
    noted
}

/// Every path that a rule names, from the object on, the annotations that are manifests, and what is noted of them.
fn named(rules: &[&MaskRule]) -> Vec<(Vec<Segment>, End, MaskName)> {
    let annotation = |name| vec![key("metadata"), key("annotations"), key(name)];
    let manifests = [LAST_APPLIED, KAPP_ORIGINAL].map(annotation);
    let mut paths: Vec<_> = manifests
        .iter()
        .map(|path| (path.clone(), End::Embedded, first(rules)))
        .collect();
    for rule in rules {
        let mask = MaskName::of(&rule.name);
        for field in rule
            .fields
            .iter()
            .filter(|field| manifests.iter().all(|path| field.segments() != path))
        {
            paths.push((field.segments().to_vec(), End::Mask, mask));
        }
        for field in &rule.credentials {
            paths.push((field.segments().to_vec(), End::Scan(Look::Text), mask));
        }
        for field in &rule.arguments {
            let elements = [field.segments(), &[Segment::AnyElement]].concat();
            paths.push((elements, End::Scan(Look::Argument), mask));
        }
    }
    // No list that a built-in mask names is a set or a map by a field it hides.
    let own = rules
        .iter()
        .filter(|rule| !BUILTIN.contains(&rule.name.as_str()));
    for path in own.flat_map(|rule| rule.paths()) {
        let noted = (ownership_of(path.segments()), End::Mask, MaskName::OWN);
        if !paths.contains(&noted) {
            paths.push(noted);
        }
    }
    paths
}

/// The mask of what no rule names itself.
fn first(rules: &[&MaskRule]) -> MaskName {
    let first = rules.first();
    first.map_or(MaskName::OWN, |rule| MaskName::of(&rule.name))
}

/// Where a revealed field is: in the one object that was asked for, as such or in the row of a Table.
fn shown(field: &FieldPath) -> [Rooted; 2] {
    let row = vec![key("rows"), Segment::AnyElement, key("object")];
    [Vec::new(), row].map(|object| Rooted {
        segments: [&object, field.segments()].concat(),
        object_at: object.len(),
        end: End::Reveal,
        cells: false,
        hides: false,
        mask: MaskName::OWN,
    })
}

/// Every path below every root, and the cells of Tables.
fn rooted(rules: &[&MaskRule]) -> Vec<Rooted> {
    let mut paths = named(rules);
    let searched = rules.iter().any(|rule| rule.texts.known_values);
    let named = paths.iter().any(|(_, end, _)| *end != End::Embedded);
    if !named && !searched {
        return Vec::new();
    }
    if searched {
        let step = |step: &&str| match *step {
            "*" => Segment::AnyElement,
            name => key(name),
        };
        let ways = IDENTIFYING.iter().map(|way| way.iter().map(step).collect());
        paths.extend(ways.map(|way: Vec<Segment>| (way, End::Identify, MaskName::OWN)));
    }
    let scans = paths.iter().any(|(_, end, _)| matches!(end, End::Scan(_)));
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
            for (path, end, mask) in &paths {
                rooted.push(Rooted {
                    segments: [&event[..], object, path].concat(),
                    object_at: event.len() + object.len(),
                    end: *end,
                    cells: false,
                    hides: named && *end != End::Identify,
                    mask: *mask,
                });
            }
        }
        let segments = [&event[..], &cells].concat();
        if scans {
            // Whatever the API server prints of such a field looks the same.
            rooted.push(Rooted {
                object_at: segments.len(),
                segments: segments.clone(),
                end: End::Scan(Look::Text),
                cells: false,
                hides: true,
                mask: first(rules),
            });
        }
        if named {
            rooted.push(Rooted {
                object_at: segments.len(),
                segments,
                end: End::Mask,
                cells: true,
                hides: true,
                mask: first(rules),
            });
        }
    }
    rooted
}
