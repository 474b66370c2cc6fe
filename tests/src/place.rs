//! Where a program of a test runs.

use std::ffi::OsString;

/// A part of the machine, by the program that runs others there.
#[derive(Clone, Debug)]
pub struct Place {
    launcher: Vec<OsString>,
    /// Whether the test can connect to what listens there.
    pub is_reachable: bool,
}

impl Place {
    /// Where the test itself is: for upstreams, whose connections nobody watches.
    #[must_use]
    pub const fn here() -> Self {
        Self { launcher: Vec::new(), is_reachable: true }
    }

    /// Where this program and its arguments take the command line that follows them.
    #[must_use]
    pub fn behind<const N: usize>(launcher: [OsString; N], is_reachable: bool) -> Self {
        Self { launcher: launcher.into(), is_reachable }
    }

    /// The command line that runs `program` there.
    #[must_use]
    pub fn wrap<A: Into<OsString>>(
        &self,
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> (OsString, Vec<OsString>) {
        let own = std::iter::once(program.into()).chain(args.into_iter().map(Into::into));
        let mut words = self.launcher.iter().cloned().chain(own);
        (words.next().unwrap_or_default(), words.collect())
    }
}
