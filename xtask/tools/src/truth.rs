//! What is known of the connections in a folder of captures, as its file [`TRUTH`] says.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, str::FromStr};

use anyhow::Context as _;
use hopsight_core::vocabulary;

/// Name of the file.
pub const TRUTH: &str = "TRUTH.tsv";
/// Its first line: the names of its columns.
pub const HEAD: &str = "file\tclient\tserver\tanswer\tversion\tresumed\tmark";

vocabulary! {
    /// What a connection is, or is said to be.
    Answer {
        /// No TLS.
        Plaintext => "plaintext",
        /// TLS, and the client proved no identity of its own.
        OneWay => "one-way",
        /// TLS, and the client presented a certificate that was not refused.
        Mutual => "mutual",
        /// Nobody says.
        Unknown => "unknown",
    }
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().copied().find(|answer| answer.as_str() == word);
        found.with_context(|| format!("{word:?} is none of the answers that there are"))
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What its server said.
    pub answer: Answer,
    /// `1.0` … `1.3`; empty without TLS, and where the server did not say.
    pub version: String,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// What is special about it: `padded`, `post-quantum`, `refused`, or nothing.
    pub mark: String,
}

impl Known {
    /// The row of the table that it is counted in.
    #[must_use]
    pub fn class(&self) -> String {
        if self.answer == Answer::Plaintext {
            return "in the clear".to_owned();
        }
        if self.mark == "refused" {
            return "a certificate that was refused".to_owned();
        }
        let version = if self.version == "1.3" { "TLS 1.3" } else { "TLS 1.0 to 1.2" };
        let resumed = if self.resumed { ", resumed" } else { "" };
        let mark = if self.mark.is_empty() { String::new() } else { format!(", {}", self.mark) };
        format!("{version}{mark}{resumed}")
    }
}

/// The connections of one capture, by the client's end.
pub type OfFile = BTreeMap<SocketAddr, Known>;

/// Reads what is known of the captures in a folder.
///
/// # Errors
/// When it has no such file, or a line of it cannot be read; the message says which.
pub fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, OfFile>> {
    let path = folder.join(TRUTH);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, OfFile>> {
    let mut lines = text.lines();
    anyhow::ensure!(lines.next() == Some(HEAD), "its first line is not {HEAD:?}");
    let mut all = BTreeMap::<String, OfFile>::new();
    for (number, line) in (2..).zip(lines) {
        let columns: Vec<_> = line.split('\t').collect();
        let &[file, client, _server, answer, version, resumed, mark] = &*columns else {
            anyhow::bail!("line {number} has {} columns instead of 7", columns.len());
        };
        let client = client.parse().with_context(|| format!("read the client of line {number}"))?;
        let answer = answer.parse().with_context(|| format!("read line {number}"))?;
        let (version, mark) = (version.to_owned(), mark.to_owned());
        let known = Known { answer, version, resumed: resumed == "yes", mark };
        let of_file = all.entry(file.to_owned()).or_default();
        anyhow::ensure!(
            of_file.insert(client, known).is_none(),
            "line {number}: {client} is there twice in {file}"
        );
    }
    Ok(all)
}

/// How a reader did on the connections of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// It said what is so.
    pub right: u32,
    /// It said something else.
    pub wrong: u32,
    /// It said nothing, or that it does not know.
    pub unknown: u32,
}

impl Score {
    /// Counts one answer.
    pub fn count(&mut self, known: Answer, said: Option<Answer>) {
        match said {
            None | Some(Answer::Unknown) => self.unknown += 1,
            Some(said) if said == known => self.right += 1,
            Some(_) => self.wrong += 1,
        }
    }

    /// Of what it said, how much is so; `None` where it said nothing.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        let said = self.right + self.wrong;
        (said > 0).then(|| f64::from(self.right) / f64::from(said))
    }

    /// Of what is so, how much it said.
    #[must_use]
    pub fn recall(&self) -> f64 {
        f64::from(self.right) / f64::from(self.right + self.wrong + self.unknown).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read_and_what_cannot_be_is_named() {
        let line = "a.pcap\t127.0.0.1:1\t127.0.0.1:2\tmutual\t1.3\tyes\tpadded";
        let known = parse(&format!("{HEAD}\n{line}\n")).unwrap();
        let client = "127.0.0.1:1".parse().unwrap();
        assert_eq!(known["a.pcap"][&client].class(), "TLS 1.3, padded, resumed");
        for (name, text, expected) in [
            ("no head", line.to_owned(), "its first line is not"),
            ("another word", line.replace("mutual", "mtls"), "line 2"),
            ("twice", format!("{line}\n{line}"), "line 3: 127.0.0.1:1 is there twice"),
            ("too few", line.replace("\tpadded", ""), "line 2 has 6 columns"),
        ] {
            let text = if name == "no head" { text } else { format!("{HEAD}\n{text}\n") };
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn silence_is_neither_right_nor_wrong() {
        let mut score = Score::default();
        assert_eq!((score.precision(), score.recall().to_bits()), (None, 0.0_f64.to_bits()));
        for said in [None, Some(Answer::Unknown), Some(Answer::OneWay), Some(Answer::Mutual)] {
            score.count(Answer::Mutual, said);
        }
        assert_eq!(score, Score { right: 1, wrong: 1, unknown: 2 });
        assert_eq!(score.precision(), Some(0.5));
        assert!((score.recall() - 0.25).abs() < f64::EPSILON);
    }
}
