use super::*;
use hopsight_system::foreign::Lane;

const HOLD: u64 = 720_000;

fn user(user: u32) -> Owner {
    Owner::User(Lane::User(user), "net:[1]".to_owned())
}

fn unit(name: &str) -> Owner {
    Owner::Unit(format!("{name}.service"))
}

fn container(digit: char) -> Owner {
    Owner::Container(digit.to_string().repeat(64))
}

/// Owners of `nginx`, and who of them runs.
struct Scene {
    owners: Owners,
    running: Vec<Owner>,
    now: u64,
    watched_since: u64,
}

impl Scene {
    fn new() -> Self {
        let owners = Owners { network: "net:[1]".to_owned(), ..Owners::new() };
        Self { owners, running: Vec::new(), now: 1_000, watched_since: 0 }
    }

    /// Starts a proxy, or its next worker, and says how it is called.
    fn starts(&mut self, owner: &Owner) -> String {
        self.now += 100;
        let main = ProcessKey { pid: 7, start_ticks: self.now };
        self.opens(owner, main)
    }

    /// A process of this main process opens its first connection.
    fn opens(&mut self, owner: &Owner, main: ProcessKey) -> String {
        let running = self.running.clone();
        let runs = |owner: &Owner, _| running.contains(owner);
        let asker = Asker { owner, main };
        let label = self.owners.label(&"nginx".into(), asker, runs, self.now);
        if !self.running.contains(owner) {
            self.running.push(owner.clone());
        }
        label.to_string()
    }

    fn ends(&mut self, owner: &Owner) {
        self.passes(100);
        self.running.retain(|running| running != owner);
        self.passes(100);
    }

    fn passes(&mut self, ticks: u64) {
        self.now += ticks;
        let runs = |owner: &Owner, _| self.running.contains(owner);
        self.owners.tick(runs, self.now, self.watched_since, HOLD);
    }

    /// The agent is started again.
    fn restart(&mut self, is_this_boot: bool) {
        let kept = serde_json::to_string(&self.owners.keep()).unwrap();
        self.owners = Owners { network: "net:[1]".to_owned(), ..Owners::new() };
        self.owners.restore(serde_json::from_str(&kept).unwrap(), is_this_boot);
        self.watched_since = self.now;
    }
}

#[test]
fn nobody_is_counted_under_the_name_of_somebody_else() {
    let mut scene = Scene::new();
    let elsewhere = Owner::User(Lane::User(0), "net:[2]".to_owned());
    let namespaced = Owner::User(Lane::Namespaces, String::new());
    for (case, owner, expected) in [
        ("an ordinary user is never first", user(1_000), "nginx@user-1000"),
        ("nor is somebody in a namespace of users", namespaced, "nginx@user-namespace-net-"),
        ("the first", unit("a"), "nginx"),
        ("the same again", unit("a"), "nginx"),
        ("a container beside it", container('3'), "nginx@333333333333"),
        ("root beside it", user(0), "nginx@user-0"),
        ("root in another network", elsewhere, "nginx@user-0-net-2"),
    ] {
        assert_eq!(scene.starts(&owner), expected, "{case}");
    }
}

#[test]
fn a_label_stays_with_its_owner() {
    let (a, b) = (unit("a"), unit("b"));
    let mut scene = Scene::new();
    assert_eq!((&*scene.starts(&a), &*scene.starts(&b)), ("nginx", "nginx@b.service"));

    scene.ends(&a);
    assert_eq!(scene.starts(&b), "nginx@b.service", "a reload while the other is down");
    assert_eq!(scene.starts(&a), "nginx", "back again");

    scene.restart(true);
    assert_eq!(scene.starts(&b), "nginx@b.service", "the other is first after a restart");
    assert_eq!(scene.starts(&a), "nginx");

    scene.restart(false);
    assert_eq!(scene.starts(&b), "nginx@b.service", "after a boot of the machine");
    assert_eq!(scene.starts(&unit("c")), "nginx@c.service");
    assert_eq!(scene.starts(&a), "nginx");

    scene.ends(&a);
    scene.passes(HOLD);
    assert_eq!(scene.starts(&b), "nginx@b.service", "whoever has a label keeps it");
    assert_eq!(scene.starts(&unit("d")), "nginx", "nothing counts any more that was seen under it");
}

#[test]
fn a_container_takes_the_place_of_one_that_has_ended() {
    let [a, b, c] = ['a', 'b', 'c'].map(container);
    let beside = unit("a");
    for (case, others, ended, asks, expected) in [
        ("it is alone", vec![], vec![&a], &b, "nginx"),
        ("the other is of a unit", vec![&beside], vec![&a, &beside], &b, "nginx"),
        ("another container runs on", vec![&c], vec![&a], &b, "nginx"),
        ("the first runs on", vec![], vec![], &b, "nginx@bbbbbbbbbbbb"),
        ("no container", vec![], vec![&a], &beside, "nginx@a.service"),
        ("it came back itself", vec![], vec![&a], &a, "nginx"),
        ("another has ended as well", vec![&c], vec![&a, &c], &b, "nginx@bbbbbbbbbbbb"),
    ] {
        for restart in [false, true] {
            let mut scene = Scene::new();
            assert_eq!(scene.starts(&a), "nginx", "{case}");
            for other in &others {
                scene.starts(other);
            }
            for owner in &ended {
                scene.ends(owner);
            }
            if restart {
                scene.restart(true);
            }
            assert_eq!(scene.starts(asks), expected, "{case}, restart: {restart}");
        }
    }

    let mut scene = Scene::new();
    let quiet = ProcessKey { pid: 8, start_ticks: scene.now };
    scene.starts(&container('a'));
    scene.ends(&container('a'));
    let label = scene.opens(&container('b'), quiet);
    assert_eq!(label, "nginx@bbbbbbbbbbbb", "it was there all the time");
}

#[test]
fn of_a_user_nothing_is_left_after_a_boot() {
    let mut scene = Scene::new();
    assert_eq!(scene.starts(&user(0)), "nginx");
    scene.restart(false);
    let elsewhere = Owner::User(Lane::User(0), "net:[9]".to_owned());
    assert_eq!(scene.starts(&elsewhere), "nginx", "networks have other numbers now");
}

#[test]
fn what_could_not_be_looked_at_takes_nobodys_name() {
    let process = |cgroup_id| Process { pid: 1, name: "nginx".into(), cgroup_id };
    let origin = |cgroup_id| Origin::Process(process(cgroup_id));
    let mut scene = Scene::new();
    assert_eq!(&*scene.owners.label_of_unread(&origin(7)), "nginx", "nobody has it");
    let label: Arc<str> = scene.starts(&unit("a")).into();
    scene.owners.remember(&process(7), &label);
    scene.owners.remember(&process(0), &label);
    for restart in [false, true] {
        if restart {
            scene.restart(true);
        }
        let label = |cgroup| scene.owners.label_of_unread(&origin(cgroup)).to_string();
        assert_eq!(label(7), "nginx", "another one of its cgroup");
        assert_eq!(label(8), "nginx@unknown", "from elsewhere");
        assert_eq!(label(0), "nginx@unknown", "from nobody knows where");
    }
}
