//! Switching to another user.

use std::{fmt, fs, str::FromStr};

use anyhow::{Context as _, bail};
use rustix::{
    fs::{Gid, Uid},
    process::{getegid, geteuid},
    thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde::{Deserialize, Serialize};

/// A user and group to run as: a name of `/etc/passwd`, a number, or `USER:GROUP` in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct User {
    /// As it was written.
    text: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// Its number.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// Its group's number.
    #[must_use]
    pub const fn gid(&self) -> u32 {
        self.gid
    }

    /// Switches the calling thread to that user, without other groups. Capabilities stay permitted
    /// and are no longer effective.
    ///
    /// # Errors
    /// The thread cannot switch to another user, because CAP_SETUID or CAP_SETGID is missing.
    pub(super) fn switch_to(&self) -> anyhow::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if (geteuid(), getegid()) == (uid, gid) {
            return Ok(());
        }
        let change = || {
            set_keep_capabilities(true)?;
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            set_keep_capabilities(false)
        };
        change().with_context(|| {
            format!(
                "switch to user {self} (this needs CAP_SETUID and CAP_SETGID; else leave out --user)"
            )
        })
    }
}

impl FromStr for User {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let Some((uid, gid)) = find(text, &passwd) else {
            bail!("{text:?} is no user: give a name of /etc/passwd, UID or UID:GID");
        };
        Ok(Self { text: text.to_owned(), uid, gid })
    }
}

/// User and group id of `text`, with the lines of `/etc/passwd` (passwd(5)).
fn find(text: &str, passwd: &str) -> Option<(u32, u32)> {
    if let Some((uid, gid)) = text.split_once(':') {
        return Some((uid.parse().ok()?, gid.parse().ok()?));
    }
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == text || uid == text).then_some((uid.parse().ok()?, gid.parse().ok()?))
    });
    // A number needs no entry: images without files have none.
    known.or_else(|| text.parse().ok().map(|id| (id, id)))
}

impl TryFrom<String> for User {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: anyhow::Error| error.to_string())
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        user.text
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nhopsight:x:993:990::/:/usr/sbin/nologin\nodd\n";
        for (text, expected) in [
            ("hopsight", Some((993, 990))),
            ("993", Some((993, 990))),
            ("65532", Some((65532, 65532))),
            ("65532:100", Some((65532, 100))),
            ("0", Some((0, 0))),
            ("nobody-knows", None),
            ("odd", None),
            ("", None),
            ("-1", None),
            ("1:x", None),
        ] {
            assert_eq!(find(text, passwd), expected, "{text:?}");
        }
    }
}
