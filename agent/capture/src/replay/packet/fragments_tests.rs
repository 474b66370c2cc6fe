use super::{
    tests::{found, inner, ipv4},
    *,
};

/// The inner packet's parts, each with the offset of its first byte.
fn parts(identification: u16, cuts: &[usize]) -> Vec<Vec<u8>> {
    let payload = &inner()[20..];
    let mut starts = vec![0];
    starts.extend(cuts);
    starts
        .iter()
        .enumerate()
        .map(|(index, start)| {
            let end = starts.get(index + 1).copied().unwrap_or(payload.len());
            let mut packet = ipv4(6, &payload[*start..end]);
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            let more = if end < payload.len() { 0x2000 } else { 0 };
            let place = u16::try_from(start / 8).unwrap() | more;
            packet[6..8].copy_from_slice(&place.to_be_bytes());
            packet
        })
        .collect()
}

fn add(fragments: &mut Fragments, packet: &[u8]) -> Option<Datagram> {
    match found(101, packet) {
        Content::Fragment(fragment) => fragments.add(fragment),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fragments_become_the_datagram_they_were_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut fragments = Fragments::default();
        let parts = parts(7, &[8, 16]);
        let mut whole = None;
        for (seen, index) in order.into_iter().enumerate() {
            assert_eq!(fragments.unread(), seen as u64);
            whole = add(&mut fragments, &parts[index]);
            assert_eq!(whole.is_some(), seen == 2);
        }
        let whole = whole.unwrap();
        let Content::Tcp(segment) = datagram_content(&whole) else { panic!("{order:?}") };
        assert_eq!(segment.payload, b"hello");
        assert_eq!(fragments.unread(), 0);
    }
}

#[test]
fn fragments_of_different_datagrams_are_kept_apart_and_bounded() {
    let mut fragments = Fragments::default();
    for identification in 0..1_000 {
        assert_eq!(add(&mut fragments, &parts(identification, &[8])[0]), None);
    }
    assert_eq!(fragments.unread(), 1_000, "each is told");
    assert!(add(&mut fragments, &parts(999, &[8])[1]).is_some());
    assert_eq!(add(&mut fragments, &parts(3, &[8])[1]), None, "given up");
}
