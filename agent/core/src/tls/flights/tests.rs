//! The table of cases in `cases.txt`, and what a table cannot say.

use super::*;

/// Flights of a server that sends one message per record; `F` is its Finished.
const PLAIN: &str = "S23 S968 S95 F";
const ASKING: &str = "S23 S115 S968 S95 F";

/// Reads the second column of the table.
fn hellos(words: &str) -> HelloFacts {
    let mut words = words.split_whitespace();
    let mut facts = HelloFacts::for_cipher(match words.next() {
        Some("sha256") => 0x1301,
        Some("sha384") => 0x1302,
        Some("ccm8") => 0x1305,
        other => panic!("suite {other:?}"),
    })
    .expect("known suite");
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("compression", _) => facts.certificate_compression_offered = true,
            ("unknown_offer", _) => facts.unknown_offer = true,
            ("openssl", _) => facts.openssl = true,
            ("alps", _) => facts.application_settings_offered = true,
            ("psk", _) => (facts.psk_offered, facts.psk_selected) = (true, true),
            ("psk_selected", _) => facts.psk_selected = true,
            ("early_data", _) => facts.early_data_offered = true,
            ("hello_retry_request", _) => facts.hello_retry_request = true,
            ("post_handshake_auth", _) => facts.post_handshake_auth_offered = true,
            ("record_size_limit", limit) => facts.record_size_limit = limit.parse().ok(),
            ("hello_records", lengths) => {
                let lengths: Vec<u16> =
                    lengths.split(',').map(|n| n.parse().expect("length")).collect();
                facts = facts.with_client_hello_records(&lengths);
            }
            _ => panic!("hello word {word}"),
        }
    }
    facts
}

/// Feeds the third column of the table.
fn feed(flights: &mut Flights, stream: &str) {
    let finished = format!("S{}", flights.arithmetic.finished(Padding::Bare));
    let stream = stream.replace("PLAIN", PLAIN).replace("ASKING", ASKING).replace('F', &finished);
    for word in stream.split_whitespace() {
        let (direction, what) = word.split_at(1);
        let direction = if direction == "C" { Direction::ToServer } else { Direction::ToClient };
        if what == "-" {
            flights.on_close(direction);
            continue;
        }
        // `S266@1`: sent when the client's first record, and no more, had been received.
        let (what, heard) = what.split_once('@').unwrap_or((what, ""));
        let (content_type, length) = what.split_once(':').unwrap_or(("23", what));
        let content_type = content_type.parse().expect("content type");
        let length = length.parse().expect("length");
        match heard.parse() {
            Ok(place) => flights.on_record_at(direction, content_type, length, place),
            Err(_) => flights.on_record(direction, content_type, length),
        }
    }
}

/// Writes the last two columns of the table.
fn describe(flights: &Flights) -> String {
    let verdict = match flights.verdict() {
        FlightVerdict::Pending => "pending".to_owned(),
        FlightVerdict::Decided { client_auth, rule, confidence, client_flight_end } => {
            format!("{client_auth} {rule} {confidence} {client_flight_end}")
        }
        FlightVerdict::Resumed => "resumed".to_owned(),
        FlightVerdict::Failed { sign } => format!("failed {sign}"),
        FlightVerdict::Ambiguous { why } => format!("ambiguous {why}"),
    };
    format!("{verdict} | {}", flights.outcome())
}

#[test]
fn cases() {
    let mut failures = Vec::new();
    let mut rules = Vec::new();
    for line in include_str!("cases.txt").lines() {
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let mut columns = line.splitn(4, " | ");
        let mut column = || columns.next().unwrap_or_else(|| panic!("columns of: {line}"));
        let (name, facts, stream, expected) = (column(), hellos(column()), column(), column());
        let mut flights = Flights::new(facts);
        feed(&mut flights, stream);
        flights.finish();
        let got = describe(&flights);
        if got != expected {
            failures.push(format!("{name}\n  {stream}\n  expected {expected}\n  got      {got}"));
        }
        if let FlightVerdict::Decided { rule, .. } = flights.verdict() {
            rules.push(rule);
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    for rule in Rule::ALL {
        assert!(rules.contains(rule), "no case for rule {rule}");
    }
}

/// An alert is taken for a refusal when the connection ends, not before.
#[test]
fn rejected_needs_the_end() {
    let mut flights = Flights::new(hellos("sha256"));
    feed(&mut flights, "ASKING C25 C53 S19");
    assert_eq!(flights.outcome(), Outcome::Incomplete);
    assert!(!flights.is_settled());
    feed(&mut flights, "S-");
    assert_eq!(flights.outcome(), Outcome::Rejected);
    assert!(flights.is_settled());
}

/// The client's records wait for the server's flight, whichever is seen first.
#[test]
fn decides_when_both_flights_were_seen() {
    let mut flights = Flights::new(hellos("sha256"));
    feed(&mut flights, "C629 C300 S23 S968 S95");
    assert_eq!(flights.verdict(), FlightVerdict::Pending);
    feed(&mut flights, "S53");
    let why = Ambiguity::WitnessesDisagree;
    assert_eq!(flights.verdict(), FlightVerdict::Ambiguous { why });
}

#[test]
fn unknown_suites_are_refused() {
    for suite in [0x0000, 0x002F, 0x1300, 0x1306, 0xC02F, 0xC0B4, 0xFFFF] {
        assert_eq!(HelloFacts::for_cipher(suite), Err(UnknownCipherSuite(suite)));
    }
}

/// Every length under every suite is survived, and neither one record nor two equal ones are ever
/// taken for a certificate.
#[test]
fn no_length_alone_is_a_certificate() {
    for suite in ["sha256", "sha384", "ccm8"] {
        for server in ["S640", "S65535", "ASKING", "PLAIN"] {
            let mut answered = Flights::new(hellos(suite));
            feed(&mut answered, server);
            for length in 0..=u16::MAX {
                let mut flights = answered.clone();
                for _ in 0..2 {
                    flights.on_record(Direction::ToServer, APPLICATION_DATA, length);
                    assert_ne!(flights.verdict().client_auth(), ClientAuth::Presented);
                }
                flights.finish();
                assert_ne!(flights.verdict().client_auth(), ClientAuth::Presented);
            }
        }
    }
}

/// Any records under any facts are survived, and what was decided stays.
#[test]
fn any_records_are_survived() {
    const LENGTHS: [u16; 40] = [
        0, 1, 16, 17, 19, 25, 32, 35, 41, 44, 53, 61, 63, 64, 69, 74, 77, 80, 85, 89, 95, 97, 112,
        115, 121, 281, 316, 333, 515, 528, 529, 630, 967, 1581, 16400, 16401, 16640, 16641, 40000,
        65535,
    ];
    let mut state = 1_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % bound
    };
    for _ in 0..50_000 {
        let mut facts = hellos(["sha256", "sha384", "ccm8"][random(3)]);
        facts.psk_offered = random(4) == 0;
        facts.psk_selected = random(8) == 0;
        facts.early_data_offered = random(4) == 0;
        facts.certificate_compression_offered = random(2) == 0;
        facts.unknown_offer = random(4) == 0;
        facts.record_size_limit = (random(2) == 0).then_some(16385);
        facts.max_fragment_length = (random(4) == 0).then(|| LENGTHS[random(40)]);
        facts.client_fragment = (random(4) == 0).then(|| LENGTHS[random(40)]);
        let mut flights = Flights::new(facts);
        let mut before = flights.clone();
        for _ in 0..random(60) {
            let direction = if random(2) == 0 { Direction::ToServer } else { Direction::ToClient };
            match random(40) {
                0 => flights.on_close(direction),
                1 => flights.on_record(direction, ALERT, 2),
                2 => flights.on_record(direction, 20, 1),
                _ => flights.on_record(direction, APPLICATION_DATA, LENGTHS[random(40)]),
            }
            if before.verdict() != FlightVerdict::Pending {
                assert_eq!(flights.verdict(), before.verdict());
            }
            if before.outcome() != Outcome::Incomplete {
                assert_eq!(flights.outcome(), before.outcome());
            }
            before = flights.clone();
        }
        flights.finish();
    }
}
