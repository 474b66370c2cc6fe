//! ServerKeyExchange up to TLS 1.2 (RFC 5246 section 7.4.3, RFC 8422 section 5.4, RFC 4279, RFC 5489).

use tls_parser::{TlsCipherAu, TlsCipherKx, TlsCipherSuite};

use super::{
    fields::Fields,
    group::NamedGroup,
    hello::ServerHello,
    scheme::{SignatureScheme, of_signature},
};
use crate::model::Word;

/// What the keys of a handshake come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// This group.
    Group(NamedGroup),
    /// Powers modulo a prime of so many bits, which the server sent: up to TLS 1.2 such a group has no
    /// number.
    Prime(u16),
}

impl Exchange {
    /// The group's registered name, or `dh2048` for a prime of that many bits.
    #[must_use]
    pub fn name(self) -> Word {
        match self {
            Self::Group(group) => group.name(),
            Self::Prime(bits) => format!("dh{bits}").into(),
        }
    }
}

/// What a ServerKeyExchange says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerKeyExchange {
    /// What the keys come from.
    pub exchange: Exchange,
    /// What the server signed it with; `None` where it signed nothing, or does not say.
    pub signature: Option<SignatureScheme>,
    /// The suite makes the server sign it.
    pub is_signed: bool,
}

/// How a cipher suite up to TLS 1.2 makes its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server sends a fresh point of a curve.
    Curve,
    /// The server sends a prime and a fresh power.
    Prime,
    /// The client encrypts them to the key in the server's certificate.
    Transport,
    /// Something else, without a group that the handshake names.
    Other,
}

/// How this suite makes its keys; `None` of one that is not known, and of those of TLS 1.3.
#[must_use]
pub fn kind(cipher: u16) -> Option<Kind> {
    let suite = TlsCipherSuite::from_id(cipher)?;
    let is_anonymous = suite.au == TlsCipherAu::Null;
    Some(match suite.kx {
        TlsCipherKx::Ecdhe | TlsCipherKx::Aecdh => Kind::Curve,
        TlsCipherKx::Ecdh if is_anonymous => Kind::Curve,
        TlsCipherKx::Dhe => Kind::Prime,
        TlsCipherKx::Dh if is_anonymous => Kind::Prime,
        // With a pre-shared key beside it, too (RFC 4279 section 4).
        TlsCipherKx::Rsa => Kind::Transport,
        TlsCipherKx::Tls13 => return None,
        TlsCipherKx::Null
        | TlsCipherKx::Psk
        | TlsCipherKx::Krb5
        | TlsCipherKx::Srp
        | TlsCipherKx::Dh
        | TlsCipherKx::Ecdh
        | TlsCipherKx::Eccpwd => Kind::Other,
    })
}

impl ServerKeyExchange {
    /// Reads the body of the message that follows this ServerHello; `None` where the suite has no
    /// group, or the body is not what the suite makes it.
    #[must_use]
    pub fn parse(hello: &ServerHello, body: &[u8]) -> Option<Self> {
        let suite = TlsCipherSuite::from_id(hello.cipher)?;
        let mut fields = Fields::of(body);
        if suite.au == TlsCipherAu::Psk {
            let _hint = fields.prefixed::<2>()?;
        }
        let exchange = match kind(hello.cipher)? {
            Kind::Curve => curve(&mut fields)?,
            Kind::Prime => prime(&mut fields)?,
            Kind::Transport | Kind::Other => return None,
        };
        let is_signed =
            matches!(suite.au, TlsCipherAu::Rsa | TlsCipherAu::Dss | TlsCipherAu::Ecdsa);
        let signature = is_signed.then(|| of_signature(hello.version, fields.rest())).flatten();
        Some(Self { exchange, signature, is_signed })
    }
}

/// A named curve and a point on it. Curves that are spelled out have numbers that say just that, and
/// what follows them is not read.
fn curve(fields: &mut Fields<'_>) -> Option<Exchange> {
    const EXPLICIT_PRIME: u8 = 1;
    const EXPLICIT_CHAR2: u8 = 2;
    const NAMED_CURVE: u8 = 3;
    let [kind] = fields.array()?;
    let group = match kind {
        NAMED_CURVE => {
            let group = NamedGroup(fields.u16()?);
            let _point = fields.prefixed::<1>()?;
            group
        }
        EXPLICIT_PRIME | EXPLICIT_CHAR2 => {
            *fields = Fields::of(&[]);
            NamedGroup(0xff00 + u16::from(kind))
        }
        _ => return None,
    };
    Some(Exchange::Group(group))
}

fn prime(fields: &mut Fields<'_>) -> Option<Exchange> {
    let prime = fields.prefixed::<2>()?;
    let _generator = fields.prefixed::<2>()?;
    let _power = fields.prefixed::<2>()?;
    let zeros = prime.iter().take_while(|byte| **byte == 0).count();
    let significant = prime.get(zeros..)?;
    let unused = significant.first().map_or(0, |first| first.leading_zeros());
    let bits = significant.len() * 8 - usize::try_from(unused).unwrap_or(0);
    // A field of at most 2^16 - 1 bytes has more bits than fit; such a prime is nobody's.
    Some(Exchange::Prime(u16::try_from(bits).unwrap_or(u16::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::hello::TlsVersion;

    fn hello(version: u16, cipher: u16) -> ServerHello {
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(cipher.to_be_bytes());
        body.push(0);
        ServerHello::parse(&body).unwrap()
    }

    #[test]
    fn the_suite_says_how_the_message_is_read() {
        let point = [&[3, 0, 29, 2][..], &[7, 7]].concat();
        let signed = [&point[..], &[8, 4, 0, 1, 9]].concat();
        let dh = [&[0, 3, 0, 0x80, 1][..], &[0, 1, 2], &[0, 1, 5], &[4, 1, 0, 1, 9]].concat();
        let hint = [&[0, 1, b'h'][..], &point].concat();
        let explicit = [1, 2, 3, 4];
        for (name, version, cipher, body, expected) in [
            ("ECDHE_RSA", 0x0303, 0xc02f, &signed, Some(("x25519", "rsa_pss_rsae_sha256", true))),
            ("the same in TLS 1.1", 0x0302, 0xc013, &signed, Some(("x25519", "", true))),
            ("DHE_RSA", 0x0303, 0x009e, &dh, Some(("dh16", "rsa_pkcs1_sha256", true))),
            ("DHE_DSS", 0x0303, 0x0040, &dh, Some(("dh16", "rsa_pkcs1_sha256", true))),
            ("ECDH_anon", 0x0303, 0xc018, &point, Some(("x25519", "", false))),
            ("ECDHE_PSK", 0x0303, 0xc037, &hint, Some(("x25519", "", false))),
            (
                "a curve spelled out",
                0x0303,
                0xc02f,
                &explicit.to_vec(),
                Some(("arbitrary_explicit_prime_curves", "", true)),
            ),
            ("RSA", 0x0303, 0x009c, &signed, None),
            ("a suite that is not known", 0x0303, 0xfafa, &signed, None),
            ("cut", 0x0303, 0xc02f, &point[..3].to_vec(), None),
            ("nothing", 0x0303, 0x009e, &vec![], None),
        ] {
            let read = ServerKeyExchange::parse(&hello(version, cipher), body);
            let words = read.map(|read| {
                let signature = read.signature.map(SignatureScheme::name).unwrap_or_default();
                (read.exchange.name().into_owned(), signature.into_owned(), read.is_signed)
            });
            let expected = expected.map(|(group, signature, is_signed)| {
                (group.to_owned(), signature.to_owned(), is_signed)
            });
            assert_eq!(words, expected, "{name}");
        }
        assert_eq!(hello(0x0303, 0xc02f).version, TlsVersion::TLS12);
    }

    #[test]
    fn suites_make_their_keys_so() {
        for (name, cipher, expected) in [
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009c, Some(Kind::Transport)),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, Some(Kind::Curve)),
            ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009e, Some(Kind::Prime)),
            ("TLS_DH_anon_WITH_AES_128_CBC_SHA", 0x0034, Some(Kind::Prime)),
            ("TLS_ECDH_RSA_WITH_AES_128_CBC_SHA", 0xc00e, Some(Kind::Other)),
            ("TLS_PSK_WITH_AES_128_CBC_SHA", 0x008c, Some(Kind::Other)),
            ("TLS_AES_128_GCM_SHA256", 0x1301, None),
            ("not assigned", 0xfafa, None),
        ] {
            assert_eq!(kind(cipher), expected, "{name}");
        }
    }
}
