//! Recorded flights: one JSON object per line, one TCP connection each, with its proven truth.
//!
//! Used here: `client_stack`, `server_stack`, `cipher` (IANA name), `ground_truth`, `notes`,
//! `hello` and `records`, a list of `[direction "C" or "S", content type, length]` in the order a
//! relay saw them, where content type 0 stands for a close. Every field may be missing or null.

use hopsight_core::{
    model::{ClientAuth, Direction, Outcome},
    tls::flights::{FlightVerdict, Flights, HelloFacts},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Raw {
    client_stack: Option<String>,
    server_stack: Option<String>,
    cipher: Option<String>,
    ground_truth: Option<String>,
    notes: Option<String>,
    #[serde(default)]
    hello: Option<RawHello>,
    #[serde(default)]
    records: Option<Vec<(String, u32, u32)>>,
}

#[derive(Default, Deserialize)]
struct RawHello {
    hrr: Option<bool>,
    psk_offered: Option<bool>,
    psk_selected: Option<bool>,
    early_data: Option<bool>,
    pha: Option<bool>,
    certcomp: Option<bool>,
    rsl: Option<u32>,
    psk_id_len: Option<u32>,
}

/// What is known to be true of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// No client certificate was requested.
    Oneway,
    /// One was requested and none sent.
    Empty,
    /// One was sent.
    Mtls,
    /// A PSK was selected.
    Psk,
    /// There was no complete handshake.
    NoHandshake,
    /// The file does not say, or in words unknown here.
    Unlabelled,
}

impl Truth {
    fn parse(label: &str) -> Self {
        match label {
            "oneway" => Self::Oneway,
            "empty" => Self::Empty,
            "mtls" => Self::Mtls,
            "psk" => Self::Psk,
            "nohandshake" => Self::NoHandshake,
            failed if failed.ends_with("-failed") => Self::NoHandshake,
            _ => Self::Unlabelled,
        }
    }

    /// Its word in the file and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oneway => "oneway",
            Self::Empty => "empty",
            Self::Mtls => "mtls",
            Self::Psk => "psk",
            Self::NoHandshake => "nohandshake",
            Self::Unlabelled => "(none)",
        }
    }

    /// Whether the classifier's answer contradicts this truth. An answer that leaves client
    /// authentication open never does.
    #[must_use]
    pub fn is_contradicted_by(self, verdict: FlightVerdict, outcome: Outcome) -> bool {
        let said = verdict.client_auth();
        let resumed = verdict == FlightVerdict::Resumed;
        let expected = match self {
            Self::Oneway => ClientAuth::NotRequested,
            Self::Empty => ClientAuth::RequestedNotPresented,
            Self::Mtls => ClientAuth::Presented,
            Self::Psk => return said != ClientAuth::Unknown,
            Self::NoHandshake => {
                return said != ClientAuth::Unknown && outcome == Outcome::Established;
            }
            Self::Unlabelled => return false,
        };
        resumed || (said != ClientAuth::Unknown && said != expected)
    }
}

/// Something that happened after the ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record: who sent it, its content type and its length.
    Record(Direction, u8, u16),
    /// An end of the connection: who closed.
    Close(Direction),
}

/// One recorded connection.
#[derive(Clone, Debug)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: usize,
    /// TLS library of the client.
    pub client_stack: String,
    /// TLS library of the server.
    pub server_stack: String,
    /// What is known to be true of it.
    pub truth: Truth,
    /// How it was made.
    pub notes: String,
    /// The length of the first identity that the client offered.
    pub identity: Option<u16>,
    /// Absent where there was no ServerHello, or one with a suite that is not known.
    pub facts: Option<HelloFacts>,
    /// What followed the ServerHello, in the order seen.
    pub steps: Vec<Step>,
}

impl Row {
    /// Parses one line of the file.
    ///
    /// # Errors
    /// When the line is no JSON object of this shape.
    pub fn parse(line: usize, json: &str) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_str(json)?;
        let records = raw.records.unwrap_or_default();
        let hello = raw.hello.unwrap_or_default();
        let is = |record: &(String, u32, u32), direction: &str, content_type: u32| {
            record.0 == direction && record.1 == content_type
        };
        let encrypted = records.iter().position(|r| is(r, "S", 23)).unwrap_or(records.len());
        let first_server = records.iter().position(|r| is(r, "S", 22));
        let server_hello = records[..encrypted].iter().rposition(|r| is(r, "S", 22)).filter(|at| {
            // A HelloRetryRequest alone is no ServerHello.
            hello.hrr != Some(true) || first_server != Some(*at)
        });
        let client_hello: Vec<u16> = records[..first_server.unwrap_or(0)]
            .iter()
            .filter(|r| is(r, "C", 22))
            .map(|r| saturate(r.2))
            .collect();
        let facts = server_hello
            .and(raw.cipher.as_deref())
            .and_then(cipher_suite)
            .and_then(|suite| HelloFacts::for_cipher(suite).ok())
            .map(|facts| HelloFacts {
                psk_offered: hello.psk_offered == Some(true),
                psk_selected: hello.psk_selected == Some(true),
                early_data_offered: hello.early_data == Some(true),
                hello_retry_request: hello.hrr == Some(true),
                post_handshake_auth_offered: hello.pha == Some(true),
                record_size_limit: hello.rsl.map(saturate),
                certificate_compression_offered: hello.certcomp == Some(true),
                ..facts
            })
            .map(|facts| facts.with_client_hello_records(&client_hello));
        let steps = records[server_hello.map_or(0, |at| at + 1)..].iter().filter_map(step);
        Ok(Self {
            line,
            client_stack: raw.client_stack.unwrap_or_default(),
            server_stack: raw.server_stack.unwrap_or_default(),
            truth: Truth::parse(&raw.ground_truth.unwrap_or_default()),
            notes: raw.notes.unwrap_or_default(),
            identity: hello.psk_id_len.map(saturate),
            facts,
            steps: steps.collect(),
        })
    }

    /// Whether the client's handshake was completed and its records are not padded on purpose: what
    /// the classifier should be able to read.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let aborted = |step: &Step| matches!(step, Step::Record(Direction::ToServer, content_type, _) if *content_type == 21);
        matches!(self.truth, Truth::Oneway | Truth::Empty | Truth::Mtls | Truth::Psk)
            && !self.notes.starts_with("pad:client")
            && !self.steps.iter().any(aborted)
    }

    /// Classifies the connection from all its records; `None` without a ServerHello.
    #[must_use]
    pub fn classify(&self) -> Option<Flights> {
        let mut flights = Flights::new(self.facts?);
        for &step in &self.steps {
            feed(&mut flights, step);
        }
        flights.finish();
        Some(flights)
    }

    /// The stream as in the file, without `change_cipher_spec`: `C53 S266 S-` for a close.
    #[must_use]
    pub fn stream(&self) -> String {
        let name = |direction| if direction == Direction::ToServer { 'C' } else { 'S' };
        let mut words = Vec::new();
        for &step in &self.steps {
            match step {
                Step::Record(_, 20, _) => {}
                Step::Record(direction, 23, length) => {
                    words.push(format!("{}{length}", name(direction)));
                }
                Step::Record(direction, content_type, length) => {
                    words.push(format!("{}{content_type}:{length}", name(direction)));
                }
                Step::Close(direction) => words.push(format!("{}-", name(direction))),
            }
        }
        words.join(" ")
    }
}

/// Gives one step to the classifier.
pub fn feed(flights: &mut Flights, step: Step) {
    match step {
        Step::Record(direction, content_type, length) => {
            flights.on_record(direction, content_type, length);
        }
        Step::Close(direction) => flights.on_close(direction),
    }
}

fn step(record: &(String, u32, u32)) -> Option<Step> {
    let direction = match record.0.as_str() {
        "C" => Direction::ToServer,
        "S" => Direction::ToClient,
        _ => return None,
    };
    Some(match u8::try_from(record.1).ok()? {
        0 => Step::Close(direction),
        content_type => Step::Record(direction, content_type, saturate(record.2)),
    })
}

fn saturate(length: u32) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn cipher_suite(name: &str) -> Option<u16> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => 0x1301,
        "TLS_AES_256_GCM_SHA384" => 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256" => 0x1303,
        "TLS_AES_128_CCM_SHA256" => 0x1304,
        "TLS_AES_128_CCM_8_SHA256" => 0x1305,
        _ => return None,
    })
}
