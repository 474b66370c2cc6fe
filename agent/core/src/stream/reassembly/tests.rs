use super::*;

fn pushed(segments: &[(u32, &[u8])]) -> Stream {
    let mut stream = Stream::new(64, 1024);
    for (offset, bytes) in segments {
        stream.push(*offset, u32::try_from(bytes.len()).unwrap(), bytes);
    }
    stream
}

#[test]
fn segments_in_any_order_give_the_bytes_once() {
    /// Name, segments, bytes in order, why there is no more.
    type Case<'a> = (&'a str, &'a [(u32, &'a [u8])], &'a [u8], Missing);
    let cases: &[Case<'_>] = &[
        ("in order", &[(0, b"ab"), (2, b"cd")], b"abcd", Missing::NotYet),
        ("out of order", &[(2, b"cd"), (0, b"ab")], b"abcd", Missing::NotYet),
        ("gap", &[(0, b"a"), (2, b"c")], b"a", Missing::Gap),
        ("retransmitted", &[(0, b"ab"), (0, b"ab"), (2, b"c")], b"abc", Missing::NotYet),
        ("first byte wins in order", &[(0, b"ab"), (1, b"XYZ")], b"abYZ", Missing::NotYet),
        ("first byte wins ahead", &[(2, b"cd"), (0, b"XXXX")], b"XXcd", Missing::NotYet),
        ("bridges two pieces", &[(1, b"b"), (3, b"d"), (0, b"XXXXX")], b"XbXdX", Missing::NotYet),
        ("far ahead", &[(0, b"a"), (5000, b"z")], b"a", Missing::NotYet),
        ("keepalive probe before the start", &[(u32::MAX, b"k"), (0, b"a")], b"a", Missing::NotYet),
    ];
    for (name, segments, expected, missing) in cases {
        let stream = pushed(segments);
        assert_eq!(stream.ready(), *expected, "{name}");
        assert_eq!(stream.missing(), *missing, "{name}");
    }
}

#[test]
fn copies_that_differ_are_noticed() {
    /// Name, segments, whether they contradict each other.
    type Case<'a> = (&'a str, &'a [(u32, &'a [u8])], bool);
    let cases: &[Case<'_>] = &[
        ("the same again", &[(0, b"abcd"), (0, b"abcd")], false),
        ("the same in other pieces", &[(0, b"abcd"), (1, b"bc"), (2, b"cdef")], false),
        ("another byte", &[(0, b"abcd"), (0, b"aXcd")], true),
        ("another tail, then more", &[(0, b"abcd"), (2, b"cXef")], true),
        ("after a gap, the same", &[(4, b"efgh"), (4, b"efgh")], false),
        ("after a gap, another", &[(4, b"efgh"), (5, b"Xgh")], true),
        ("after a gap, covered", &[(4, b"ef"), (2, b"cdXfgh")], true),
        ("the gap's filling overlaps", &[(2, b"cd"), (0, b"abX")], true),
        ("keepalive probe with a byte of its own", &[(0, b"abcd"), (3, b"X")], false),
    ];
    for (name, segments, expected) in cases {
        let mut stream = pushed(segments);
        assert_eq!(stream.contradicted(), *expected, "{name}");
        assert_eq!(stream.drops().contradictory > 0, *expected, "{name}");
        // Consumed bytes are compared as well.
        stream = Stream::new(64, 1024);
        for (offset, bytes) in *segments {
            stream.push(*offset, u32::try_from(bytes.len()).unwrap(), bytes);
            stream.consume();
        }
        assert_eq!(stream.contradicted(), *expected, "{name}, consumed");
    }
}

#[test]
fn nothing_comes_after_the_end() {
    let mut stream = pushed(&[(0, b"abcd")]);
    stream.fin(4);
    stream.fin(4);
    stream.push(0, 4, b"abcd");
    assert!(!stream.contradicted());
    stream.push(4, 1, b"e");
    assert!(stream.contradicted());

    for (name, first, second) in [("two ends", 6, 7), ("an end in the middle", 2, 2)] {
        let mut stream = pushed(&[(0, b"abcd")]);
        stream.fin(first);
        stream.fin(second);
        assert!(stream.contradicted(), "{name}");
    }
}

#[test]
fn a_copy_that_was_not_captured_may_differ() {
    let mut stream = pushed(&[(0, b"abcd")]);
    stream.push(1, 3, b"b");
    assert!(stream.contradicted());
}

#[test]
fn what_was_consumed_long_ago_is_let_go() {
    let mut stream = Stream::new(u64::MAX, 100);
    for n in 0..1000_u32 {
        stream.push(n * 50, 50, &[7; 50]);
        stream.consume();
        assert!(stream.held() <= 1024, "{} held", stream.held());
    }
    stream.push(0, 50, &[8; 50]);
    assert!(!stream.contradicted(), "nothing to compare with");
}

#[test]
fn single_bytes_ahead_do_not_take_more_than_the_window() {
    let mut stream = Stream::new(1 << 20, 10_000);
    for n in 1..5000 {
        stream.push(n * 2, 1, b"x");
    }
    assert!(stream.held() <= 10_000 && stream.disorder().ahead.len() * PIECE_COST <= 10_000);
    assert!(stream.drops().out_of_window > 0);
}

#[test]
fn nothing_beyond_the_limits_is_kept() {
    let mut stream = Stream::new(8, 4);
    stream.push(0, 100, &[7; 20]);
    assert_eq!(stream.ready().len(), 8);
    assert_eq!(stream.missing(), Missing::Truncated);
    assert_eq!(stream.drops().over_limit, 12);

    let mut stream = Stream::new(1000, 4);
    stream.push(1, 10, &[7; 10]);
    stream.push(5, 10, &[7; 10]);
    assert!(stream.held() <= 4, "held {}", stream.held());
    assert!(stream.drops().out_of_window > 0);
}

#[test]
fn a_cut_segment_is_truncated_until_the_bytes_come() {
    let mut stream = Stream::new(64, 32);
    stream.push(0, 10, b"abc");
    assert_eq!(stream.missing(), Missing::Truncated);
    stream.push(3, 7, b"defghij");
    assert_eq!(stream.missing(), Missing::NotYet);
    assert_eq!(stream.ready(), b"abcdefghij");
    stream.consume();
    stream.fin(10);
    assert_eq!(stream.missing(), Missing::Finished);
}

#[test]
fn offsets_wrap() {
    let mut stream = Stream::new(u64::MAX, 1 << 20);
    let chunk = vec![0_u8; 1 << 20];
    for n in 0..4100_u64 {
        let offset = u32::try_from((n << 20) & 0xffff_ffff).unwrap();
        stream.push(offset, 1 << 20, &chunk);
        stream.consume();
    }
    assert_eq!(stream.end(), 4100 << 20);
}
