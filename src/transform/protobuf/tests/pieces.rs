//! Items of a long list come with others, or in parts: that changes nothing.

use super::*;
use crate::wire::protobuf::write_head;

/// A list that is too long to be held; only these items of it are there.
fn long_list(items: &[Vec<u8>]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, b"SecretList")].concat();
    let mut body = [MAGIC, &field(1, &type_meta)].concat();
    write_head(2, 2 * PROTOBUF_OBJECT_BYTES_MAX, &mut body);
    body.extend(items.iter().flat_map(|item| field(2, item)));
    body
}

proptest! {
    #[test]
    fn c_03_what_comes_before_a_broken_item_leaves_whatever_it_came_with(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 11..80), 1..6),
        broken in prop::option::of(0_usize..6),
        size in 1_usize..3000,
    ) {
        let mut items: Vec<_> = values.iter().map(|value| secret("db", "password", value)).collect();
        let broken = broken.filter(|place| *place < items.len());
        if let Some(place) = broken {
            items[place].extend(b"\x10\x01");
        }
        let body = long_list(&items);
        let pieces: Vec<&[u8]> = body.chunks(size).collect();
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        let (text, outcome) = run(masker(SECRETS, Form::List, &secrets()), &pieces);
        prop_assert_eq!(&(text.clone(), outcome), &run(masker(SECRETS, Form::List, &secrets()), &bytes));
        let wire_type = MaskProtobufError::Wire(ProtobufError::WireType);
        let problem = broken.map_or(MaskProtobufError::Unfinished, |_| wire_type);
        prop_assert_eq!(outcome, Err(problem));
        let left = broken.unwrap_or(items.len());
        prop_assert_eq!(text.len(), long_list(&items[..left]).len());
        for value in &values {
            prop_assert_eq!(memchr::memmem::find(&text, value), None);
        }
    }
}
