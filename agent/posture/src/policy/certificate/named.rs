//! Whether a certificate is for a name.

use rustls_pki_types::ServerName;
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// Whether the certificate is for this name. Where it names no DNS name or address at all, its common
/// name counts, as it does for OpenSSL: whoever does not take that refuses by itself.
pub(super) fn is_for(
    own: &X509Certificate<'_>,
    end_entity: &EndEntityCert<'_>,
    name: &str,
) -> bool {
    let name = unbracketed(name);
    if ServerName::try_from(name)
        .is_ok_and(|name| end_entity.verify_is_valid_for_subject_name(&name).is_ok())
    {
        return true;
    }
    let sans = own.subject_alternative_name().ok().flatten();
    let sans = || sans.iter().flat_map(|sans| &sans.value.general_names);
    // Envoy asks for names of these kinds as well.
    let is_it = |san: &GeneralName<'_>| matches!(san, GeneralName::URI(one) | GeneralName::RFC822Name(one) if *one == name);
    if sans().any(is_it) {
        return true;
    }
    let mut dns = sans().filter_map(|san| match san {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    if let Some(first) = dns.next() {
        // What is no name of a host, such as one with an underscore, may still be written there.
        return std::iter::once(first).chain(dns).any(|san| covers(san, name));
    }
    is_common_name(own, name)
}

/// Whether it is for the name of a host otherwise than by its common name.
pub(super) fn has_dns_names(own: &X509Certificate<'_>) -> bool {
    let sans = own.subject_alternative_name().ok().flatten();
    let mut sans = sans.iter().flat_map(|sans| &sans.value.general_names);
    sans.any(|san| matches!(san, GeneralName::DNSName(_)))
}

/// Whether its common name is this one.
pub(super) fn is_common_name(own: &X509Certificate<'_>, name: &str) -> bool {
    let mut common = own.subject().iter_common_name();
    common.any(|common| common.as_str().is_ok_and(|common| covers(common, unbracketed(name))))
}

/// An address as Go takes it, which leaves out what a URL has around one of IPv6.
fn unbracketed(name: &str) -> &str {
    name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name)
}

/// Whether a name in a certificate is this one, or stands for it by a `*` at the beginning or the end of
/// its first label, as OpenSSL takes it: whoever wants the whole label refuses by itself.
fn covers(san: &str, name: &str) -> bool {
    let by_wildcard = || {
        let ((pattern, san), (label, rest)) = (san.split_once('.')?, name.split_once('.')?);
        let is_international =
            label.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("xn--"));
        let is_covered = match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            ("*", ..) => !label.is_empty(),
            _ if is_international => false,
            (_, Some(end), _) => ends(label, end),
            (_, _, Some(begin)) => {
                label.get(..begin.len()).is_some_and(|part| part.eq_ignore_ascii_case(begin))
            }
            _ => false,
        };
        Some(is_covered && san.contains('.') && san.eq_ignore_ascii_case(rest))
    };
    san.eq_ignore_ascii_case(name) || by_wildcard().unwrap_or(false)
}

fn ends(label: &str, end: &str) -> bool {
    let at = label.len().checked_sub(end.len());
    at.and_then(|at| label.get(at..)).is_some_and(|part| part.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_name_stands_for_others_as_openssl_takes_it() {
        for (san, name, expected) in [
            ("pay.upstream.test", "Pay.Upstream.TEST", true),
            ("*.upstream.test", "pay.upstream.test", true),
            ("*.upstream.test", "a.pay.upstream.test", false),
            ("*.upstream.test", ".upstream.test", false),
            ("*.upstream.test", "xn--a.upstream.test", true),
            ("p*.upstream.test", "pay.upstream.test", true),
            ("P*.upstream.test", "p.upstream.test", true),
            ("*y.upstream.test", "pay.upstream.test", true),
            ("p*.upstream.test", "shop.upstream.test", false),
            ("*y.upstream.test", "y.upstream.tests", false),
            ("p*y.upstream.test", "pay.upstream.test", false),
            ("xn--*.upstream.test", "xn--a.upstream.test", false),
            ("p*.upstream.test", "päy.upstream.test", true),
            ("*ä.upstream.test", "pay.upstream.test", false),
            ("*.test", "upstream.test", false),
            ("*", "pay", false),
        ] {
            assert_eq!(covers(san, name), expected, "{san} for {name}");
        }
    }
}
