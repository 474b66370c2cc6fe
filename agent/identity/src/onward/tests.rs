use std::net::TcpListener;

use super::*;

const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t100\t00000000\t0\t0\t0
wg0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
eth1\t0001000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
down\t0002000A\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0
wg1\t0000A8C0\t00000000\t0001\t0\t0\t5\t0000FFFF\t0\t0\t0
eth2\t0000A8C0\t00000000\t0001\t0\t0\t9\t0000FFFF\t0\t0\t0
";

const ROUTES_V6: &str = "\
fd000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001      wg0
fd000001000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

/// A process's directory with these routes, whose `wg…` interfaces are WireGuard's.
fn process() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("net/route", ROUTES);
    file("net/ipv6_route", ROUTES_V6);
    for (interface, kind) in [("wg0", "wireguard"), ("wg1", "wireguard"), ("eth0", "")] {
        let text = format!("DEVTYPE={kind}\nINTERFACE={interface}\nIFINDEX=7\n");
        file(&format!("root/sys/class/net/{interface}/uevent"), &text);
    }
    dir
}

#[test]
fn packets_that_leave_by_wireguard_are_encrypted() {
    if u16::from_be(1) == 1 {
        hopsight_test_support::not_run("routes", "the fixture is of a little-endian machine");
        return;
    }
    let process = process();
    for (address, interface) in [
        ("10.9.8.7", Some("wg0")),
        ("::ffff:10.9.8.7", Some("wg0")),
        ("10.0.1.7", None),
        ("10.0.2.7", Some("wg0")),
        ("192.168.3.4", Some("wg1")),
        ("8.8.8.8", None),
        ("fd00:2::1", Some("wg0")),
        ("fd00:1::1", None),
        ("2001:db8::1", None),
    ] {
        let found = tunnel(process.path(), address.parse().unwrap());
        let want = interface.map(|name| format!("WireGuard interface {name}"));
        assert_eq!(found.as_ref().map(|one| one.by.to_string()), want, "{address}");
        let yes = ContinuesEncrypted::Yes;
        assert!(found.is_none_or(|one| one.continues_encrypted == yes), "{address}");
    }
}

#[test]
fn strange_files_are_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("net")).unwrap();
    let outside = dir.path().join("root/sys/class/outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("uevent"), "DEVTYPE=wireguard\n").unwrap();
    for text in [
        "",
        "Iface\n",
        "x\neth0 zz 0 0003 0 0 0 00000000\n",
        "x\n../outside 00000000 0 0001 0 0 0 00000000 0 0 0\n",
    ] {
        fs::write(dir.path().join("net/route"), text).unwrap();
        assert_eq!(tunnel(dir.path(), [10, 0, 0, 1].into()), None, "{text:?}");
    }
    let readers = Readers::start("test", 1).unwrap();
    let gone = OnwardFinder::default().find(1 << 23, "10.0.0.1:80".parse().unwrap(), &readers);
    assert_eq!(gone, Poll::Ready(None));
}

#[test]
fn one_namespace_leaves_room_for_answers_to_others() {
    let readers = Readers::start("test", 1).unwrap();
    let mut finder = OnwardFinder::default();
    let mut find = |pid, port| finder.find(pid, SocketAddr::from(([10, 0, 0, 1], port)), &readers);
    let ours = std::process::id();
    let mut pending = 0;
    for port in 0..4 * u16::try_from(MAX_OF_ONE).unwrap() {
        pending += usize::from(find(ours, port).is_pending());
    }
    assert_eq!(pending, MAX_OF_ONE);
    let begin = Instant::now();
    while find(ours, 0).is_pending() {
        assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_meshs_proxy_is_known_by_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ours = PathBuf::from("/proc/self");
    let sockets = sockets::of_process(&ours, &mut 1_000);
    let text = text(&ours.join("net/tcp")).unwrap();
    let own = sockets::listening(&text).find(|listener| listener.port == address.port());
    assert!(sockets.contains(&own.unwrap().inode), "our own listener is known");

    let proxy = |name: &str| {
        vec![MeshProcess { pid: std::process::id(), name: name.into(), sockets: sockets.clone() }]
    };
    let elsewhere = "10.1.2.3:80".parse().unwrap();
    let other_port = SocketAddr::new(address.ip(), 1);
    for (name, process, asks, to, is_found) in [
        ("takes over", "ztunnel", 1, elsewhere, true),
        ("is connected to", "linkerd2-proxy", 1, address, true),
        ("another local service", "ztunnel", 1, other_port, false),
        ("is itself the proxy", "ztunnel", std::process::id(), elsewhere, false),
        ("an Envoy that is no sidecar", "envoy", 1, elsewhere, false),
    ] {
        let found = mesh_proxy(&ours, asks, to, &proxy(process));
        assert_eq!(found.is_some(), is_found, "{name}: {found:?}");
        if let Some(found) = found {
            assert_eq!(found.continues_encrypted, ContinuesEncrypted::Unknown, "{name}");
            assert!(found.by.contains(process), "{name}: {}", found.by);
        }
    }
    assert_eq!(mesh_proxy(&ours, 1, elsewhere, &[]), None);
}
