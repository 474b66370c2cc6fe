//! Protocol versions.

use crate::model::Word;

/// A protocol version as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsVersion(pub u16);

impl TlsVersion {
    /// TLS 1.2, 0x0303.
    pub const TLS12: Self = Self(0x0303);
    /// TLS 1.3, 0x0304.
    pub const TLS13: Self = Self(0x0304);

    /// True for TLS 1.3 and its drafts: after the ServerHello everything is encrypted.
    #[must_use]
    pub const fn encrypts_handshake(self) -> bool {
        self.0 == Self::TLS13.0 || self.is_draft()
    }

    /// True for a draft of TLS 1.3: 0x7fNN, and vendors' own at 0x7eNN and 0xfbNN.
    #[must_use]
    pub const fn is_draft(self) -> bool {
        matches!(self.0 >> 8, 0x7e | 0x7f | 0xfb)
    }

    /// As it is written in reports: `SSLv2`, `SSLv3`, `1.0` … `1.3`.
    #[must_use]
    pub fn name(self) -> Word {
        match self.0 {
            0x0002 => "SSLv2".into(),
            0x0300 => "SSLv3".into(),
            0x0301 => "1.0".into(),
            0x0302 => "1.1".into(),
            0x0303 => "1.2".into(),
            0x0304 => "1.3".into(),
            other if self.is_draft() => format!("1.3-draft{}", other & 0xff).into(),
            other => format!("0x{other:04x}").into(),
        }
    }

    pub(super) const fn is_known(self) -> bool {
        matches!(self.0, 0x0002 | 0x0300..=0x0304) || self.is_draft()
    }
}

/// [`TlsVersion::encrypts_handshake`] of a version as it is written in reports.
#[must_use]
pub fn encrypts_handshake(name: &str) -> bool {
    name.starts_with("1.3")
}

impl std::fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}
