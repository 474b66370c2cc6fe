//! Chains made for every run, each with one thing about it that is not ordinary.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CrlDistributionPoint, CrlIssuingDistributionPoint, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, SigningKey, date_time_ymd,
};

/// When the handshakes are.
pub const NOW: u64 = 1_790_000_000;
/// The name that the proxy uses.
pub const NAME: &str = "pay.upstream.test";

/// What the proxy trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    Root,
    /// Another CA.
    Stranger,
    /// Another CA that has the root's name.
    Namesake,
    /// The CA that signed the leaf, if that is not the root.
    Issuer,
    /// The leaf itself.
    Leaf,
    /// The root and strangers.
    Bundle,
}

/// What is sent behind the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    All,
    WithoutTheFirst,
    WithoutTheLast,
    Reversed,
    WithTheRoot,
    WithStrangers,
    Twice,
}

/// What a CA's list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Absent,
    Empty,
    /// It names the certificate that the CA has signed here.
    Revoking,
    RevokingAnother,
    Ended,
    /// Another key signed it.
    ByANamesake,
    /// There are two: it names the certificate, and a newer one that another key signed does not.
    RevokingBesideANamesake,
    /// It names the certificate, and spells the CA's name otherwise.
    RevokingSpelledOtherwise,
    /// It is of the certificates that name its place.
    OfAPart,
}

/// A chain before it is signed: the root first, the leaf last.
pub struct Plan {
    pub params: Vec<CertificateParams>,
    /// Of this one another key signed, whose CA has the issuer's name.
    pub signed_by_a_namesake: Option<usize>,
    /// This one has its issuer's name in other letters, which are the same name (RFC 5280 section 7.1).
    pub issuer_spelled_otherwise: Option<usize>,
    pub trusted: Trusted,
    pub sent: Sent,
    pub name: Option<&'static str>,
    pub at: u64,
    /// The lists of its CAs, the root's first; empty where nobody asks for any.
    pub lists: Vec<Listed>,
}

/// A chain as it is presented.
pub struct Made {
    /// The leaf first.
    pub presented: Vec<Certificate>,
    pub trusted: Vec<Certificate>,
    /// PEM.
    pub lists: Vec<String>,
    /// Whether it is asked which certificates are revoked.
    pub has_lists: bool,
    pub name: Option<&'static str>,
    pub at: u64,
}

impl Plan {
    /// An ordinary one with so many intermediates.
    pub fn of(depth: usize) -> Self {
        let ca = |level: usize| {
            let mut params = named(&format!("CA {level}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        leaf.distinguished_name = named("leaf").distinguished_name;
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.is_ca = IsCa::ExplicitNoCa;
        let mut params: Vec<_> = (0..=depth).map(ca).chain([leaf]).collect();
        for (params, serial) in params.iter_mut().zip(1_000_u64..) {
            params.serial_number = Some(serial.into());
        }
        Self {
            params,
            lists: Vec::new(),
            signed_by_a_namesake: None,
            issuer_spelled_otherwise: None,
            trusted: Trusted::Root,
            sent: Sent::All,
            name: Some(NAME),
            at: NOW,
        }
    }

    pub fn root(&mut self) -> &mut CertificateParams {
        &mut self.params[0]
    }

    /// The CA that issues the leaf.
    pub fn issuer(&mut self) -> &mut CertificateParams {
        let at = self.params.len() - 2;
        &mut self.params[at]
    }

    pub fn leaf(&mut self) -> &mut CertificateParams {
        self.params.last_mut().unwrap()
    }

    /// Signs it all with keys of this kind.
    pub fn make(self, key: impl Fn() -> KeyPair) -> Made {
        let last = self.params.len() - 1;
        let mut all: Vec<Certificate> = Vec::new();
        let mut issuers: Vec<Issuer<'static, KeyPair>> = Vec::new();
        for (level, params) in self.params.iter().enumerate() {
            let own = key();
            let certificate = match issuers.last() {
                None => params.self_signed(&own),
                Some(issuer) => {
                    let (mut above, another) = (self.params[level - 1].clone(), key());
                    if self.issuer_spelled_otherwise == Some(level) {
                        above.distinguished_name = in_other_letters(&above.distinguished_name);
                    }
                    let is_by_another = self.signed_by_a_namesake == Some(level);
                    let signer = if is_by_another { &another } else { issuer.key() };
                    params.signed_by(&own, &Issuer::from_params(&above, signer))
                }
            };
            all.push(certificate.unwrap());
            issuers.push(Issuer::new(params.clone(), own));
        }
        let lists =
            self.lists.iter().zip(&issuers).enumerate().flat_map(|(level, (listed, issuer))| {
                let child = self.params[level + 1].serial_number.clone();
                lists(*listed, &self.params[level], issuer, child, &key)
            });
        let (lists, has_lists) = (lists.collect(), !self.lists.is_empty());
        let stranger = |params: CertificateParams| {
            let key = key();
            params.self_signed(&key).unwrap()
        };
        let other = || {
            let mut params = self.params[0].clone();
            params.distinguished_name = named("Stranger").distinguished_name;
            stranger(params)
        };
        let trusted = match self.trusted {
            Trusted::Root => vec![all[0].clone()],
            Trusted::Stranger => vec![other()],
            Trusted::Namesake => vec![stranger(self.params[0].clone())],
            Trusted::Issuer => vec![all[last - 1].clone()],
            Trusted::Leaf => vec![all[last].clone()],
            Trusted::Bundle => vec![other(), all[0].clone(), other()],
        };
        let mut behind: Vec<Certificate> = all[1..last].iter().rev().cloned().collect();
        match self.sent {
            Sent::All => {}
            Sent::WithoutTheFirst => drop(behind.drain(..1)),
            Sent::WithoutTheLast => drop(behind.pop()),
            Sent::Reversed => behind.reverse(),
            Sent::WithTheRoot => behind.push(all[0].clone()),
            Sent::WithStrangers => {
                behind.insert(0, other());
                behind.push(other());
            }
            Sent::Twice => behind.extend(behind.clone()),
        }
        let presented = std::iter::once(all[last].clone()).chain(behind).collect();
        Made { presented, trusted, lists, has_lists, name: self.name, at: self.at }
    }
}

/// The lists of a CA with these parameters, which has signed the certificate with the number `child`.
fn lists(
    listed: Listed,
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
    child: Option<SerialNumber>,
    key: impl Fn() -> KeyPair,
) -> Vec<String> {
    let namesake = || Issuer::new(params.clone(), key());
    let of = |scope| CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint { uris: vec!["http://ca.test/list".to_owned()] },
        scope,
    };
    let empty = List::default();
    let revoking = List { revoked: child, ..List::default() };
    match listed {
        Listed::Absent => Vec::new(),
        Listed::Empty => vec![empty.signed(issuer)],
        Listed::Revoking => vec![revoking.signed(issuer)],
        Listed::RevokingAnother => {
            vec![List { revoked: Some(7_u64.into()), ..empty }.signed(issuer)]
        }
        Listed::Ended => vec![List { ends: 2026, ..empty }.signed(issuer)],
        Listed::ByANamesake => vec![empty.signed(&namesake())],
        Listed::RevokingBesideANamesake => {
            let newer = List { day: 25, ..List::default() };
            vec![newer.signed(&namesake()), revoking.signed(issuer)]
        }
        Listed::RevokingSpelledOtherwise => {
            let mut params = params.clone();
            params.distinguished_name = in_other_letters(&params.distinguished_name);
            vec![revoking.signed(&Issuer::from_params(&params, issuer.key()))]
        }
        Listed::OfAPart => vec![List { part: Some(of(None)), ..empty }.signed(issuer)],
    }
}

/// The same name (RFC 5280 section 7.1) in other letters.
fn in_other_letters(name: &DistinguishedName) -> DistinguishedName {
    let mut other = DistinguishedName::new();
    for (kind, value) in name.iter() {
        let DnValue::Utf8String(text) = value else { unreachable!("names are in UTF-8") };
        other.push(kind.clone(), text.to_lowercase().replace(' ', "  "));
    }
    other
}

/// What is particular of a list.
struct List {
    revoked: Option<SerialNumber>,
    /// When it begins, in January of 2026, and the year in which it ends.
    day: u8,
    ends: i32,
    part: Option<CrlIssuingDistributionPoint>,
}

impl Default for List {
    fn default() -> Self {
        Self { revoked: None, day: 20, ends: 2036, part: None }
    }
}

impl List {
    /// In PEM.
    fn signed<S: SigningKey>(self, issuer: &Issuer<'_, S>) -> String {
        let revoked = self.revoked.map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: date_time_ymd(2026, 1, 15),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, self.day),
            next_update: date_time_ymd(self.ends, 2, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: self.part,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    }
}

pub fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
    params.use_authority_key_identifier_extension = false;
    params
}
