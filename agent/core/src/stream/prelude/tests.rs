mod binary;
mod lines;
mod text;

use super::*;
use crate::model::Direction;

/// A ClientHello record that [`signatures::client_hello`] accepts: 42 bytes of body, zeroed.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 1, 0, 46, 1, 0, 0, 42, 3, 3];
    bytes.resize(51, 0);
    bytes
}

fn server_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 3, 0, 46, 2, 0, 0, 42, 3, 3];
    bytes.resize(51, 0);
    bytes
}

/// This before a ClientHello.
fn tls(before: &[u8]) -> Vec<u8> {
    [before, &client_hello()].concat()
}

/// This before a ServerHello.
fn answer(before: &[u8]) -> Vec<u8> {
    [before, &server_hello()].concat()
}

/// A name, what the client says, what the server says, and the answer without and with the end.
type Case = (&'static str, Vec<u8>, Vec<u8>, &'static str, &'static str);

fn said(opening: &Opening) -> String {
    match opening {
        Opening::Pending => "pending".to_owned(),
        Opening::Plaintext(protocol) => format!("clear {protocol}"),
        Opening::Opaque(protocol) => format!("opaque {protocol}"),
        Opening::Unfinished(protocol) => format!("unfinished {protocol}"),
        Opening::Greeted(protocol) => format!("greeted {protocol}"),
        Opening::Undecided => "undecided".to_owned(),
        Opening::Tls(start) => {
            format!("tls {:?} {}", start.at, start.starttls.map_or("direct", Protocol::as_str))
        }
    }
}

fn evenly_spread(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n * n * 193 + n * 77 + 9).to_be_bytes()[3]).collect()
}

fn cases() -> Vec<Case> {
    [binary::cases(), lines::cases(), text::cases()].concat()
}

#[test]
fn beginnings() {
    for (name, client, server, open, ended) in cases() {
        assert_eq!(said(&inspect(&client, &server, Ending::Open).opening), open, "{name}");
        assert_eq!(
            said(&inspect(&client, &server, Ending::Closed).opening),
            ended,
            "{name}, ended"
        );
    }
}

#[test]
fn more_bytes_never_turn_one_answer_into_another() {
    for (name, client, server, ..) in cases() {
        let mut answers = Vec::new();
        for client_end in 0..=client.len() {
            for server_end in 0..=server.len() {
                let seen =
                    inspect(&client[..client_end], &server[..server_end], Ending::Open).opening;
                if seen != Opening::Pending {
                    // The name of a clear-text protocol may become more precise.
                    let answer = match &seen {
                        Opening::Plaintext(_) => "clear".to_owned(),
                        other => said(other),
                    };
                    answers.push((client_end, server_end, answer));
                }
            }
        }
        answers.dedup_by(|a, b| a.2 == b.2);
        assert!(answers.len() <= 1, "{name}: {answers:?}");
    }
}

#[test]
fn a_proxy_protocol_prefix_is_noted() {
    let prefixed = [b"PROXY UNKNOWN\r\n".to_vec(), client_hello()].concat();
    let seen = inspect(&prefixed, &[], Ending::Open);
    assert_eq!(seen.proxy_protocol, Some(ProxyVersion::V1));
    let Opening::Tls(start) = seen.opening else { panic!("not TLS: {:?}", seen.opening) };
    assert_eq!(start.at[Direction::ToServer.index()], 15);
}
