//! The kinds of proxies whose configuration can be read.

use hopsight_core::vocabulary;

vocabulary! {
    /// A kind of proxy whose configuration can be read.
    ProxyKind {
        /// nginx, and what is made of it.
        Nginx => "nginx",
        /// haproxy.
        Haproxy => "haproxy",
        /// Envoy.
        Envoy => "envoy",
        /// Caddy.
        Caddy => "caddy",
        /// Apache's HTTP server.
        Apache => "apache",
        /// Traefik.
        Traefik => "traefik",
    }
}

impl ProxyKind {
    /// Whether it takes in other configurations without a new process: what it runs is asked for.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Envoy | Self::Caddy | Self::Traefik)
    }

    /// What its process is called, unless somebody calls it otherwise.
    #[must_use]
    pub const fn process(self) -> &'static str {
        match self {
            // As Debian has it; elsewhere it is `httpd`.
            Self::Apache => "apache2",
            other => other.as_str(),
        }
    }

    /// Whether it starts processes in place of others that ended, with the configuration that it has
    /// loaded: that one was started says nothing about what is on disk.
    #[must_use]
    pub const fn replaces_workers(self) -> bool {
        matches!(self, Self::Nginx | Self::Apache)
    }

    /// The kind of proxy that a file is for, by its first line that tells.
    #[must_use]
    pub fn of_file(content: &str) -> Option<Self> {
        const SECTIONS: [&str; 7] =
            ["global", "defaults", "frontend", "backend", "listen", "resolvers", "userlist"];
        const OF_APACHE: [&str; 14] = [
            "balancermember",
            "defaultruntimedir",
            "define",
            "documentroot",
            "includeoptional",
            "loadmodule",
            "mutex",
            "proxypass",
            "proxypreservehost",
            "rewriteengine",
            "serveradmin",
            "servername",
            "serverroot",
            "sslproxyengine",
        ];
        // Top-level members of Traefik's configurations and none of Envoy's.
        const OF_TRAEFIK: [&str; 6] =
            ["http:", "tcp:", "providers:", "[http", "[tcp", "[providers"];
        const OF_ENVOY: [&str; 4] =
            ["static_resources", "staticResources", "dynamic_resources", "envoy.admin.v3"];
        if OF_ENVOY.iter().any(|word| content.contains(word)) {
            return Some(Self::Envoy);
        }
        // Which are found in any case.
        let begins = |line: &str| {
            let has = |begin: &&str| {
                line.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin))
            };
            OF_TRAEFIK.iter().any(has)
        };
        if content.lines().any(begins) {
            return Some(Self::Traefik);
        }
        if content.trim_start().starts_with('{') && content.contains("\"apps\"") {
            return Some(Self::Caddy);
        }
        // Of a Caddyfile, which has no `;` behind it.
        let proxies = |line: &str| {
            line.split_ascii_whitespace().next() == Some("reverse_proxy") && !line.contains(';')
        };
        if content.lines().any(proxies) {
            return Some(Self::Caddy);
        }
        let lines = content.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_ascii_whitespace().next().zip(Some(line))).find_map(
            |(first, line)| match line {
                _ if first.starts_with('<')
                    || OF_APACHE.contains(&first.to_ascii_lowercase().as_str()) =>
                {
                    Some(Self::Apache)
                }
                _ if line.contains([';', '{', '}']) => Some(Self::Nginx),
                _ if SECTIONS.contains(&first) => Some(Self::Haproxy),
                _ => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_what_it_is_for() {
        for (content, expected) in [
            ("# global\nuser www-data;\nevents {}\n", Some(ProxyKind::Nginx)),
            ("upstream app\n{\nserver 10.0.0.1;\n}", Some(ProxyKind::Nginx)),
            ("\n# a;\nglobal\n  maxconn 100\n", Some(ProxyKind::Haproxy)),
            ("backend app\n server a 10.0.0.1:80\n", Some(ProxyKind::Haproxy)),
            ("static_resources:\n  clusters: []\n", Some(ProxyKind::Envoy)),
            ("{\"staticResources\": {}}", Some(ProxyKind::Envoy)),
            ("{\"apps\": {\"http\": {}}}", Some(ProxyKind::Caddy)),
            ("# a\nDefaultRuntimeDir ${APACHE_RUN_DIR}\n", Some(ProxyKind::Apache)),
            ("Listen 80\n<VirtualHost *:80>\n</VirtualHost>\n", Some(ProxyKind::Apache)),
            ("ProxyPass / https://10.0.0.1/\n", Some(ProxyKind::Apache)),
            ("# a\nhttp:\n  services: {}\n", Some(ProxyKind::Traefik)),
            ("[http.services.app]\n", Some(ProxyKind::Traefik)),
            ("HTTP:\n  Services: {}\n", Some(ProxyKind::Traefik)),
            ("entryPoints: {}\nproviders:\n  file: {}\n", Some(ProxyKind::Traefik)),
            (":80 {\n\treverse_proxy 10.0.0.1:80\n}\n", Some(ProxyKind::Caddy)),
            ("hello\n", None),
            ("", None),
        ] {
            assert_eq!(ProxyKind::of_file(content), expected, "{content:?}");
        }
    }
}
