//! The static configuration where it stands on the command line or in the environment.

use super::{
    Static,
    api::{Api, EntryPoint, FileProvider, Transport},
};
use crate::policy::lenient::Passed;

impl Static {
    /// Takes in one option, by its path with dots in any case (`providers.file.filename`).
    pub fn set(&mut self, path: &str, value: &str) {
        let path = path.to_ascii_lowercase();
        let is_on = value.is_empty() || value.eq_ignore_ascii_case("true") || value == "1";
        if let Some(setting) = path.strip_prefix("serverstransport.") {
            of_transport(self.servers_transport.get_or_insert_default(), setting, value, is_on);
            return;
        }
        if let Some(setting) = path.strip_prefix("tcpserverstransport.tls.") {
            let transport = self.tcp_servers_transport.get_or_insert_default();
            of_transport(transport.tls.get_or_insert_default(), setting, value, is_on);
            return;
        }
        if let Some(provider) = path.strip_prefix("providers.") {
            let (name, setting) = provider.split_once('.').unwrap_or((provider, ""));
            if name != "file" {
                self.providers.others.insert(name.to_owned(), Passed);
                return;
            }
            let file = self.providers.file.get_or_insert_with(FileProvider::default);
            match setting {
                "filename" => value.clone_into(&mut file.filename),
                "directory" => value.clone_into(&mut file.directory),
                "watch" => file.watch = Some(is_on),
                _ => {}
            }
            return;
        }
        match path.as_str() {
            "api.insecure" => self.api.get_or_insert_with(Api::default).insecure = is_on,
            "entrypoints.traefik.address" => {
                let address = value.to_owned();
                self.entry_points.insert("traefik".to_owned(), EntryPoint { address });
            }
            _ => {}
        }
    }
}

fn of_transport(transport: &mut Transport, setting: &str, value: &str, is_on: bool) {
    match setting {
        "insecureskipverify" => transport.insecure_skip_verify = is_on,
        "rootcas" => transport.root_cas = value.split(',').map(str::to_owned).collect(),
        "maxidleconnsperhost" => {}
        _ if setting.starts_with("forwardingtimeouts") => {}
        // It may change everything.
        _ => drop(transport.more.insert(setting.to_owned(), Passed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_in() {
        let mut found = Static::default();
        for (path, value) in [
            ("providers.file.filename", "/a.yaml"),
            ("Providers.File.Watch", "false"),
            ("providers.docker", "true"),
            ("serversTransport.insecureSkipVerify", ""),
            ("serverstransport.rootcas", "a.pem,b.pem"),
            ("serverstransport.spiffe.ids", "x"),
            ("tcpserverstransport.tls.insecureskipverify", "true"),
            ("api.insecure", "true"),
            ("entrypoints.traefik.address", ":9000"),
            ("log.level", "DEBUG"),
        ] {
            found.set(path, value);
        }
        let file = found.providers.file.unwrap();
        assert_eq!((file.filename.as_str(), file.watch), ("/a.yaml", Some(false)));
        assert!(found.providers.others.contains_key("docker"));
        let transport = found.servers_transport.unwrap();
        assert!(transport.insecure_skip_verify && transport.more.contains_key("spiffe.ids"));
        assert_eq!(transport.root_cas, ["a.pem", "b.pem"]);
        assert!(found.tcp_servers_transport.unwrap().tls.unwrap().insecure_skip_verify);
        assert!(found.api.unwrap().insecure);
        assert_eq!(found.entry_points["traefik"].address, ":9000");
    }
}
