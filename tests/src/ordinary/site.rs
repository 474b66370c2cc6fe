//! What runs around one proxy: its upstreams with their logs, and the addresses of its hops.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    cgroup::Cgroup,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{DOMAIN, Pki},
    place::Place,
    truth::{self, Seen},
};

/// How the upstream of a hop is to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TLS, and it asks for a certificate, which the proxy has.
    Mutual,
    /// TLS, and it does not ask.
    OneWay,
    /// HTTP in the clear.
    Clear,
}

/// One hop of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Its name, also the first label of the upstream's.
    pub name: &'static str,
    /// How its upstream is to be spoken to.
    pub kind: Kind,
    /// Where the proxy listens for it, in the clear.
    pub front: SocketAddr,
    /// Where its upstream listens.
    pub dial: SocketAddr,
}

impl Hop {
    /// The upstream's name.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{DOMAIN}", self.name)
    }
}

/// How the upstreams answer.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// Those under TLS speak HTTP/2.
    pub http2: bool,
    /// Connections are kept for a few more requests; else each request is a connection.
    pub keep_alive: bool,
    /// The versions of TLS, in nginx's words.
    pub versions: &'static str,
}

impl Default for Answers {
    fn default() -> Self {
        Self { http2: false, keep_alive: false, versions: "TLSv1.2 TLSv1.3" }
    }
}

/// Upstreams that run, in a directory and a cgroup that go with them.
#[derive(Debug)]
pub struct Site {
    /// A mutual one, a one-way one, one in the clear.
    pub hops: [Hop; 3],
    /// The certificates of all of them.
    pub pki: Pki,
    cgroup: Cgroup,
    block: Loopback,
    _upstreams: Nginx,
    dir: tempfile::TempDir,
}

impl Site {
    /// Starts the upstreams.
    ///
    /// # Errors
    /// When nginx does not start.
    pub fn start(answers: Answers) -> anyhow::Result<Self> {
        Self::start_in(Cgroup::create()?, answers)
    }

    /// The same, with a cgroup for the proxy.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub fn start_in(cgroup: Cgroup, answers: Answers) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("hopsight-ordinary-").tempdir();
        let dir = dir.context("create a temporary directory")?;
        let pki = Pki::create(&dir.path().join("pki"))?;
        // Some proxies read their keys as another user.
        open_to_all(dir.path())?;
        let block = Loopback::reserve()?;
        let hop = |name, kind, number: u8, port| Hop {
            name,
            kind,
            front: block.socket(1, 7000 + u16::from(number)),
            dial: block.socket(10 + number, port),
        };
        let hops = [
            hop("mutual", Kind::Mutual, 0, 8443),
            hop("one-way", Kind::OneWay, 1, 8443),
            hop("clear", Kind::Clear, 2, 8080),
        ];
        let upstreams = dir.path().join("upstream");
        let mut config =
            nginx::Config { workers: 2, connections: 4096, ..nginx::Config::default() };
        for hop in &hops {
            config.http += &server(hop, answers, &pki, &log_of(&upstreams, hop))?;
        }
        let started = Nginx::start(&upstreams, &config, &Place::here(), hops[0].dial)?;
        Ok(Self { hops, pki, cgroup, block, _upstreams: started, dir })
    }

    /// The hops of these kinds.
    #[must_use]
    pub fn hops_of(&self, kinds: &[Kind]) -> Vec<Hop> {
        self.hops.iter().filter(|hop| kinds.contains(&hop.kind)).copied().collect()
    }

    /// Where the proxy runs.
    #[must_use]
    pub fn place(&self) -> Place {
        self.cgroup.place()
    }

    /// The agent's options for watching it and nothing else.
    ///
    /// # Errors
    /// When its path is not UTF-8.
    pub fn watched(&self) -> anyhow::Result<[&str; 2]> {
        self.cgroup.options()
    }

    /// A directory for the proxy's files, which every user may enter.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An address of nobody else, for what listens beside the hops.
    #[must_use]
    pub const fn spare(&self, port: u16) -> SocketAddr {
        self.block.socket(2, port)
    }

    /// What the upstream of a hop logged.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn truth(&self, hop: &Hop) -> anyhow::Result<Vec<Seen>> {
        truth::nginx(&log_of(&self.dir.path().join("upstream"), hop))
    }
}

fn log_of(upstreams: &Path, hop: &Hop) -> PathBuf {
    upstreams.join(format!("{}.access.log", hop.name))
}

fn server(hop: &Hop, answers: Answers, pki: &Pki, log: &Path) -> anyhow::Result<String> {
    let Hop { name, kind, dial, .. } = hop;
    let Answers { http2, keep_alive, versions } = answers;
    let tls = match kind {
        Kind::Clear => String::new(),
        Kind::Mutual | Kind::OneWay => format!(
            "ssl_protocols {versions};\nssl_certificate {};\nssl_certificate_key {};\n\
             ssl_client_certificate {};\nssl_verify_client {};\nssl_verify_depth 3;\n\
             ssl_session_cache shared:{name}:1m;\n",
            utf8(&pki.server.chain)?,
            utf8(&pki.server.key)?,
            utf8(&pki.root)?,
            if *kind == Kind::Mutual { "on" } else { "off" },
        ),
    };
    let words = match (kind, http2) {
        (Kind::Clear, _) => "",
        (_, false) => " ssl",
        (_, true) => " ssl http2",
    };
    let keep = match (keep_alive, http2) {
        (true, _) => "keepalive_requests 5;\n",
        (false, false) => "keepalive_timeout 0;\n",
        // HTTP/2 without any time is over before it begins.
        (false, true) => "keepalive_requests 1;\n",
    };
    Ok(format!(
        "server {{\nlisten {dial}{words};\n{tls}{keep}access_log {} truth;\n\
         location / {{ default_type text/plain; return 200 \"{name}\\n\"; }}\n}}\n",
        utf8(log)?
    ))
}

/// Lets every user read what is there.
fn open_to_all(dir: &Path) -> anyhow::Result<()> {
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("open {} to all", path.display()))
    };
    set(dir, 0o777)?;
    set(&dir.join("pki"), 0o755)?;
    for entry in fs::read_dir(dir.join("pki")).context("list the certificates")? {
        set(&entry.context("list the certificates")?.path(), 0o644)?;
    }
    Ok(())
}
