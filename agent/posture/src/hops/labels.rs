//! Rules for text that comes from outside and ends up as a label value or on a terminal.
//!
//! Process names, server names and certificates are chosen by others. Here they lose what could
//! break a line, a terminal or a screen reader, and get a bounded length.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use hopsight_core::{
    model::{Origin, address_text, canonical},
    report::ConnectionReport,
    tls::{
        certificate::MAX_ISSUERS,
        certificate_facts::{CertificateFacts, IssuerFacts},
    },
};

/// Label value that stands for everything beyond a limit. No sanitised value begins with `~`.
pub const OTHER: &str = "~other";

/// `proxy` label of connections read from a packet capture, which knows no processes.
pub const PACKET_CAPTURE: &str = "~capture";

/// `proxy` or `upstream` value where the source gave an empty one.
pub const UNNAMED: &str = "~unnamed";

/// What stands between namespace and workload in a `proxy` label. Neither can contain it.
const WORKLOAD_SEPARATOR: char = '/';

/// What stands between the name of a process and its owner in a `proxy` label, where the name alone
/// stands for somebody else.
pub const OWNER_SEPARATOR: char = '@';

/// Longest label value in bytes. A bracketed IPv6 address with port needs 47.
pub const MAX_LABEL_BYTES: usize = 128;

/// Longest text kept of one certificate field or server name (a DNS name has at most 253 bytes).
pub const MAX_TEXT_BYTES: usize = 256;

/// Subject alternative names kept of one certificate.
pub const MAX_SANS: usize = 32;

/// Makes a label value: printable, not empty, at most [`MAX_LABEL_BYTES`], never beginning with `~`.
#[must_use]
pub fn label(value: &str) -> Arc<str> {
    sanitised(value).into()
}

/// The same text as [`label`] makes, a copy only where it differs.
#[must_use]
pub fn sanitised(value: &str) -> Cow<'_, str> {
    let text = printable(value.trim(), MAX_LABEL_BYTES);
    match text.strip_prefix('~') {
        Some(rest) => format!("_{rest}").into(),
        None if text.is_empty() => UNNAMED.into(),
        None => text,
    }
}

/// Replaces what is not plain printable text by `_` and cuts at a character boundary so that at
/// most `max_bytes` remain, with `…` where something was cut.
#[must_use]
pub fn printable(value: &str, max_bytes: usize) -> Cow<'_, str> {
    // Almost every value there is. No early end, so that many bytes are looked at at once.
    let odd = |seen: bool, byte: u8| seen | !matches!(byte, b' '..=b'~');
    if value.len() <= max_bytes && !value.bytes().fold(false, odd) {
        return value.into();
    }
    let ellipsis = '…';
    let mut out = String::with_capacity(value.len().min(max_bytes));
    for (at, c) in value.char_indices() {
        let c = if is_plain(c) { c } else { '_' };
        let rest = value.len() - at;
        let fits = out.len() + rest <= max_bytes
            || out.len() + c.len_utf8() + ellipsis.len_utf8() <= max_bytes;
        if !fits {
            out.push(ellipsis);
            break;
        }
        out.push(c);
    }
    out.into()
}

/// Neither a control character nor one that changes the order or visibility of its neighbours
/// (Unicode bidirectional and zero-width formatting).
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The `proxy` label of a report whose process is in no pod that is known: the process name. A slash
/// in it is replaced, so that no process can pass for a workload.
#[must_use]
pub fn proxy(origin: &Origin) -> Arc<str> {
    match origin {
        Origin::Process(process) => match sanitised(&process.name) {
            text if text.contains(WORKLOAD_SEPARATOR) => {
                text.replace(WORKLOAD_SEPARATOR, "_").into()
            }
            Cow::Borrowed(same) if same == &*process.name => process.name.clone(),
            other => other.into(),
        },
        Origin::PacketCapture => PACKET_CAPTURE.into(),
    }
}

/// Namespace and workload in a `proxy` label; empty for a process name, which [`proxy`] makes
/// without a slash.
#[must_use]
pub fn workload_parts(proxy: &str) -> [&str; 2] {
    proxy.split_once(WORKLOAD_SEPARATOR).map_or([""; 2], |(namespace, name)| [namespace, name])
}

/// Whose a `proxy` label is, of those who share the table: a workload, an owner by its text, or
/// nobody in particular (empty) where a name stands alone.
#[must_use]
pub fn owner(proxy: &str) -> &str {
    match proxy.rsplit_once(OWNER_SEPARATOR) {
        Some((_, owner)) => owner,
        None if proxy.contains(WORKLOAD_SEPARATOR) => proxy,
        None => "",
    }
}

/// The `upstream` label of a report whose upstream has no name: `ip:port` as the process asked for
/// it, an IPv4-mapped IPv6 address as the IPv4 address it is.
#[must_use]
pub fn upstream(report: &ConnectionReport) -> Arc<str> {
    address(report.destination)
}

/// An address as `upstream` label.
#[must_use]
pub fn address(address: SocketAddr) -> Arc<str> {
    address_text(canonical(address)).into()
}

/// A copy of `facts` whose size is bounded and whose text is printable.
#[must_use]
pub fn bounded_certificate(facts: &CertificateFacts) -> CertificateFacts {
    let text = |value: &str| printable(value, MAX_TEXT_BYTES).into_owned();
    let mut sans: Vec<_> = facts.sans.iter().take(MAX_SANS).map(|san| text(san)).collect();
    if let Some(more) = facts.sans.len().checked_sub(MAX_SANS).filter(|&more| more > 0) {
        sans.push(format!("… and {more} more"));
    }
    CertificateFacts {
        subject: text(&facts.subject),
        issuer: text(&facts.issuer),
        sans,
        serial: text(&facts.serial),
        not_before: facts.not_before,
        not_after: facts.not_after,
        public_key: text(&facts.public_key),
        signature: text(&facts.signature),
        chain_length: facts.chain_length,
        sha256: facts.sha256,
        key_usage: facts.key_usage.clone(),
        extended_key_usage: facts.extended_key_usage.clone(),
        key_sha256: facts.key_sha256,
        timestamps: facts.timestamps,
        issuers: facts.issuers.iter().take(MAX_ISSUERS).map(bounded_issuer).collect(),
    }
}

/// The facts, shared where they are bounded, else as a bounded copy.
fn bounded_issuer(facts: &Arc<IssuerFacts>) -> Arc<IssuerFacts> {
    let text = |value: &str| printable(value, MAX_TEXT_BYTES).into_owned();
    let bounded = IssuerFacts {
        subject: text(&facts.subject),
        issuer: text(&facts.issuer),
        serial: text(&facts.serial),
        public_key: text(&facts.public_key),
        signature: text(&facts.signature),
        ..(**facts).clone()
    };
    if bounded == **facts { facts.clone() } else { bounded.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values() {
        let long = "x".repeat(500);
        let cut = format!("{}…", "x".repeat(125));
        let wide = "ü".repeat(100);
        let wide_cut = format!("{}…", "ü".repeat(62));
        for (name, input, want) in [
            ("plain", "nginx", "nginx"),
            ("address", "10.0.0.1:443", "10.0.0.1:443"),
            ("spaces around", "  envoy ", "envoy"),
            ("line break", "a\nb\"c\\", "a_b\"c\\"),
            ("terminal escape", "\u{1b}[31mred", "_[31mred"),
            ("right-to-left override", "a\u{202e}b", "a_b"),
            ("reserved mark", "~other", "_other"),
            ("empty", "", UNNAMED),
            ("only spaces", "   ", UNNAMED),
            ("too long", &long, &cut),
            ("cut between characters", &wide, &wide_cut),
        ] {
            let got = label(input);
            assert_eq!(&*got, want, "{name}");
            assert!(got.len() <= MAX_LABEL_BYTES, "{name}: {} bytes", got.len());
        }
    }

    #[test]
    fn only_a_workload_has_parts() {
        let process = |name: &str| proxy(&crate::hops::testing::process(name));
        for (name, label, parts) in [
            ("a workload", Arc::from("web/edge"), ["web", "edge"]),
            ("a process", process("nginx"), ["", ""]),
            ("a process that would pass for a workload", process("web/edge"), ["", ""]),
            ("what is beyond the limit", OTHER.into(), ["", ""]),
        ] {
            assert_eq!(workload_parts(&label), parts, "{name}");
        }
    }

    #[test]
    fn whose_a_label_is() {
        for (label, expected) in [
            ("nginx", ""),
            ("envoy", ""),
            ("web/edge", "web/edge"),
            ("nginx@user-1000", "user-1000"),
            ("x@y@user-1000", "user-1000"),
            (OTHER, ""),
        ] {
            assert_eq!(owner(label), expected, "{label}");
        }
    }

    #[test]
    fn text_of_exactly_the_limit_is_whole() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abc…");
    }
}
